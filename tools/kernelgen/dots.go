package main

// dots adds the sampled product: dot products of one row with rows of x that indices name.
func dots(f *File) {
	const loop = `
for i := range dw {
	row := x[int(at[i]-base)*len(dy):]
	var s [64]float32
	for t := range dy { // len(dy) is a multiple of 64
		s[t%64] = fma(dy[t], row[t], s[t%64]) // rounded once
	}
	for j := range 16 {
		s[j] = (s[j] + s[j+16]) + (s[j+32] + s[j+48])
	}
	for half := 8; half > 0; half /= 2 {
		for j := range half {
			s[j] += s[j+half]
		}
	}
	dw[i] = s[0]
}`
	group := 1 // indices at a time: they share the loads of dy
	if f.Wide {
		group = 6 // 24 sums
	}
	f.Kernel("dots", "dw []float32, dy []float32, x []float32, at []uint32, base uint32", "", loop, func(k *Kernel) {
		dw, n, T, x, at := k.Arg("dw"), k.Arg("dw.len"), k.Arg("dy.len"), k.Arg("x"), k.Arg("at")
		end, t := k.Arg("dy"), k.Int() // rows are addressed by their end plus t < 0
		k.I("SHLQ", 2, T)
		k.I("ADDQ", T, end)
		k.I("ADDQ", T, x)
		if group > 1 {
			k.Loop(n, group, func() { k.dotGroup(group, dw, T, x, at, end, t) })
		}
		k.Loop(n, 1, func() { k.dotGroup(1, dw, T, x, at, end, t) })
	})
}

func (k *Kernel) dotGroup(g int, dw, T, x, at, end, t Reg) {
	const unroll = 4 // vectors of one row in flight
	row, sum := make([]Reg, g), make([][]V, g)
	for i := range row {
		row[i], sum[i] = k.Int(), k.Vecs(unroll)
		k.I("MOVL", at.At(4*i), row[i])
		k.I("SUBL", k.Frame("base"), row[i])
		k.I("IMULQ", T, row[i])
		k.I("ADDQ", x, row[i])
		for _, v := range sum[i] {
			k.Zero(v)
		}
	}
	k.I("MOVQ", T, t)
	k.I("NEGQ", t)
	top, done := k.Label("loop"), k.Label("sums")
	k.I("JEQ", done)
	k.Mark(top)
	for u := range unroll {
		v := k.Vec()
		k.Load(v, end.Plus(t, 1, u*4*Lanes))
		for i := range row {
			k.FMA(sum[i][u], v, row[i].Plus(t, 1, u*4*Lanes))
		}
		k.Free(v)
	}
	k.I("ADDQ", unroll*4*Lanes, t)
	k.I("JLT", top)
	k.Mark(done)
	for i, s := range sum {
		k.Add(s[0], s[0], s[1])
		k.Add(s[2], s[2], s[3])
		k.Add(s[0], s[0], s[2])
		k.Free(s[1])
		tmp := k.Splat()
		k.StoreLane0(dw.At(4*i), k.FoldAdd(s[0], tmp))
		k.Free(tmp, s[0], s[2], s[3], row[i])
	}
	k.I("ADDQ", 4*g, dw)
	k.I("ADDQ", 4*g, at)
}
