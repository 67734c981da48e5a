package cpu

func avx2Gemm() gemmOps   { return gemmOps{} }
func avx512Gemm() gemmOps { return gemmOps{} }
