package main

import "fmt"

// gemm adds the inner loops of matrix products.
func gemm(f *File) {
	mul(f)
	dots(f)
	for _, d := range dtypes {
		pack(f, d)
		if !f.Wide { // moves bits only: one copy serves both tiers
			packT(f, d)
		}
	}
}

// dtypes are the stored types of weights.
var dtypes = []dtype{{"F32", "float32", 4}, {"BF16", "uint16", 2}, {"F16", "uint16", 2}}

type dtype struct {
	name, elem string
	size       int
}

// tileShape is the block of outputs held in registers: rows, and columns in V.
func tileShape(wide bool) (rows, vecs int) {
	if wide {
		return 12, 2 // 24 of 32 registers
	}
	return 6, 1 // 12 of 16
}

func mul(f *File) {
	rows, vecs := tileShape(f.Wide)
	loop := fmt.Sprintf(`
for i := range rows {
	for j := range %d {
		var sum float32
		if add {
			sum = c[i*ldc+j]
		}
		for p := range k {
			sum = fma(a[i*lda+p], b[p*%[1]d+j], sum) // rounded once
		}
		c[i*ldc+j] = sum
	}
}`, vecs*Lanes)
	f.Kernel("mul", "c []float32, ldc int, a []float32, lda int, b []float32, rows int, k int, add bool", "", loop, func(k *Kernel) {
		t := &tile{Kernel: k, vecs: vecs, c: k.Arg("c"), ldc: k.Arg("ldc"), a: k.Arg("a"), lda: k.Arg("lda")}
		n := k.Arg("rows")
		k.I("SHLQ", 2, t.ldc)
		k.I("SHLQ", 2, t.lda)
		t.lda3, t.lda5 = k.Int(), k.Int()
		k.I("LEAQ", t.lda.Plus(t.lda, 2, 0), t.lda3)
		k.I("LEAQ", t.lda.Plus(t.lda, 4, 0), t.lda5)
		k.Loop(n, rows, func() { t.emit(rows) })
		done := k.Label("done")
		for r := rows - 1; r > 0; r-- {
			next := k.Label("rows")
			k.I("CMPQ", n, r)
			k.I("JNE", next)
			t.emit(r)
			k.I("JMP", done)
			k.Mark(next)
		}
		k.Mark(done)
	})
}

// tile writes the product of a few rows with one panel.
type tile struct {
	*Kernel
	vecs                         int
	c, ldc, a, lda, lda3, lda5   Reg // strides in bytes
	aLow, aHigh, b, count, where Reg // running: rows 0–5, rows 6–11, panel, inner index, row of c
}

// row is the address of element off/4 of row r.
func (t *tile) row(r, off int) Mem {
	p := t.aLow
	if r >= 6 {
		p, r = t.aHigh, r-6
	}
	switch r {
	case 3:
		return p.Plus(t.lda3, 1, off)
	case 5:
		return p.Plus(t.lda5, 1, off)
	case 0:
		return p.At(off)
	}
	return p.Plus(t.lda, r, off)
}

// emit writes the code for a number of rows and steps a and c behind them.
func (t *tile) emit(rows int) {
	k := t.Kernel
	full, _ := tileShape(k.Wide)
	t.aLow, t.b, t.count, t.where = k.Int(), k.Arg("b"), k.Arg("k"), k.Int()
	defer func() { k.Free(t.aLow, t.b, t.count, t.where) }()
	k.I("MOVQ", t.a, t.aLow)
	if rows > 6 {
		t.aHigh = k.Int()
		defer k.Free(t.aHigh)
		k.I("LEAQ", t.a.Plus(t.lda3, 2, 0), t.aHigh)
	}
	acc := make([][]V, rows)
	for r := range acc {
		acc[r] = k.Vecs(t.vecs)
		defer func() {
			for _, v := range acc[r] {
				k.Free(v)
			}
		}()
	}

	fresh, ready := k.Label("fresh"), k.Label("ready")
	k.I("CMPB", k.Frame("add"), 0)
	k.I("JEQ", fresh)
	t.eachRow(acc, k.Load)
	k.I("JMP", ready)
	k.Mark(fresh)
	for r := range acc {
		for _, v := range acc[r] {
			k.Zero(v)
		}
	}
	k.Mark(ready)
	if rows == full { // outputs of the next tile
		k.I("LEAQ", t.c.Plus(t.ldc, 4, 0), t.where)
		for r := 4; r < 2*rows; r++ {
			if r >= rows {
				k.I("PREFETCHT0", t.where.At(0))
			}
			k.I("ADDQ", t.ldc, t.where)
		}
	}

	b := k.Vecs(t.vecs)
	s := []S{k.Splat(), k.Splat()}
	step := func(p int) {
		for j, v := range b {
			k.Load(v, t.b.At((p*t.vecs+j)*4*Lanes))
		}
		for r := range acc {
			k.LoadSplat(s[r%2], t.row(r, 4*p))
			for j, v := range b {
				k.FMA(acc[r][j], s[r%2], v)
			}
		}
	}
	advance := func(steps int) {
		k.I("ADDQ", 4*steps, t.aLow)
		if rows > 6 {
			k.I("ADDQ", 4*steps, t.aHigh)
		}
		k.I("ADDQ", steps*t.vecs*4*Lanes, t.b)
	}
	for _, unroll := range []int{4, 1} {
		k.Loop(t.count, unroll, func() {
			for p := range unroll {
				step(p)
			}
			advance(unroll)
		})
	}
	k.Free(s[0], s[1])
	for _, v := range b {
		k.Free(v)
	}

	t.eachRow(acc, func(v V, m Mem) { k.Store(m, v) })
	k.I("MOVQ", t.where, t.c)
	for range rows {
		k.I("ADDQ", t.lda, t.a)
	}
}

