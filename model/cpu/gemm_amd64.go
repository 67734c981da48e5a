package cpu

func avx2Gemm() gemmOps {
	return gemmOps{rows: 6, cols: 16, mul: mulAVX2}
}

func avx512Gemm() gemmOps {
	return gemmOps{rows: 12, cols: 32, mul: mulAVX512}
}
