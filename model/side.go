package model

import "github.com/torctrain/torc/internal/rng"

// Side is a path of low rank r beside a linear weight W (m, n), which the model adds without ever forming its product:
//
//	y = x·Wᵀ + ((drop(x)·Aᵀ) ⊙ S)·B
//
// so that the weight acts as W + Bᵀ·diag(S)·A. A and B are stored as F32. Whoever trains it owns it and may change its values
// between calls of the model, but not its shape.
type Side struct {
	A *Matrix   // (r, n)
	B *Matrix   // (r, m): column j of the usual factor (m, r) is row j, so that both factors are read along rows
	S []float32 // (r)
	// Drop, in [0, 1), is the share of x that Gradient leaves out; the rest is scaled up by 1/(1−Drop). Loss and Decoder leave
	// out nothing.
	Drop float64
}

// NewSide makes a path of rank r that adds nothing: zero factors, S all 1.
func NewSide(r, m, n int) *Side {
	s := &Side{A: NewMatrix(F32, r, n), B: NewMatrix(F32, r, m), S: make([]float32, r)}
	for j := range s.S {
		s.S[j] = 1
	}
	return s
}

// side is the path of a weight and what a pass over T tokens leaves of it.
type side struct {
	*Side
	p, q  []float32 // (T, r) drop(x)·Aᵀ, and that ⊙ S
	h, dp []float32 // (T, r) dY·Bᵀ, and that ⊙ S
}

// linear computes y of a linear weight and its side path.
func (m *Llama) linear(y, x []float32, w weight) {
	if m.watch != nil {
		m.watch(w.id, x, m.T)
	}
	m.k.Linear(y, x, w.Matrix, m.T)
	s := w.side
	if s == nil {
		return
	}
	n := m.T * len(s.S)
	s.p, s.q = need(&s.p, n), need(&s.q, n)
	m.k.Linear(s.p, m.dropped(x, w), s.A, m.T)
	scaleColumns(s.q, s.p, s.S)
	m.k.LinearGradX(y, s.q, s.B, m.T)
}

// linearGradX adds to dx the gradient through a linear weight and its side path, after outer has seen the same dy.
func (m *Llama) linearGradX(dx, dy []float32, w weight) {
	m.k.LinearGradX(dx, dy, w.Matrix, m.T)
	s := w.side
	if s == nil {
		return
	}
	if s.Drop == 0 {
		m.k.LinearGradX(dx, s.dp, s.A, m.T)
		return
	}
	m.thin = need(&m.thin, len(dx))
	clear(m.thin)
	m.k.LinearGradX(m.thin, s.dp, s.A, m.T)
	drop(m.thin, m.thin, m.chance.Sub(uint64(w.id)), s.Drop)
	m.k.Add(dx, m.thin)
}

// sideGrad makes h and dp of dy and completes out for a weight with a side path.
func (m *Llama) sideGrad(dy []float32, w weight) {
	s := w.side
	n := m.T * len(s.S)
	s.h, s.dp = need(&s.h, n), need(&s.dp, n)
	m.k.Linear(s.h, dy, s.B, m.T)
	scaleColumns(s.dp, s.h, s.S)
	m.out.P, m.out.Q, m.out.H, m.out.DP = s.p, s.q, s.h, s.dp
}

// dropped is what of x the side path of w sees. The result is good until the next call.
func (m *Llama) dropped(x []float32, w weight) []float32 {
	if w.side.Drop == 0 || !m.training {
		return x
	}
	m.thin = need(&m.thin, len(x))
	drop(m.thin, x, m.chance.Sub(uint64(w.id)), w.side.Drop)
	return m.thin
}

// drop sets y to x, scaled by 1/(1−share), except for a share of the elements, which are 0: element i by the i-th 16 bits of
// a stream of random numbers, so the share is taken in units of 2⁻¹⁶. y may be x.
func drop(y, x []float32, key rng.Key, share float64) {
	limit, scale := uint64(share*(1<<16)), float32(1/(1-share))
	for i := 0; i < len(x); i += 8 {
		a, b := key.Pair(uint64(i / 8))
		for j := i; j < min(i+8, len(x)); j++ {
			if j == i+4 {
				a = b
			}
			if a&0xffff < limit {
				y[j] = 0
			} else {
				y[j] = x[j] * scale
			}
			a >>= 16
		}
	}
}

// scaleColumns computes y = x ⊙ s row by row, with s as long as a row.
func scaleColumns(y, x, s []float32) {
	for ; len(x) > 0; x, y = x[len(s):], y[len(s):] {
		for j, v := range s {
			y[j] = x[j] * v
		}
	}
}
