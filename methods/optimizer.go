package methods

import (
	"fmt"
	"slices"
)

// Optimizer configures AdamW and the course of its rate.
type Optimizer struct {
	// LR is the peak rate. Defaults: lift, s2ft and lora 2e-4, sorsa and pissa 1e-4, full 5e-5.
	LR float64 `yaml:"lr" json:"lr"`
	// Schedule is how the rate falls after warm-up: "linear" or "cosine" (the default for sorsa and pissa) to 0, or "constant".
	Schedule string `yaml:"schedule" json:"schedule"`
	// Warmup is the time over which the rate rises from 0: below 1 a fraction of all steps, rounded down, else a number of
	// steps. Default 0.03.
	Warmup float64 `yaml:"warmup" json:"warmup"`
	// Beta1 and Beta2 are the decay of the two moments, in [0, 1). Defaults: 0.9, and 0.95 for lift and s2ft, 0.999 for others. With
	// lift a Beta2 near 1 makes the first updates of a coordinate that enters the set several times the rate.
	Beta1 float64 `yaml:"beta1" json:"beta1"`
	Beta2 float64 `yaml:"beta2" json:"beta2"`
	// Eps is added to the uncorrected root of the second moment. Defaults: lift 1e-6, others 1e-8.
	Eps float64 `yaml:"eps" json:"eps"`
	// Clip is the largest norm a gradient may have, longer ones are scaled to it; 0 means any. Defaults: lift 0, others 1.
	Clip float64 `yaml:"clip" json:"clip"`
	// WeightDecay is decoupled: θ shrinks by rate·WeightDecay per step. Default 0.
	WeightDecay float64 `yaml:"weight_decay" json:"weight_decay"`
}

// DefaultOptimizer returns the optimizer with which the named method is used unless the spec says otherwise.
func DefaultOptimizer(method string) Optimizer {
	o := Optimizer{LR: 5e-5, Schedule: "linear", Warmup: 0.03, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Clip: 1}
	switch method {
	case "lift": // source: the authors' scripts, arXiv:2506.00772
		o.LR, o.Beta2, o.Eps, o.Clip = 2e-4, 0.95, 1e-6, 0
	case "s2ft": // source: the authors' scripts, arXiv:2412.06289
		o.LR, o.Beta2 = 2e-4, 0.95
	case "lora":
		o.LR = 2e-4
	case "sorsa", "pissa": // source: the authors' scripts, arXiv:2409.00055, but for the rate: theirs, 3e-5, is for 7B and rank 128
		o.LR, o.Schedule = 1e-4, "cosine"
	}
	return o
}

var schedules = []string{"linear", "cosine", "constant"}

// Validate names the first field that has a value it must not have, and what it may be.
func (o Optimizer) Validate() error {
	const huge = 1e30 // keeps every value finite as a float32
	switch {
	case !(o.LR > 0 && o.LR < huge):
		return fmt.Errorf("optimizer.lr is %v: use a rate above 0 and below %v", o.LR, float64(huge))
	case !slices.Contains(schedules, o.Schedule):
		return fmt.Errorf("optimizer.schedule is %q: use linear, cosine or constant", o.Schedule)
	case !(o.Warmup >= 0 && o.Warmup < huge):
		return fmt.Errorf("optimizer.warmup is %v: use a fraction below 1 or a number of steps", o.Warmup)
	case !(o.Beta1 >= 0 && o.Beta1 < 1):
		return fmt.Errorf("optimizer.beta1 is %v: use at least 0 and less than 1", o.Beta1)
	case !(o.Beta2 >= 0 && o.Beta2 < 1):
		return fmt.Errorf("optimizer.beta2 is %v: use at least 0 and less than 1", o.Beta2)
	case !(o.Eps >= 1e-30 && o.Eps < huge):
		return fmt.Errorf("optimizer.eps is %v: use at least 1e-30", o.Eps)
	case !(o.Clip >= 0 && o.Clip < huge):
		return fmt.Errorf("optimizer.clip is %v: use a norm above 0, or 0 for none", o.Clip)
	case !(o.WeightDecay >= 0 && o.WeightDecay < huge):
		return fmt.Errorf("optimizer.weight_decay is %v: use 0 or more", o.WeightDecay)
	}
	return nil
}
