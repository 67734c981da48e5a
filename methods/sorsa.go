package methods

import (
	"strconv"

	"github.com/torctrain/torc/model"
)

// sorsa trains the leading singular values and vectors of each projection, W = R + c·Bᵀ·diag(s)·A, and holds the vectors near
// orthonormality by a penalty, whose gradient joins the clipped gradient of the loss before AdamW.
//
// Source: SORSA, arXiv:2409.00055; authors' sorsalib. Differs: the weight of the penalty is said outright, where the authors
// divide theirs by the rate and, by accident, by the number of accumulated batches; signs are canonical; no dropout.
type sorsa struct {
	lowRank
	lambda float64
	orth   orthonormality
}

var _ Factored = (*sorsa)(nil)

func newSORSA(f lowRank) *sorsa {
	s := &sorsa{lowRank: f, orth: orthonormality{kind: f.c.Penalty, factors: 2 * len(f.tensors), threads: 1}}
	s.lambda, _ = f.c.lambda() // Validate has read it
	return s
}

func (f *sorsa) Prepare(workers []model.Kernels, w *model.Weights) error {
	f.orth.threads = len(workers)
	c := f.c.factor()
	return f.prepare(workers, w, func(k model.Kernels, i int, p *model.Param) error {
		d, err := f.decompose(k, i, p.Matrix)
		if err != nil {
			return err
		}
		f.stored[i].s = d.s
		copy(p.Side.A.F32, d.a)
		copy(p.Side.B.F32, d.b)
		for j, s := range d.s {
			p.Side.S[j] = c * s
		}
		f.c.leave(k, p)
		return nil
	})
}

// Penalty is λ times the mean over all factors of their distance from orthonormality; or, with retraction, it brings the
// factors back and has no gradient.
func (f *sorsa) Penalty(id model.WeightID, theta, dtheta []float32) float64 {
	i := f.tensor(id)
	a, _, b := f.factors(theta, i)
	if f.c.Penalty == "retraction" {
		f.orth.retract(f.c.Rank, a, b)
		return 0
	}
	if f.lambda == 0 {
		return 0
	}
	da, _, db := f.factors(dtheta, i)
	return f.orth.add(f.lambda, f.c.Rank, factor{a, da}, factor{b, db})
}

// The weights of the penalty in the authors' experiments: what their code computes, with 64 accumulated batches, and what the
// paper writes.
const (
	lambdaPublished = 0.2083
	lambdaPaper     = 13.33
)

// lambda reads Lambda.
func (c Config) lambda() (float64, bool) {
	switch c.Lambda {
	case "published":
		return lambdaPublished, true
	case "paper":
		return lambdaPaper, true
	}
	v, err := strconv.ParseFloat(c.Lambda, 64)
	return v, err == nil && v >= 0 && v < 1e30
}
