package model

import (
	"math"
	"testing"

	"github.com/torctrain/torc/internal/rng"
)

func TestDropLeavesOutItsShareAndKeepsTheMean(t *testing.T) {
	x := make([]float32, 100_003)
	for i := range x {
		x[i] = 1
	}
	for _, share := range []float64{0, 0.1, 0.5, 0.9} {
		y := make([]float32, len(x))
		drop(y, x, rng.New(3), share)
		zeros, sum := 0, 0.0
		for _, v := range y {
			if v == 0 {
				zeros++
			}
			sum += float64(v)
		}
		if got := float64(zeros) / float64(len(x)); math.Abs(got-share) > 0.005 {
			t.Errorf("share %v: left out %v", share, got)
		}
		if mean := sum / float64(len(x)); math.Abs(mean-1) > 0.03 {
			t.Errorf("share %v: mean is %v, want 1", share, mean)
		}
	}
}
