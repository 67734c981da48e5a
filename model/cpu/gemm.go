package cpu

// gemmOps are the inner loops of matrix products of one tier.
type gemmOps struct {
	rows, cols int // of a full tile; cols is also the width of a packed panel

	// mul computes c[i·ldc+j] = c[i·ldc+j] + Σ_p a[i·lda+p]·b[p·cols+j] for i < rows and j < cols, as one chain of fused
	// multiply-adds over p ascending in [0, k), starting from zero instead of c unless add is set.
	mul func(c []float32, ldc int, a []float32, lda int, b []float32, rows, k int, add bool)

	// dots computes dw[i] = Σ_t dy[t]·x[(at[i]−base)·len(dy)+t] for each i. len(dy) is a multiple of 64. Element t belongs to
	// partial sum t mod 64, a chain of fused multiply-adds over t ascending from zero; the 64 sums s are added as sumTree says.
	dots func(dw, dy, x []float32, at []uint32, base uint32)
}

// gemmState are the buffers of matrix products, made once.
type gemmState struct{}

func (s *gemmState) init(k *Kernels) {}
