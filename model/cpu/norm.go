package cpu

import (
	"math"

	"github.com/torctrain/torc/model"
)

// normState is the RMSNorm, its gradient or the Rope in work.
type normState struct {
	y, dx, dw, dy, x, rstd, w []float32
	eps                       float32
	C, T, rows                int // rows of one part

	pos         []int32
	cos, sin    []float32
	heads, half int

	norm, grad, gradW, rope func(worker, i int)
}

func (s *normState) init(k *Kernels) {
	s.norm, s.grad, s.gradW, s.rope = k.normTask, k.normGradTask, k.normGradWTask, k.ropeTask
}

// RMSNorm computes y = x·rstd·w row by row.
func (k *Kernels) RMSNorm(y, rstd, x []float32, w *model.Matrix, eps float32, T int) {
	C := w.Len()
	mustLen("RMSNorm", "y", len(y), T*C)
	mustLen("RMSNorm", "rstd", len(rstd), T)
	mustLen("RMSNorm", "x", len(x), T*C)
	s := &k.vec.norm
	s.y, s.rstd, s.x, s.w, s.eps, s.C, s.T = y, rstd, x, k.vector(w), eps, C, T
	s.rows = max(1, elementPart/max(1, C))
	k.spread(parts(T, s.rows), T*C, s.norm)
	s.forget()
}

func (s *normState) forget() {
	s.y, s.dx, s.dw, s.dy, s.x, s.rstd, s.w, s.pos, s.cos, s.sin = nil, nil, nil, nil, nil, nil, nil, nil, nil, nil
}

func (k *Kernels) normTask(worker, i int) {
	s, C := &k.vec.norm, k.vec.norm.C
	n := whole(C)
	for t := i * s.rows; t < min(s.T, (i+1)*s.rows); t++ {
		x, y := s.x[t*C:(t+1)*C], s.y[t*C:(t+1)*C]
		p := k.vec.scratch[worker].padded(0, x, 0)
		mean := k.ops.dot(p, p) / float32(C)
		r := 1 / float32(math.Sqrt(float64(mean+s.eps)))
		s.rstd[t] = r
		k.ops.normScale(y[:n], x[:n], s.w[:n], r)
		normScale(y[n:], x[n:], s.w[n:], r)
	}
}

// RMSNormGrad adds to dx and, when it is not nil, to dw.
func (k *Kernels) RMSNormGrad(dx, dw, dy, x, rstd []float32, w *model.Matrix, T int) {
	C := w.Len()
	mustLen("RMSNormGrad", "dx", len(dx), T*C)
	mustLen("RMSNormGrad", "dy", len(dy), T*C)
	mustLen("RMSNormGrad", "x", len(x), T*C)
	mustLen("RMSNormGrad", "rstd", len(rstd), T)
	s := &k.vec.norm
	s.dx, s.dw, s.dy, s.x, s.rstd, s.w, s.C, s.T = dx, dw, dy, x, rstd, k.vector(w), C, T
	s.rows = max(1, elementPart/max(1, C))
	k.spread(parts(T, s.rows), T*C, s.grad)
	if dw != nil {
		mustLen("RMSNormGrad", "dw", len(dw), C)
		k.spread(parts(C, columnPart), T*C, s.gradW)
	}
	s.forget()
}

// normGradTask computes rows of dx. With x̂ = x·rstd and g = dy·w: dx += rstd·g − x·(rstd³·Σ g·x / C).
func (k *Kernels) normGradTask(worker, i int) {
	s, C := &k.vec.norm, k.vec.norm.C
	n, b := whole(C), &k.vec.scratch[worker]
	for t := i * s.rows; t < min(s.T, (i+1)*s.rows); t++ {
		dy, x, dx, r := s.dy[t*C:(t+1)*C], s.x[t*C:(t+1)*C], s.dx[t*C:(t+1)*C], s.rstd[t]
		dot := k.ops.dot3(b.padded(0, dy, 0), b.padded(1, s.w, 0), b.padded(2, x, 0))
		c := float32(float32(float32(r*r)*r)*dot) / float32(C)
		k.ops.normGrad(dx[:n], dy[:n], s.w[:n], x[:n], r, c)
		normGrad(dx[n:], dy[n:], s.w[n:], x[n:], r, c)
	}
}

// normGradWTask adds over the tokens, in order, for a part of the columns of dw.
func (k *Kernels) normGradWTask(_, i int) {
	s, C := &k.vec.norm, k.vec.norm.C
	from, to := i*columnPart, min(C, (i+1)*columnPart)
	mid := from + whole(to-from)
	for t := range s.T {
		dy, x := s.dy[t*C:(t+1)*C], s.x[t*C:(t+1)*C]
		k.ops.normGradW(s.dw[from:mid], dy[from:mid], x[from:mid], s.rstd[t])
		normGradW(s.dw[mid:to], dy[mid:to], x[mid:to], s.rstd[t])
	}
}

// Rope rotates x in place.
func (k *Kernels) Rope(x []float32, pos []int32, cos, sin []float32, heads, D int) {
	T, half := len(pos), D/2
	mustLen("Rope", "x", len(x), T*heads*D)
	mustLen("Rope", "sin", len(sin), len(cos))
	mustIDs("Rope", pos, len(cos)/max(1, half))
	s := &k.vec.norm
	s.x, s.pos, s.cos, s.sin, s.heads, s.half, s.T = x, pos, cos, sin, heads, half, T
	s.rows = max(1, elementPart/max(1, heads*D))
	k.spread(parts(T, s.rows), len(x), s.rope)
	s.forget()
}

func (k *Kernels) ropeTask(_, i int) {
	s := &k.vec.norm
	half := s.half
	n := whole(half)
	for t := i * s.rows; t < min(s.T, (i+1)*s.rows); t++ {
		p := int(s.pos[t]) * half
		cos, sin := s.cos[p:p+half], s.sin[p:p+half]
		for h := range s.heads {
			x := s.x[(t*s.heads+h)*2*half:]
			a, b := x[:half], x[half:2*half]
			k.ops.rope(a[:n], b[:n], cos[:n], sin[:n])
			rope(a[n:], b[n:], cos[n:], sin[n:])
		}
	}
}
