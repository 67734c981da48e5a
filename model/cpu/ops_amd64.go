package cpu

const amd64 = true

func opsOf(tier Tier) ops {
	switch tier {
	case AVX512:
		return ops{avx512Gemm(), avx512Vec()}
	case AVX2:
		return ops{avx2Gemm(), avx2Vec()}
	}
	return ops{portableGemm(), portableVec()}
}
