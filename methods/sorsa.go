package methods

import (
	"math"
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
	s := &sorsa{lowRank: f, orth: orthonormality{kind: f.c.Penalty, factors: 2 * len(f.tensors)}}
	s.lambda, _ = f.c.lambda() // Validate has read it
	return s
}

func (f *sorsa) Prepare(workers []model.Kernels, w *model.Weights) error {
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
		subtract(k, p)
		return nil
	})
}

// Penalty is λ times the mean over all factors of their distance from orthonormality.
func (f *sorsa) Penalty(id model.WeightID, theta, dtheta []float32) float64 {
	if f.lambda == 0 {
		return 0
	}
	i := f.tensor(id)
	a, _, b := f.factors(theta, i)
	da, _, db := f.factors(dtheta, i)
	return f.orth.add(a, da, f.c.Rank, f.lambda) + f.orth.add(b, db, f.c.Rank, f.lambda)
}

// orthonormality is how far the rows of a factor X are from orthonormal, by M = X·Xᵀ − 1, as a mean over so many factors:
//
//	frobenius  ‖M‖             as published; its gradient has length 2 however small M is
//	smoothed   √(‖M‖² + ε²)    with ε = 1e-3: the same far from 0, and smooth there
//	squared    ½‖M‖²
//
// All is computed in float64 in a fixed order, since near orthonormality M is a difference of nearly equal numbers.
type orthonormality struct {
	kind    string
	factors int
	x, row  []float64 // scratch
}

const smoothing = 1e-3

// add adds λ times the gradient of X (r, n) to dx and returns λ times X's part.
func (o *orthonormality) add(x, dx []float32, r int, lambda float64) float64 {
	n := len(x) / r
	if len(o.x) < len(x) {
		o.x, o.row = make([]float64, len(x)), make([]float64, len(x))
	}
	wide, row := o.x[:len(x)], o.row[:n]
	for i, v := range x {
		wide[i] = float64(v)
	}
	m, square := symmetric(rowProducts(wide, r, n), r), 0.0
	for i := range r {
		m[i*r+i]--
	}
	for _, v := range m {
		square += float64(v * v)
	}
	mean := lambda / float64(o.factors)
	value, slope := o.at(square)
	if slope == 0 {
		return mean * value
	}
	for i := range r {
		clear(row)
		for j := range r {
			t := m[i*r+j]
			for k, v := range wide[j*n : (j+1)*n] {
				row[k] += float64(t * v)
			}
		}
		for k, v := range row {
			dx[i*n+k] += float32(mean * slope * v)
		}
	}
	return mean * value
}

// at returns the distance for ‖M‖², and what M·X is multiplied by in its gradient.
func (o *orthonormality) at(square float64) (value, slope float64) {
	switch {
	case o.kind == "squared":
		return square / 2, 2
	case o.kind == "smoothed":
		value = math.Sqrt(square + smoothing*smoothing)
	default:
		value = math.Sqrt(square)
	}
	if value == 0 {
		return 0, 0
	}
	return value, 2 / value
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
