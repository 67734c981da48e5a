package main

import (
	"slices"
	"testing"
)

// A sweep goes on in the direction of the best rate until both neighbours of the best one were tried.
func TestASweepEndsWithTheBestRateBetweenOthers(t *testing.T) {
	for _, c := range contenders(50) {
		if !slices.IsSorted(c.Rates) {
			t.Errorf("%s: rates %v are not ascending", c.Name, c.Rates)
		}
		for want := range c.Rates {
			first := c.around()
			swept := []outcome{}
			try := func(rate float64) { // right answers fall off on both sides of the best rate
				distance := slices.Index(c.Rates, rate) - want
				swept = append(swept, outcome{job: job{Method: c.Name, Rate: rate}, Target: 1 - 0.1*float64(max(distance, -distance))})
			}
			for _, rate := range first {
				try(rate)
			}
			for range c.Rates {
				if rate, ok := c.wider(ratesOf(swept, c.Name), bestRate(swept, c.Name)); ok {
					try(rate)
				}
			}
			tried := ratesOf(swept, c.Name)
			if best := bestRate(swept, c.Name); best != c.Rates[want] {
				t.Errorf("%s: best rate %g, want %g", c.Name, best, c.Rates[want])
			}
			if _, ok := c.wider(tried, c.Rates[want]); ok || len(slices.Compact(slices.Sorted(slices.Values(tried)))) != len(tried) {
				t.Errorf("%s: tried %v for %g", c.Name, tried, c.Rates[want])
			}
		}
	}
	if rate, ok := (contender{Rates: []float64{1, 2, 3}}).wider(nil, 0); ok {
		t.Errorf("a method that was not swept goes on with %g", rate)
	}
}

func TestBestRateHasMostRightAnswersThenLeastLoss(t *testing.T) {
	swept := []outcome{
		{job: job{Method: "a", Rate: 1}, Target: 0.5, TargetLoss: 0.1},
		{job: job{Method: "a", Rate: 2}, Target: 0.9, TargetLoss: 0.4},
		{job: job{Method: "a", Rate: 3}, Target: 0.9, TargetLoss: 0.3},
		{job: job{Method: "b", Rate: 4}, Target: 1},
	}
	if r := bestRate(swept, "a"); r != 3 {
		t.Errorf("rate %g, want 3", r)
	}
	if r := bestRate(swept, "c"); r != 0 {
		t.Errorf("rate %g of a method that was not swept", r)
	}
}