// eachRow visits the outputs of the tile with their addresses and leaves where behind the last row.
func (t *tile) eachRow(acc [][]V, visit func(v V, m Mem)) {
	t.I("MOVQ", t.c, t.where)
	for _, row := range acc {
		for j, v := range row {
			visit(v, t.where.At(j*4*Lanes))
		}
		t.I("ADDQ", t.ldc, t.where)
	}
}

// pack copies rows of b side by side into panels.
func pack(f *File, d dtype) {
	_, vecs := tileShape(f.Wide)
	loop := fmt.Sprintf(`
for p := range k {
	for i := range panels {
		for j := range %d {
			dst[i*stride+p*%[1]d+j] = float32(src[p*lds+i*%[1]d+j]) // widened
		}
	}
}`, vecs*Lanes)
	params := "dst []float32, stride int, src []" + d.elem + ", lds int, panels int, k int"
	f.Kernel("pack"+d.name, params, "", loop, func(k *Kernel) {
		dst, stride, src, lds, n := k.Arg("dst"), k.Arg("stride"), k.Arg("src"), k.Arg("lds"), k.Arg("k")
		to, from, left := k.Int(), k.Int(), k.Int()
		k.I("SHLQ", 2, stride)
		k.I("SHLQ", d.size/2, lds)
		v := k.Vecs(vecs)
		k.Loop(n, 1, func() {
			k.I("MOVQ", dst, to)
			k.I("MOVQ", src, from)
			k.I("MOVQ", k.Frame("panels"), left)
			k.Loop(left, 1, func() {
				for j := range v {
					k.widenFrom(d, v[j], from.At(j*d.size*Lanes))
				}
				for j := range v {
					k.Store(to.At(j*4*Lanes), v[j])
				}
				k.I("ADDQ", vecs*d.size*Lanes, from)
				k.I("ADDQ", stride, to)
			})
			k.I("ADDQ", vecs*4*Lanes, dst)
			k.I("ADDQ", lds, src)
		})
	})
}

func (k *Kernel) widenFrom(d dtype, v V, m Mem) {
	switch d.name {
	case "BF16":
		k.WidenBF16(v, m)
	case "F16":
		k.WidenF16(v, m)
	default:
		k.Load(v, m)
	}
}

