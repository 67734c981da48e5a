package methods

import (
	"math"

	"github.com/torctrain/torc/model"
)

// pissa is sorsa without penalty and with the singular values inside the factors: A and B begin as the leading singular
// vectors, each times the root of its value.
//
// Source: PiSSA, arXiv:2404.02948.
type pissa struct{ lowRank }

var _ Factored = (*pissa)(nil)

func (f *pissa) Prepare(workers []model.Kernels, w *model.Weights) error {
	c := f.c.factor()
	return f.prepare(workers, w, func(k model.Kernels, i int, p *model.Param) error {
		d, err := f.decompose(k, i, p.Matrix)
		if err != nil {
			return err
		}
		for j, s := range d.s {
			root := float32(math.Sqrt(float64(s)))
			fold(p.Side.A.F32, d.a, j*p.Cols, (j+1)*p.Cols, root)
			fold(p.Side.B.F32, d.b, j*p.Rows, (j+1)*p.Rows, root)
			p.Side.S[j] = c
		}
		f.c.leave(k, p)
		return nil
	})
}

// fold sets y[from:to] to x[from:to] times a factor.
func fold(y, x []float32, from, to int, factor float32) {
	for i := from; i < to; i++ {
		y[i] = factor * x[i]
	}
}
