package cpu

func avx2Vec() vecOps {
	return vecOps{
		dot: dotAVX2, dot3: dot3AVX2, normScale: normScaleAVX2, normGrad: normGradAVX2,
		normGradW: normGradWAVX2, rope: ropeAVX2, swiglu: swigluAVX2, swigluD: swigluDAVX2,
		add: addAVX2, scale: scaleAVX2, top: topAVX2, sum: sumAVX2,
		expSub: expSubAVX2, expDiff: expDiffAVX2, scoreRows: scoreRowsAVX2, expRows: expRowsAVX2,
		scaleRows: scaleRowsAVX2, softmaxD: softmaxDAVX2, adamW: adamWAVX2,
	}
}

func avx512Vec() vecOps {
	return vecOps{
		dot: dotAVX512, dot3: dot3AVX512, normScale: normScaleAVX512, normGrad: normGradAVX512,
		normGradW: normGradWAVX512, rope: ropeAVX512, swiglu: swigluAVX512, swigluD: swigluDAVX512,
		add: addAVX512, scale: scaleAVX512, top: topAVX512, sum: sumAVX512,
		expSub: expSubAVX512, expDiff: expDiffAVX512, scoreRows: scoreRowsAVX512, expRows: expRowsAVX512,
		scaleRows: scaleRowsAVX512, softmaxD: softmaxDAVX512, adamW: adamWAVX512,
	}
}
