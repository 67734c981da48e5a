package methods

import (
	"math"

	"github.com/torctrain/torc/model"
)

// lora trains a path that adds nothing at the start, W(θ) = W + c·Bᵀ·A: B is zero, A drawn evenly from ±1/√n by the run's seed.
//
// Source: LoRA, arXiv:2106.09685, and the start of its authors' loralib; rsLoRA, arXiv:2312.03732.
type lora struct{ lowRank }

var _ Factored = (*lora)(nil)

func (f *lora) Prepare(workers []model.Kernels, w *model.Weights) error {
	c := f.c.factor()
	return f.prepare(workers, w, func(_ model.Kernels, i int, p *model.Param) error {
		key, bound := f.key.Sub(uint64(f.tensors[i].Weight)), 1/math.Sqrt(float64(p.Cols))
		for j := range p.Side.A.F32 {
			p.Side.A.F32[j] = float32(bound * (2*key.Float64(uint64(j)) - 1))
		}
		for j := range p.Side.S {
			p.Side.S[j] = c
		}
		p.Side.Drop = f.c.Dropout
		return nil
	})
}
