package main

import (
	"fmt"
	"slices"
	"strings"
)

// comparison is the experiment: for each method a sweep of rates with one seed, and the best one with more seeds.
type comparison struct {
	o     options
	lab   *lab
	all   []contender
	cores []int
}

// make runs what was not run before, and returns what came out.
func (c *comparison) make() (report, error) {
	target, source, err := c.lab.baseline(c.cores[0])
	if err != nil {
		return report{}, err
	}
	fmt.Printf("%-32s target %5.1f %%  source %5.1f %%\n", "base", 100*target, 100*source)
	swept, err := c.sweep()
	if err != nil {
		return report{}, err
	}
	var jobs []job
	for seed := 2; seed <= c.o.seeds; seed++ {
		for _, x := range c.all {
			if best := bestRate(swept, x.Name); best != 0 {
				jobs = append(jobs, c.job(x, best, seed))
			}
		}
	}
	again, err := c.run(jobs)
	if err != nil {
		return report{}, err
	}
	r := report{o: c.o, base: [2]float64{target, source}}
	for _, x := range c.all {
		if best := bestRate(swept, x.Name); best != 0 {
			r.add(x, best, slices.Concat(swept, again))
		}
	}
	return r, nil
}

// sweep tries rates of all contenders with the first seed: around the middle, then further ones while the best is at the edge.
func (c *comparison) sweep() (swept []outcome, err error) {
	var jobs []job
	for i := range c.o.rates { // the middle rate of every method first
		for _, x := range c.all {
			jobs = append(jobs, c.job(x, x.around()[i], 1))
		}
	}
	for len(jobs) > 0 {
		more, err := c.run(jobs)
		if err != nil {
			return nil, err
		}
		swept, jobs = append(swept, more...), nil
		for _, x := range c.all {
			if rate, ok := x.wider(ratesOf(swept, x.Name), bestRate(swept, x.Name)); ok && c.o.rates == 3 && len(more) > 0 {
				jobs = append(jobs, c.job(x, rate, 1))
			}
		}
	}
	return swept, nil
}

// job is a run of x.
func (c *comparison) job(x contender, rate float64, seed int) job {
	spec := x.Spec
	if strings.Contains(spec, "%d") {
		spec = fmt.Sprintf(spec, c.o.budget)
	}
	return job{Method: x.Name, Spec: spec, Rate: rate, Seed: seed, Steps: c.o.steps, Base: c.o.base}
}

// run makes the outcomes of jobs, or with -done of those that were made before.
func (c *comparison) run(jobs []job) ([]outcome, error) {
	if c.o.done {
		jobs = c.lab.known(jobs)
	}
	return c.lab.all(jobs, c.cores)
}

// ratesOf are the rates that were tried of a method.
func ratesOf(swept []outcome, method string) (rates []float64) {
	for _, o := range swept {
		if o.Method == method {
			rates = append(rates, o.Rate)
		}
	}
	return rates
}

// bestRate is the rate of a sweep with the most right answers, then the least loss; 0 if the method was not swept.
func bestRate(swept []outcome, method string) float64 {
	var best outcome
	for _, o := range swept {
		if o.Method == method && (best.Rate == 0 || o.Target > best.Target || o.Target == best.Target && o.TargetLoss < best.TargetLoss) {
			best = o
		}
	}
	return best.Rate
}
