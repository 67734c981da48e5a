package cpu

import "github.com/torctrain/torc/model"

// elementState is the element by element kernel in work.
type elementState struct {
	y, a, b, c, d []float32
	step          model.AdamWStep
	rows          int

	swiglu, swigluD, add, bias, adamW func(worker, i int)
}

func (s *elementState) init(k *Kernels) {
	s.swiglu, s.swigluD, s.add, s.bias, s.adamW = k.swigluTask, k.swigluGradTask, k.addTask, k.biasTask, k.adamWTask
}

// part is the range of elements of part i of a vector, and where the twin takes over.
func part(i, n int) (from, mid, to int) {
	from, to = i*elementPart, min(n, (i+1)*elementPart)
	return from, from + whole(to-from), to
}

// run spreads f over the elements of y and lets go of the operands.
func (s *elementState) run(k *Kernels, f func(worker, i int)) {
	k.spread(parts(len(s.y), elementPart), len(s.y), f)
	s.y, s.a, s.b, s.c, s.d = nil, nil, nil, nil, nil
}

// SwiGLU computes y = silu(gate)·up.
func (k *Kernels) SwiGLU(y, gate, up []float32) {
	mustLen("SwiGLU", "gate", len(gate), len(y))
	mustLen("SwiGLU", "up", len(up), len(y))
	s := &k.vec.element
	s.y, s.a, s.b = y, gate, up
	s.run(k, s.swiglu)
}

func (k *Kernels) swigluTask(_, i int) {
	s := &k.vec.element
	from, mid, to := part(i, len(s.y))
	k.ops.swiglu(s.y[from:mid], s.a[from:mid], s.b[from:mid])
	swiglu(s.y[mid:to], s.a[mid:to], s.b[mid:to])
}

// SwiGLUGrad computes dgate and dup.
func (k *Kernels) SwiGLUGrad(dgate, dup, dy, gate, up []float32) {
	mustLen("SwiGLUGrad", "dgate", len(dgate), len(dy))
	mustLen("SwiGLUGrad", "dup", len(dup), len(dy))
	mustLen("SwiGLUGrad", "gate", len(gate), len(dy))
	mustLen("SwiGLUGrad", "up", len(up), len(dy))
	s := &k.vec.element
	s.y, s.a, s.b, s.c, s.d = dy, dgate, dup, gate, up
	s.run(k, s.swigluD)
}

func (k *Kernels) swigluGradTask(_, i int) {
	s := &k.vec.element
	from, mid, to := part(i, len(s.y))
	k.ops.swigluD(s.a[from:mid], s.b[from:mid], s.y[from:mid], s.c[from:mid], s.d[from:mid])
	swigluD(s.a[mid:to], s.b[mid:to], s.y[mid:to], s.c[mid:to], s.d[mid:to])
}

// Add adds x to y.
func (k *Kernels) Add(y, x []float32) {
	mustLen("Add", "x", len(x), len(y))
	s := &k.vec.element
	s.y, s.a = y, x
	s.run(k, s.add)
}

func (k *Kernels) addTask(_, i int) {
	s := &k.vec.element
	from, mid, to := part(i, len(s.y))
	k.ops.add(s.y[from:mid], s.a[from:mid])
	add(s.y[mid:to], s.a[mid:to])
}

// AddBias adds b to each row of y.
func (k *Kernels) AddBias(y []float32, b *model.Matrix, T int) {
	mustLen("AddBias", "y", len(y), T*b.Len())
	if len(y) == 0 {
		return
	}
	s := &k.vec.element
	s.y, s.a = y, k.vector(b)
	s.rows = max(1, elementPart/len(s.a))
	k.spread(parts(T, s.rows), len(y), s.bias)
	s.y, s.a = nil, nil
}

func (k *Kernels) biasTask(_, i int) {
	s := &k.vec.element
	m := len(s.a)
	n := whole(m)
	for at := i * s.rows * m; at < min(len(s.y), (i+1)*s.rows*m); at += m {
		k.ops.add(s.y[at:at+n], s.a[:n])
		add(s.y[at+n:at+m], s.a[n:])
	}
}

// AdamW makes one step, see model.AdamWStep.
func (k *Kernels) AdamW(theta, m, v, g []float32, step model.AdamWStep) {
	mustLen("AdamW", "m", len(m), len(theta))
	mustLen("AdamW", "v", len(v), len(theta))
	mustLen("AdamW", "g", len(g), len(theta))
	s := &k.vec.element
	s.y, s.a, s.b, s.c, s.step = theta, m, v, g, step
	s.run(k, s.adamW)
}

func (k *Kernels) adamWTask(_, i int) {
	s := &k.vec.element
	from, mid, to := part(i, len(s.y))
	h := &s.step
	k.ops.adamW(s.y[from:mid], s.a[from:mid], s.b[from:mid], s.c[from:mid], h.B1, h.B2, h.OneB1, h.OneB2, h.Eps, h.Rate, h.Decay)
	adamW(s.y[mid:to], s.a[mid:to], s.b[mid:to], s.c[mid:to], h.B1, h.B2, h.OneB1, h.OneB2, h.Eps, h.Rate, h.Decay)
}
