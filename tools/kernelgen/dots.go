package main

// dots adds the sampled product: dot products of one row with rows of x that indices name.
func dots(f *File) {
	const loop = `
for i := range dw {
	row := x[int(at[i]-base)*stride:]
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
	dw[i] += s[0]
}`
	group, passes := 3, 2 // 6 sums in 12 registers, twice
	if f.Wide {
		group, passes = 6, 1 // 24 sums
	}
	f.Kernel("dots", "dw []float32, dy []float32, x []float32, stride int, at []uint32, base uint32", "", loop, func(k *Kernel) {
		d := &dotter{
			Kernel: k, dw: k.Arg("dw"), T: k.Arg("dy.len"), x: k.Arg("x"), at: k.Arg("at"), end: k.Arg("dy"), t: k.Int(),
			kept: k.Stack((passes - 1) * group * 4 * Lanes),
		}
		n := k.Arg("dw.len")
		k.I("SHLQ", 2, d.T)
		k.I("ADDQ", d.T, d.end)
		k.I("ADDQ", d.T, d.x)
		k.Loop(n, group, func() { d.group(group, passes) })
		k.Loop(n, 1, func() { d.group(1, 1) })
	})
}

// dotter writes the products of one row of dy with rows of x. Rows are addressed by their end plus t < 0.
type dotter struct {
	*Kernel
	dw, T, x, at, end, t Reg
	kept                 Mem // what earlier passes summed
}

// group writes g products at a time, which share the loads of dy, in a number of passes: each goes over the whole row and
// makes its part of the four vectors of sums.
func (d *dotter) group(g, passes int) {
	k, vecs := d.Kernel, 4/passes
	row, sum := make([]Reg, g), make([][]V, g)
	for i := range row {
		row[i], sum[i] = k.Int(), k.Vecs(vecs)
		k.I("MOVL", d.at.At(4*i), row[i])
		k.I("SUBL", k.Frame("base"), row[i])
		k.I("IMULQ", k.Frame("stride"), row[i])
		k.I("SHLQ", 2, row[i])
		k.I("ADDQ", d.x, row[i])
	}
	for pass := range passes {
		d.pass(row, sum, pass*vecs)
		for i, s := range sum {
			k.Add(s[0], s[0], s[1])
			if passes == 1 {
				k.Add(s[2], s[2], s[3])
				k.Add(s[0], s[0], s[2])
			} else if kept := d.kept.Add(i * 4 * Lanes); pass == 0 {
				k.Store(kept, s[0])
			} else {
				k.Add(s[0], s[0], kept)
			}
		}
	}
	for i, s := range sum {
		for _, v := range s[1:] {
			k.Free(v)
		}
		tmp := k.Splat()
		lane := k.FoldAdd(s[0], tmp)
		k.AddLane0(lane, d.dw.At(4*i))
		k.StoreLane0(d.dw.At(4*i), lane)
		k.Free(tmp, s[0], row[i])
	}
	k.I("ADDQ", 4*g, d.dw)
	k.I("ADDQ", 4*g, d.at)
}

// pass sums vectors from, from+1, … of every four.
func (d *dotter) pass(row []Reg, sum [][]V, from int) {
	k := d.Kernel
	for _, s := range sum {
		for _, v := range s {
			k.Zero(v)
		}
	}
	k.I("MOVQ", d.T, d.t)
	k.I("NEGQ", d.t)
	top, done := k.Label("loop"), k.Label("sums")
	k.I("JEQ", done)
	k.Mark(top)
	for u := range sum[0] {
		off := (from + u) * 4 * Lanes
		v := k.Vec()
		k.Load(v, d.end.Plus(d.t, 1, off))
		for i := range row {
			k.FMA(sum[i][u], v, row[i].Plus(d.t, 1, off))
		}
		k.Free(v)
	}
	k.I("ADDQ", 4*4*Lanes, d.t)
	k.I("JLT", top)
	k.Mark(done)
}
