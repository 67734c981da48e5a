package cpu

import "github.com/torctrain/torc/model"

// The inner loops of matrix products in Go. A step of a chain rounds the product, then the sum: processors without a fused
// multiply-add would need a call for it. That is why the portable tier is an arithmetic class of its own.

const portableCols = 8 // partial results of one row of a, held in registers

func portableGemm() gemmOps {
	return gemmOps{
		rows: 1, cols: portableCols, mul: mulPortable, dots: dotsPortable,
		packOps: packOps{
			pack: packPortable,
			packBF16: func(d []float32, stride int, s []uint16, lds, n, k int) {
				packWiden(d, stride, s, lds, n, k, model.FromBF16)
			},
			packF16: func(d []float32, stride int, s []uint16, lds, n, k int) {
				packWiden(d, stride, s, lds, n, k, model.FromF16)
			},

			packT:     packTPortable,
			packTBF16: func(d []float32, ldd int, s []uint16, lds, k int) { packTWiden(d, ldd, s, lds, k, model.FromBF16) },
			packTF16:  func(d []float32, ldd int, s []uint16, lds, k int) { packTWiden(d, ldd, s, lds, k, model.FromF16) },
		},
	}
}

// mulPortable is gemmOps.mul.
func mulPortable(c []float32, ldc int, a []float32, lda int, b []float32, rows, k int, add bool) {
	for i := range rows {
		out := (*[portableCols]float32)(c[i*ldc:])
		var s0, s1, s2, s3, s4, s5, s6, s7 float32
		if add {
			s0, s1, s2, s3, s4, s5, s6, s7 = out[0], out[1], out[2], out[3], out[4], out[5], out[6], out[7]
		}
		row, panel := a[i*lda:i*lda+k], b[:k*portableCols]
		for _, v := range row {
			p := (*[portableCols]float32)(panel)
			panel = panel[portableCols:]
			s0 += float32(v * p[0])
			s1 += float32(v * p[1])
			s2 += float32(v * p[2])
			s3 += float32(v * p[3])
			s4 += float32(v * p[4])
			s5 += float32(v * p[5])
			s6 += float32(v * p[6])
			s7 += float32(v * p[7])
		}
		*out = [portableCols]float32{s0, s1, s2, s3, s4, s5, s6, s7}
	}
}

// dotsPortable is gemmOps.dots.
func dotsPortable(dw, dy, x []float32, stride int, at []uint32, base uint32) {
	for i := range dw {
		row := int(at[i]-base) * stride
		dw[i] += dot(dy, x[row:row+len(dy)])
	}
}

// packPortable is packOps.pack.
func packPortable(dst []float32, stride int, src []float32, lds, panels, k int) {
	for p := range k {
		for i := range panels {
			copy(dst[i*stride+p*portableCols:][:portableCols], src[p*lds+i*portableCols:])
		}
	}
}

func packWiden(dst []float32, stride int, src []uint16, lds, panels, k int, widen func(uint16) float32) {
	for p := range k {
		for i := range panels {
			row := dst[i*stride+p*portableCols:][:portableCols]
			for j, v := range src[p*lds+i*portableCols:][:portableCols] {
				row[j] = widen(v)
			}
		}
	}
}

// packTPortable is packOps.packT.
func packTPortable(dst []float32, ldd int, src []float32, lds, k int) {
	for i := range 8 {
		for p, v := range src[i*lds:][:k] {
			dst[p*ldd+i] = v
		}
	}
}

func packTWiden(dst []float32, ldd int, src []uint16, lds, k int, widen func(uint16) float32) {
	for i := range 8 {
		for p, v := range src[i*lds:][:k] {
			dst[p*ldd+i] = widen(v)
		}
	}
}
