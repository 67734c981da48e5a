package cpu

func avx2Gemm() gemmOps {
	return gemmOps{
		rows: 6, cols: 16, mul: mulAVX2, dots: dotsAVX2,
		packOps: packOps{packF32AVX2, packBF16AVX2, packF16AVX2, packTF32AVX2, packTBF16AVX2, packTF16AVX2},
	}
}

// avx512Gemm transposes with AVX2: that only moves bits.
func avx512Gemm() gemmOps {
	return gemmOps{
		rows: 12, cols: 32, mul: mulAVX512, dots: dotsAVX512,
		packOps: packOps{packF32AVX512, packBF16AVX512, packF16AVX512, packTF32AVX2, packTBF16AVX2, packTF16AVX2},
	}
}
