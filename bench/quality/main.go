package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// options are the flags.
type options struct {
	out, report, binary, base, methods, cores string
	steps, seeds, rates, budget               int
	done                                      bool
}

func main() {
	var o options
	flag.StringVar(&o.out, "o", "build/quality", "directory of data, homes and results")
	flag.StringVar(&o.report, "report", "", "directory for quality.md and its plots (default: that of -o)")
	flag.StringVar(&o.binary, "coordinator", "bin/coordinator", "the program, with node beside it")
	flag.StringVar(&o.base, "base", "examples/base", "Hugging Face directory to start from")
	flag.StringVar(&o.methods, "methods", "", "what to compare, by commas (default: everything)")
	flag.StringVar(&o.cores, "cores", "", "processors to use, by commas (default: all)")
	flag.IntVar(&o.steps, "steps", 150, "steps of each run, of 32 samples")
	flag.IntVar(&o.seeds, "seeds", 3, "seeds at the best rate; the sweep has the first")
	flag.IntVar(&o.rates, "rates", 3, "rates to sweep: 1 to 3")
	flag.IntVar(&o.budget, "budget", 58368, "trained values: K of LoRA of rank 4 on the base")
	flag.BoolVar(&o.done, "done", false, "run nothing more: report what is done")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "quality:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	all, err := pick(contenders(max(1, o.steps/3)), o.methods)
	if err != nil {
		return err
	}
	cores, err := parseCores(o.cores)
	if err != nil {
		return err
	}
	if o.rates < 1 || o.rates > 3 || o.seeds < 1 || o.steps < 1 {
		return fmt.Errorf("-rates is 1 to 3, -seeds and -steps at least 1")
	}
	l, err := openLab(o.out, o.binary, o.base)
	if err != nil {
		return err
	}
	target, source, err := l.baseline(cores[0])
	if err != nil {
		return err
	}
	fmt.Printf("%-32s target %5.1f %%  source %5.1f %%\n", "base", 100*target, 100*source)

	make1 := func(c contender, rate float64, seed int) job {
		spec := c.Spec
		if strings.Contains(spec, "%d") {
			spec = fmt.Sprintf(spec, o.budget)
		}
		return job{Method: c.Name, Spec: spec, Rate: rate, Seed: seed, Steps: o.steps, Base: o.base}
	}
	var sweep []job
	for i := range o.rates { // the middle rate of every method first
		for _, c := range all {
			sweep = append(sweep, make1(c, c.Rates[i], 1))
		}
	}
	if o.done {
		sweep = l.known(sweep)
	}
	swept, err := l.all(sweep, cores)
	if err != nil {
		return err
	}
	var more []job
	best := map[string]float64{}
	all = slices.DeleteFunc(all, func(c contender) bool {
		return !slices.ContainsFunc(swept, func(o outcome) bool { return o.Method == c.Name })
	})
	for seed := 2; seed <= o.seeds; seed++ {
		for _, c := range all {
			best[c.Name] = bestRate(swept, c.Name)
			more = append(more, make1(c, best[c.Name], seed))
		}
	}
	if o.done {
		more = l.known(more)
	}
	again, err := l.all(more, cores)
	if err != nil {
		return err
	}
	r := report{o: o, base: [2]float64{target, source}}
	for _, c := range all {
		r.add(c, bestRate(swept, c.Name), slices.Concat(swept, again))
	}
	return r.write(cmp.Or(o.report, o.out))
}

// bestRate is the rate of a sweep with the most right answers, then the least loss.
func bestRate(swept []outcome, method string) float64 {
	var best *outcome
	for i := range swept {
		o := &swept[i]
		if o.Method == method && (best == nil || o.Target > best.Target || o.Target == best.Target && o.TargetLoss < best.TargetLoss) {
			best = o
		}
	}
	return best.Rate
}

func parseCores(text string) (cores []int, err error) {
	if text == "" {
		for c := range runtime.NumCPU() {
			cores = append(cores, c)
		}
		return cores, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		c, err := strconv.Atoi(part)
		if err != nil {
			return nil, fmt.Errorf("-cores: %w", err)
		}
		cores = append(cores, c)
	}
	return cores, nil
}
