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
	Rates []float64 // the middle one first: a sweep of one rate takes that
	Note  string
}

// contenders are all there are. The rates are around what the demo found for a model so small: many times the published ones.
func contenders(refresh int) []contender {
	sparse, dense, factors := []float64{6e-3, 2e-3, 2e-2}, []float64{1e-3, 3e-4, 3e-3}, []float64{3e-3, 1e-3, 1e-2}
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
