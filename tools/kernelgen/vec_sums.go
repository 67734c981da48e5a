package main

// treeLoop is the end of every sum of 64 partial sums.
const treeLoop = `
for j := range 16 {
	s[j] = (s[j] + s[j+16]) + (s[j+32] + s[j+48])
}
for half := 8; half > 0; half /= 2 {
	for j := range half {
		s[j] += s[j+half]
	}
}
return s[0]`

// sums adds the kernels that end in one number.
func sums(f *File) {
	sum := func(name, params, term string, body func(s *streams, u int, v V), names ...string) {
		loop := "\nvar s [64]float32\nfor i := range " + names[0] + " {\n\ts[i%64] += " + term + "\n}" + treeLoop
		f.Kernel(name, params, "ret float32", loop, func(k *Kernel) {
			acc, v := k.Vecs(4), k.Vecs(2)
			for _, a := range acc {
				k.Zero(a)
			}
			s := k.Streams(names...)
			s.Each(4, func() {
				for u, a := range acc {
					body(s, u, v[u%2])
					k.Add(a, a, v[u%2])
				}
			})
			k.Free(v[0])
			tmp := k.Splat()
			k.Return("ret", k.tree(acc, tmp))
		})
	}
	sum("sum", "x []float32", "x[i]", func(s *streams, u int, v V) {
		s.Load(v, s.Mem("x", u))
	}, "x")
	sum("dot", "a []float32, b []float32", "float32(a[i]*b[i])", func(s *streams, u int, v V) {
		s.Load(v, s.Mem("a", u))
		s.Mul(v, v, s.Mem("b", u))
	}, "a", "b")
	sum("dot3", "a []float32, b []float32, c []float32", "float32(float32(a[i]*b[i])*c[i])", func(s *streams, u int, v V) {
		s.Load(v, s.Mem("a", u))
		s.Mul(v, v, s.Mem("b", u))
		s.Mul(v, v, s.Mem("c", u))
	}, "a", "b", "c")

	const loop = `
var s [16]float32 // max(a, b) is a > b ? a : b
for j := range 16 {
	s[j] = x[j]
}
for i := 16; i < len(x); i++ {
	s[i%16] = max(x[i], s[i%16])
}
for half := 8; half > 0; half /= 2 {
	for j := range half {
		s[j] = max(s[j], s[j+half])
	}
}
return s[0]`
	f.Kernel("top", "x []float32", "ret float32", loop, func(k *Kernel) {
		s := k.Streams("x")
		most, v, tmp := k.Vec(), k.Vec(), k.Splat()
		k.Load(most, s.Mem("x", 0)) // compared with itself once, which changes nothing
		s.Each(1, func() {
			k.Load(v, s.Mem("x", 0))
			k.Max(most, v, most)
		})
		k.Return("ret", k.FoldMax(most, tmp))
	})
}

// tree adds four vectors of partial sums by the fixed tree; the sum is in lane 0 of the result.
func (k *Kernel) tree(acc []V, tmp S) S {
	k.Add(acc[0], acc[0], acc[1])
	k.Add(acc[2], acc[2], acc[3])
	k.Add(acc[0], acc[0], acc[2])
	return k.FoldAdd(acc[0], tmp)
}
