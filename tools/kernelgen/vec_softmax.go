package main

// softmax adds the loops of cross-entropy and attention. Rows are 64 long unless they have a width.
func softmax(f *File) {
	f.Kernel("expSub", "x []float32, top float32", "", `
for i := range x {
	x[i] = exp32(x[i] - top)
}`, func(k *Kernel) {
		s, e, x, top := k.Streams("x"), k.Exponent(), k.Vec(), k.ArgSplat("top")
		s.Each(1, func() {
			k.Load(x, s.Mem("x", 0))
			k.Sub(x, x, top)
			k.Exp(x, e)
			k.Store(s.Mem("x", 0), x)
		})
	})

	f.Kernel("expDiff", "x []float32, y []float32", "", `
for i := range x {
	x[i] = exp32(x[i] - y[i])
}`, func(k *Kernel) {
		s, e, x := k.Streams("x", "y"), k.Exponent(), k.Vec()
		s.Each(1, func() {
			k.Load(x, s.Mem("x", 0))
			k.Sub(x, x, s.Mem("y", 0))
			k.Exp(x, e)
			k.Store(s.Mem("x", 0), x)
		})
	})

	f.Kernel("scoreRows", "p []float32, top []float32, scale float32", "", `
for r := range top { // max(a, b) is a > b ? a : b
	row, s := p[r*64:], [16]float32{}
	for j := range 64 {
		row[j] *= scale
	}
	for j := range 16 {
		s[j] = max(max(row[j], row[j+16]), max(row[j+32], row[j+48]))
	}
	for half := 8; half > 0; half /= 2 {
		for j := range half {
			s[j] = max(s[j], s[j+half])
		}
	}
	top[r] = max(s[0], top[r])
}`, func(k *Kernel) {
		p, top, n := k.Arg("p"), k.Arg("top"), k.Arg("top.len")
		scale, v, tmp := k.ArgSplat("scale"), k.Vecs(4), k.Splat()
		k.Loop(n, 1, func() {
			for u, v := range v {
				k.Load(v, p.At(4*Lanes*u))
				k.Mul(v, v, scale)
				k.Store(p.At(4*Lanes*u), v)
			}
			k.Max(v[0], v[0], v[1])
			k.Max(v[2], v[2], v[3])
			k.Max(v[0], v[0], v[2])
			most := k.FoldMax(v[0], tmp)
			k.LoadSplat(tmp, top.At(0))
			k.Max(most, most, tmp)
			k.StoreLane0(top.At(0), most)
			k.I("ADDQ", 4*64, p)
			k.I("ADDQ", 4, top)
		})
	})

	f.Kernel("expRows", "p []float32, top []float32, sum []float32", "", `
for r := range top {
	row := p[r*64:]
	for j := range 64 {
		row[j] = exp32(row[j] - top[r])
	}
	for j := range 16 {
		s[j] = (row[j] + row[j+16]) + (row[j+32] + row[j+48])
	}
	for half := 8; half > 0; half /= 2 {
		for j := range half {
			s[j] += s[j+half]
		}
	}
	sum[r] = s[0]
}`, func(k *Kernel) {
		p, top, n, sum := k.Arg("p"), k.Arg("top"), k.Arg("top.len"), k.Arg("sum")
		e, x, most := k.Exponent(), k.Vec(), k.Splat()
		k.Loop(n, 1, func() {
			k.LoadSplat(most, top.At(0))
			for u := range 4 {
				k.Load(x, p.At(4*Lanes*u))
				k.Sub(x, x, most)
				k.Exp(x, e)
				k.Store(p.At(4*Lanes*u), x)
			}
			acc := []V{e.z, e.t, e.q, e.m}
			for u, a := range acc {
				k.Load(a, p.At(4*Lanes*u))
			}
			k.StoreLane0(sum.At(0), k.tree(acc, most))
			k.I("ADDQ", 4*64, p)
			k.I("ADDQ", 4, top)
			k.I("ADDQ", 4, sum)
		})
	})

	f.Kernel("scaleRows", "x []float32, by []float32, width int", "", `
for r := range by {
	for i := r * width; i < (r+1)*width; i++ {
		x[i] *= by[r]
	}
}`, func(k *Kernel) {
		x, by, n, left := k.Arg("x"), k.Arg("by"), k.Arg("by.len"), k.Int()
		b, v := k.Splat(), k.Vec()
		k.Loop(n, 1, func() {
			k.LoadSplat(b, by.At(0))
			k.I("MOVQ", k.Frame("width"), left)
			k.Loop(left, Lanes, func() {
				k.Load(v, x.At(0))
				k.Mul(v, v, b)
				k.Store(x.At(0), v)
				k.I("ADDQ", 4*Lanes, x)
			})
			k.I("ADDQ", 4, by)
		})
	})

	f.Kernel("softmaxD", "p []float32, dp []float32, lse []float32, delta []float32, width int, scale float32", "", `
for r := range lse {
	for i := r * width; i < (r+1)*width; i++ {
		p[i] = exp32(float32(p[i]*scale) - lse[r])
		dp[i] = float32(p[i]*(dp[i]-delta[r])) * scale
	}
}`, func(k *Kernel) {
		p, dp, lse, n, delta, left := k.Arg("p"), k.Arg("dp"), k.Arg("lse"), k.Arg("lse.len"), k.Arg("delta"), k.Int()
		e, x, l, d, scale := k.Exponent(), k.Vec(), k.Splat(), k.Splat(), k.ArgSplat("scale")
		k.Loop(n, 1, func() {
			k.LoadSplat(l, lse.At(0))
			k.LoadSplat(d, delta.At(0))
			k.I("MOVQ", k.Frame("width"), left)
			k.Loop(left, Lanes, func() {
				k.Load(x, p.At(0))
				k.Mul(x, x, scale)
				k.Sub(x, x, l)
				k.Exp(x, e)
				k.Store(p.At(0), x)
				k.Load(e.z, dp.At(0))
				k.Sub(e.z, e.z, d)
				k.Mul(x, x, e.z)
				k.Mul(x, x, scale)
				k.Store(dp.At(0), x)
				k.I("ADDQ", 4*Lanes, p)
				k.I("ADDQ", 4*Lanes, dp)
			})
			k.I("ADDQ", 4, lse)
			k.I("ADDQ", 4, delta)
		})
	})
}
