package cpu

import (
	"unsafe"

	"github.com/torctrain/torc/model"
)

// packOps bring operands of matrix products into the order in which mul reads them. They only move and widen.
type packOps struct {
	// pack widens k rows of src, cut into panels of cols: dst[i·stride+p·cols+j] = src[p·lds+i·cols+j].
	pack     func(dst []float32, stride int, src []float32, lds, panels, k int)
	packBF16 func(dst []float32, stride int, src []uint16, lds, panels, k int)
	packF16  func(dst []float32, stride int, src []uint16, lds, panels, k int)

	// packT widens and transposes eight rows: dst[p·ldd+i] = src[i·lds+p] for i < 8 and p < k, k a multiple of 8.
	packT     func(dst []float32, ldd int, src []float32, lds, k int)
	packTBF16 func(dst []float32, ldd int, src []uint16, lds, k int)
	packTF16  func(dst []float32, ldd int, src []uint16, lds, k int)
}

// source is an operand in its stored type; exactly one of the slices is set.
type source struct {
	f32       []float32
	bf16, f16 []uint16
}

func sourceOf(w *model.Matrix) source {
	switch w.DType {
	case model.BF16:
		return source{bf16: w.U16}
	case model.F16:
		return source{f16: w.U16}
	}
	return source{f32: w.F32}
}

func (s *source) at(i int) float32 {
	switch {
	case s.bf16 != nil:
		return model.FromBF16(s.bf16[i])
	case s.f16 != nil:
		return model.FromF16(s.f16[i])
	}
	return s.f32[i]
}

// packFrom is packOps.pack from element from of s on.
func (o *packOps) packFrom(s *source, from int, dst []float32, stride, lds, panels, k int) {
	switch {
	case s.bf16 != nil:
		o.packBF16(dst, stride, s.bf16[from:], lds, panels, k)
	case s.f16 != nil:
		o.packF16(dst, stride, s.f16[from:], lds, panels, k)
	default:
		o.pack(dst, stride, s.f32[from:], lds, panels, k)
	}
}

// packTFrom is packOps.packT from element from of s on.
func (o *packOps) packTFrom(s *source, from int, dst []float32, ldd, lds, k int) {
	switch {
	case s.bf16 != nil:
		o.packTBF16(dst, ldd, s.bf16[from:], lds, k)
	case s.f16 != nil:
		o.packTF16(dst, ldd, s.f16[from:], lds, k)
	default:
		o.packT(dst, ldd, s.f32[from:], lds, k)
	}
}

// packB widens the inner range [p0, p0+n) of columns [j0, j1) of b into panels of (n, cols); what the last panel lacks
// is zero.
func (k *Kernels) packB(dst []float32, p0, n, j0, j1 int) {
	s, o := &k.gemm, &k.ops
	if !s.bT {
		full := (j1 - j0) / o.cols
		if full > 0 {
			o.packFrom(&s.b, p0*s.N+j0, dst, n*o.cols, s.N, full, n)
		}
		if j0+full*o.cols < j1 {
			k.packRest(dst[full*o.cols*n:], j0+full*o.cols, j1, 0, p0, p0, p0+n)
		}
		return
	}
	for j := j0; j < j1; j += o.cols {
		panel := dst[(j-j0)*n:]
		cols8, n8 := min(o.cols, j1-j)&^7, n&^7
		if n8 > 0 {
			for c := 0; c < cols8; c += 8 {
				o.packTFrom(&s.b, (j+c)*s.K+p0, panel[c:], o.cols, s.K, n8)
			}
		}
		k.packRest(panel, j, min(j+o.cols, j1), cols8, p0, p0+n8, p0+n)
	}
}

// packRest writes, element by element, what is left of a panel of columns [j0, j1) that begins at row p0: all rows up to
// p2 of the columns from done on, and rows [p1, p2) of the columns before.
func (k *Kernels) packRest(panel []float32, j0, j1, done, p0, p1, p2 int) {
	s, cols := &k.gemm, k.ops.cols
	dp, dj := s.N, 1
	if s.bT {
		dp, dj = 1, s.K
	}
	for p := p0; p < p2; p++ {
		row := panel[(p-p0)*cols : (p-p0+1)*cols]
		from := done
		if p >= p1 {
			from = 0
		}
		for j := from; j < cols; j++ {
			row[j] = 0
			if j0+j < j1 {
				row[j] = s.b.at(p*dp + (j0+j)*dj)
			}
		}
	}
}

// packA transposes rows [p0, p0+n) of columns [i, i+rows) of the stored a to dst (rows, innerMax).
func (k *Kernels) packA(dst []float32, p0, n, i, rows int) {
	s := &k.gemm
	transpose(&k.ops.packOps, dst, innerMax, s.a[p0*s.M+i:], s.M, n, rows)
}

// transpose writes src (rows, cols) to dst (cols, rows); lds and ldd are the lengths of their rows.
func transpose(o *packOps, dst []float32, ldd int, src []float32, lds, rows, cols int) {
	rows8, cols8 := rows&^7, cols&^7
	if cols8 > 0 {
		for r := 0; r < rows8; r += 8 {
			o.packT(dst[r:], ldd, src[r*lds:], lds, cols8)
		}
	}
	for r := range rows {
		from := cols8
		if r >= rows8 {
			from = 0
		}
		for c := from; c < cols; c++ {
			dst[c*ldd+r] = src[r*lds+c]
		}
	}
}

// aligned makes n float32 that begin at a cache line.
func aligned(n int) []float32 {
	const line = 64
	s := make([]float32, n+line/4)
	skip := int(-uintptr(unsafe.Pointer(&s[0]))%line) / 4
	return s[skip : skip+n : skip+n]
}
