package main

// norms adds the inner loops of RMSNorm and Rope.
func norms(f *File) {
	f.Kernel("normScale", "y []float32, x []float32, w []float32, r float32", "", `
for i := range y {
	y[i] = float32(x[i]*r) * w[i]
}`, func(k *Kernel) {
		r, v, s := k.ArgSplat("r"), k.Vec(), k.Streams("y", "x", "w")
		s.Each(1, func() {
			k.Load(v, s.Mem("x", 0))
			k.Mul(v, v, r)
			k.Mul(v, v, s.Mem("w", 0))
			k.Store(s.Mem("y", 0), v)
		})
	})

	f.Kernel("normGrad", "dx []float32, dy []float32, w []float32, x []float32, r float32, c float32", "", `
for i := range dx {
	dx[i] += float32(float32(dy[i]*w[i])*r) - float32(x[i]*c)
}`, func(k *Kernel) {
		r, c, v, u, s := k.ArgSplat("r"), k.ArgSplat("c"), k.Vec(), k.Vec(), k.Streams("dx", "dy", "w", "x")
		s.Each(1, func() {
			k.Load(v, s.Mem("dy", 0))
			k.Mul(v, v, s.Mem("w", 0))
			k.Mul(v, v, r)
			k.Load(u, s.Mem("x", 0))
			k.Mul(u, u, c)
			k.Sub(v, v, u)
			k.Add(v, v, s.Mem("dx", 0))
			k.Store(s.Mem("dx", 0), v)
		})
	})

	f.Kernel("normGradW", "dw []float32, dy []float32, x []float32, r float32", "", `
for i := range dw {
	dw[i] += float32(float32(dy[i]*x[i]) * r)
}`, func(k *Kernel) {
		r, v, s := k.ArgSplat("r"), k.Vec(), k.Streams("dw", "dy", "x")
		s.Each(1, func() {
			k.Load(v, s.Mem("dy", 0))
			k.Mul(v, v, s.Mem("x", 0))
			k.Mul(v, v, r)
			k.Add(v, v, s.Mem("dw", 0))
			k.Store(s.Mem("dw", 0), v)
		})
	})

	f.Kernel("rope", "a []float32, b []float32, cos []float32, sin []float32", "", `
for i := range a {
	x, y := a[i], b[i]
	a[i] = float32(x*cos[i]) - float32(y*sin[i])
	b[i] = float32(y*cos[i]) + float32(x*sin[i])
}`, func(k *Kernel) {
		x, y, u, v, s := k.Vec(), k.Vec(), k.Vec(), k.Vec(), k.Streams("a", "b", "cos", "sin")
		s.Each(1, func() {
			k.Load(x, s.Mem("a", 0))
			k.Load(y, s.Mem("b", 0))
			k.Mul(u, x, s.Mem("cos", 0))
			k.Mul(v, y, s.Mem("sin", 0))
			k.Sub(u, u, v)
			k.Store(s.Mem("a", 0), u)
			k.Mul(y, y, s.Mem("cos", 0))
			k.Mul(x, x, s.Mem("sin", 0))
			k.Add(y, y, x)
			k.Store(s.Mem("b", 0), y)
		})
	})
}
