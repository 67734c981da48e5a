package main

// elements adds the loops that treat each element on its own.
func elements(f *File) {
	f.Kernel("add", "y []float32, x []float32", "", `
for i := range y {
	y[i] += x[i]
}`, func(k *Kernel) {
		v, s := k.Vecs(2), k.Streams("y", "x")
		for _, n := range []int{2, 1} {
			s.Each(n, func() {
				for u := range n {
					k.Load(v[u], s.Mem("y", u))
					k.Add(v[u], v[u], s.Mem("x", u))
					k.Store(s.Mem("y", u), v[u])
				}
			})
		}
	})

	f.Kernel("scale", "x []float32, by float32", "", `
for i := range x {
	x[i] *= by
}`, func(k *Kernel) {
		by, v, s := k.ArgSplat("by"), k.Vec(), k.Streams("x")
		s.Each(1, func() {
			k.Load(v, s.Mem("x", 0))
			k.Mul(v, v, by)
			k.Store(s.Mem("x", 0), v)
		})
	})

	f.Kernel("swiglu", "y []float32, gate []float32, up []float32", "", `
for i := range y {
	y[i] = gate[i] / (1 + exp32(-gate[i])) * up[i]
}`, func(k *Kernel) {
		s, e, x := k.Streams("y", "gate", "up"), k.Exponent(), k.Vec()
		s.Each(1, func() {
			k.Load(x, s.Mem("gate", 0))
			k.Xor(x, x, k.LitBits(1<<31))
			k.Exp(x, e)
			k.Add(x, x, k.Lit(1))
			k.Load(e.z, s.Mem("gate", 0))
			k.Div(x, e.z, x)
			k.Mul(x, x, s.Mem("up", 0))
			k.Store(s.Mem("y", 0), x)
		})
	})

	f.Kernel("swigluD", "dgate []float32, dup []float32, dy []float32, gate []float32, up []float32", "", `
for i := range dy {
	d, g, u := dy[i], gate[i], up[i]
	s := 1 / (1 + exp32(-g))
	a := float32(g * s)
	dup[i] = float32(d * a)
	dgate[i] = float32(d*u) * float32(s+float32(a*(1-s)))
}`, func(k *Kernel) {
		s, e, x, one := k.Streams("dgate", "dup", "dy", "gate", "up"), k.Exponent(), k.Vec(), k.Const(1)
		a, d, t := e.z, e.t, e.q
		s.Each(1, func() {
			k.Load(x, s.Mem("gate", 0))
			k.Xor(x, x, k.LitBits(1<<31))
			k.Exp(x, e)
			k.Add(x, x, k.Lit(1))
			k.Div(x, one, x)
			k.Mul(a, x, s.Mem("gate", 0))
			k.Load(d, s.Mem("dy", 0))
			k.Sub(t, one, x)
			k.Mul(t, a, t)
			k.Add(x, x, t)
			k.Mul(a, d, a)
			k.Mul(d, d, s.Mem("up", 0))
			k.Mul(x, d, x)
			k.Store(s.Mem("dup", 0), a)
			k.Store(s.Mem("dgate", 0), x)
		})
	})

	params := "theta []float32, m []float32, v []float32, g []float32, " +
		"b1 float32, b2 float32, oneB1 float32, oneB2 float32, eps float32, rate float32, decay float32"
	f.Kernel("adamW", params, "", `
for i := range theta {
	m[i] = float32(b1*m[i]) + float32(oneB1*g[i])
	v[i] = float32(b2*v[i]) + float32(oneB2*float32(g[i]*g[i]))
	root := float32(math.Sqrt(float64(v[i])))
	update := float32(rate*m[i]) / (root + eps)
	theta[i] = float32(theta[i]-float32(decay*theta[i])) - update
}`, func(k *Kernel) {
		s := k.Streams("theta", "m", "v", "g")
		b1, b2, oneB1, oneB2 := k.ArgSplat("b1"), k.ArgSplat("b2"), k.ArgSplat("oneB1"), k.ArgSplat("oneB2")
		eps, rate, decay := k.ArgSplat("eps"), k.ArgSplat("rate"), k.ArgSplat("decay")
		g, m, v, t := k.Vec(), k.Vec(), k.Vec(), k.Vec()
		s.Each(1, func() {
			k.Load(g, s.Mem("g", 0))
			k.Mul(m, b1, s.Mem("m", 0))
			k.Mul(t, oneB1, g)
			k.Add(m, m, t)
			k.Store(s.Mem("m", 0), m)
			k.Mul(v, b2, s.Mem("v", 0))
			k.Mul(g, g, g)
			k.Mul(g, oneB2, g)
			k.Add(v, v, g)
			k.Store(s.Mem("v", 0), v)
			k.Sqrt(v, v)
			k.Add(v, v, eps)
			k.Mul(m, rate, m)
			k.Div(m, m, v)
			k.Load(t, s.Mem("theta", 0))
			k.Mul(g, decay, t)
			k.Sub(t, t, g)
			k.Sub(t, t, m)
			k.Store(s.Mem("theta", 0), t)
		})
	})
}
