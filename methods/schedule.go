package methods

import (
	"math"

	"github.com/torctrain/torc/internal/detmath"
)

// Rate returns the rate of a step, counted from 1, in a run of so many steps.
//
// It follows Hugging Face's schedules, which count from 0: with warm-up the first step has rate 0 (its moments count all
// the same), and the step after the last would reach 0. Steps past the end have the rate of the end.
func (o Optimizer) Rate(step, steps uint64) float64 {
	done, total := float64(max(step, 1)-1), float64(steps)
	warm := o.warmup(total)
	if done < warm {
		return o.LR * done / warm
	}
	past := min(1, (done-warm)/max(1, total-warm)) // of the time after warm-up
	switch o.Schedule {
	case "linear":
		return o.LR * (1 - past)
	case "cosine":
		return o.LR * 0.5 * (1 + detmath.Cos(math.Pi*past))
	}
	return o.LR
}

// warmup is the number of steps in which the rate rises.
func (o Optimizer) warmup(total float64) float64 {
	if o.Warmup < 1 {
		return math.Floor(o.Warmup * total)
	}
	return math.Floor(o.Warmup)
}
