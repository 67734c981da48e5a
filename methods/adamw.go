package methods

import (
	"math"

	"github.com/torctrain/torc/model"
)

// Step returns the scalars of optimizer step t, counted from 1, at the given rate. Bias corrections are those of the global
// step, also for coordinates that entered a set later.
func (o Optimizer) Step(t uint64, rate float64) model.AdamWStep {
	if t == 0 {
		panic("methods: Step: t=0, want at least 1")
	}
	return model.AdamWStep{
		B1: float32(o.Beta1), B2: float32(o.Beta2),
		OneB1: float32(1 - o.Beta1), OneB2: float32(1 - o.Beta2),
		Eps:   float32(o.Eps),
		Rate:  float32(rate * math.Sqrt(1-power(o.Beta2, t)) / (1 - power(o.Beta1, t))),
		Decay: float32(rate * o.WeightDecay),
	}
}

// power is xⁿ for x in [0, 1): products alone, so the same bits everywhere.
func power(x float64, n uint64) float64 {
	p := 1.0
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			p = float64(p * x)
		}
		x = float64(x * x)
	}
	return p
}

// AdamW makes one step on theta, m and v with gradient g, all of one length: the order of operations that
// model.AdamWStep fixes, written down as plain loops. Training uses Kernels.AdamW, which has the same bits.
func AdamW(theta, m, v, g []float32, s model.AdamWStep) {
	for i, x := range g {
		m[i] = float32(s.B1*m[i]) + float32(s.OneB1*x)
		v[i] = float32(s.B2*v[i]) + float32(s.OneB2*float32(x*x))
		update := s.Rate * m[i] / (float32(math.Sqrt(float64(v[i]))) + s.Eps)
		theta[i] = theta[i] - float32(s.Decay*theta[i]) - update
	}
}
