package main

import (
	"fmt"
	"slices"
	"strings"
)

// contender is a method as the comparison has it.
type contender struct {
	Name  string
	Spec  string    // fields of method in the spec; %d is the budget
	Rates []float64 // ascending; a sweep begins in the middle
	Note  string
}

// around are the rates to begin with: the middle one, the one below and the one above.
func (c contender) around() [3]float64 {
	m := len(c.Rates) / 2
	return [3]float64{c.Rates[m], c.Rates[m-1], c.Rates[m+1]}
}

// wider is the rate to try next: the neighbour of the best one that was not tried. A best rate at the edge of what was tried may
// not be the best there is.
func (c contender) wider(tried []float64, best float64) (rate float64, ok bool) {
	at := slices.Index(c.Rates, best)
	if at < 0 {
		return 0, false
	}
	for _, i := range []int{at - 1, at + 1} {
		if i >= 0 && i < len(c.Rates) && !slices.Contains(tried, c.Rates[i]) {
			return c.Rates[i], true
		}
	}
	return 0, false
}

// contenders are all there are. The rates are around what the demo found for a model so small: many times the published ones.
func contenders(refresh int) []contender {
	sparse := []float64{2e-4, 6e-4, 2e-3, 6e-3, 2e-2, 6e-2, 2e-1}
	dense := []float64{3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2}
	factors := []float64{1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1}
	lift := func(more string) string {
		return fmt.Sprintf("name: lift, budget: '%%d', refresh: %d%s", refresh, more)
	}
	return []contender{
		{"full", "name: full", dense, "all weights, no budget"},
		{"lift", lift(""), sparse, "largest |W′|"},
		{"lift-random", "name: lift, budget: '%d', mode: random, refresh: 0", sparse, "control: a random set"},
		{"lift-magnitude", lift(", mode: magnitude"), sparse, "control: largest |W|"},
		{"lift-4x4", lift(", block: 4x4"), sparse, "blocks of 4×4"},
		{"s2ft", "name: s2ft, budget: '%d'", sparse, "random heads and channels"},
		{"s2ft-activation", "name: s2ft, budget: '%d', select: largest-activation", sparse, "those through which most flows"},
		{"sorsa", "name: sorsa, budget: '%d'", factors, "λ = 0.2083"},
		{"sorsa-0", "name: sorsa, budget: '%d', lambda: '0'", factors, "control: no penalty"},
		{"pissa", "name: pissa, budget: '%d'", factors, ""},
		{"lora", "name: lora, budget: '%d'", sparse, "rank 4"},
	}
}

// pick returns the contenders of a list of names, all for none.
func pick(all []contender, names string) ([]contender, error) {
	if names == "" {
		return all, nil
	}
	var picked []contender
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(c contender) bool { return c.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("-methods: no %q", name)
		}
		picked = append(picked, all[i])
	}
	return picked, nil
}