// packT transposes eight rows, eight columns at a time, in registers. Row i lies in the low and row i+4 in the high half
// of a register from the start, so that nothing has to cross halves.
func packT(f *File, d dtype) {
	const loop = `
for p := range k { // a multiple of 8
	for i := range 8 {
		dst[p*ldd+i] = float32(src[i*lds+p]) // widened
	}
}`
	params := "dst []float32, ldd int, src []" + d.elem + ", lds int, k int"
	f.Kernel("packT"+d.name, params, "", loop, func(k *Kernel) {
		p := &transposer{Kernel: k, dst: k.Arg("dst"), ldd: k.Arg("ldd"), src: k.Arg("src"), lds: k.Arg("lds")}
		n := k.Arg("k")
		p.low, p.lds3, p.ldd3, p.next = k.Int(), k.Int(), k.Int(), k.Int()
		k.I("SHLQ", 2, p.ldd)
		k.I("SHLQ", d.size/2, p.lds)
		k.I("LEAQ", p.lds.Plus(p.lds, 2, 0), p.lds3)
		k.I("LEAQ", p.ldd.Plus(p.ldd, 2, 0), p.ldd3)
		k.I("LEAQ", p.src.Plus(p.lds, 4, 0), p.low)
		if d.name == "BF16" {
			k.I("VPXOR", y(15), y(15), y(15))
		}
		k.Loop(n, 8, func() {
			k.I("LEAQ", p.dst.Plus(p.ldd, 4, 0), p.next)
			if d.size == 4 {
				p.words32(0)
				p.words32(4)
			} else {
				p.words16(d)
			}
			k.I("ADDQ", 8*d.size, p.src)
			k.I("ADDQ", 8*d.size, p.low)
			k.I("LEAQ", p.next.Plus(p.ldd, 4, 0), p.dst)
		})
	})
}

func x(i int) string { return fmt.Sprintf("X%d", i) }
func y(i int) string { return fmt.Sprintf("Y%d", i) }

// transposer walks over eight rows of src: rows 0–3 from src, 4–7 from low; and eight of dst: from dst and from next.
type transposer struct {
	*Kernel
	dst, next, ldd, ldd3, src, low, lds, lds3 Reg // strides in bytes
}

// rowOf is the address off bytes into row i < 4 of the rows that begin at p.
func rowOf(p Reg, i int, stride, stride3 Reg, off int) Mem {
	switch i {
	case 0:
		return p.At(off)
	case 3:
		return p.Plus(stride3, 1, off)
	}
	return p.Plus(stride, i, off)
}

// out is row p < 8 of dst.
func (t *transposer) out(p int) Mem {
	if p < 4 {
		return rowOf(t.dst, p, t.ldd, t.ldd3, 0)
	}
	return rowOf(t.next, p-4, t.ldd, t.ldd3, 0)
}

// words32 transposes four columns of float32.
func (t *transposer) words32(from int) {
	for i := range 4 {
		t.I("VMOVUPS", rowOf(t.src, i, t.lds, t.lds3, 4*from), x(i))
		t.I("VINSERTF128", 1, rowOf(t.low, i, t.lds, t.lds3, 4*from), y(i), y(i))
	}
	for i := 0; i < 4; i += 2 { // pairs of rows, then columns of four
		t.I("VUNPCKLPS", y(i+1), y(i), y(4+i))
		t.I("VUNPCKHPS", y(i+1), y(i), y(5+i))
	}
	for i := range 2 {
		t.I("VUNPCKLPD", y(6+i), y(4+i), y(8+2*i))
		t.I("VUNPCKHPD", y(6+i), y(4+i), y(9+2*i))
	}
	for i := range 4 {
		t.I("VMOVUPS", y(8+i), t.out(from+i))
	}
}

// words16 transposes eight columns of 16-bit floats, then widens.
func (t *transposer) words16(d dtype) {
	for i := range 4 {
		t.I("VMOVDQU", rowOf(t.src, i, t.lds, t.lds3, 0), x(i))
		t.I("VINSERTI128", 1, rowOf(t.low, i, t.lds, t.lds3, 0), y(i), y(i))
	}
	for i := 0; i < 4; i += 2 { // pairs of rows, then two columns of four in each register
		t.I("VPUNPCKLWD", y(i+1), y(i), y(4+i))
		t.I("VPUNPCKHWD", y(i+1), y(i), y(5+i))
	}
	for i := range 2 {
		t.I("VPUNPCKLDQ", y(6+i), y(4+i), y(8+2*i))
		t.I("VPUNPCKHDQ", y(6+i), y(4+i), y(9+2*i))
	}
	for i := range 4 {
		if d.name == "BF16" { // a bfloat16 is the high half of a float32
			t.I("VPUNPCKLWD", y(8+i), y(15), y(2*i))
			t.I("VPUNPCKHWD", y(8+i), y(15), y(2*i+1))
		} else {
			t.I("VPERMQ", 0xd8, y(8+i), y(8+i))
			t.I("VEXTRACTI128", 1, y(8+i), x(12+i))
			t.I("VCVTPH2PS", x(8+i), y(2*i))
			t.I("VCVTPH2PS", x(12+i), y(2*i+1))
		}
		t.I("VMOVUPS", y(2*i), t.out(2*i))
		t.I("VMOVUPS", y(2*i+1), t.out(2*i+1))
	}
}
