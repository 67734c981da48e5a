package model

// Kernels is the arithmetic of a transformer on one device. cpu/ref.go is the specification: plain loops, never optimised.
//
// Shapes use T tokens, C or n input features, m output features, H query heads, KV key-value heads, D features per head,
// V vocabulary entries. All slices are row-major and exactly as long as their shape says; implementations panic otherwise.
// Unless a comment says "adds", outputs are overwritten. Outputs never alias inputs unless a comment allows it.
//
// Every implementation obeys the kernel rules of docs/protocol.md: each output of a matrix product is one chain of fused
// multiply-adds over the inner index ascending, starting from zero (or from the output where a comment says "adds");
// threads split outputs only; horizontal sums use 16 virtual lanes and one fixed tree. So the result depends neither on
// the number of threads nor on the width of the registers, and rows are independent of their neighbours.
type Kernels interface {
	// Name identifies the arithmetic: two kernels with one name give the same bits.
	Name() string

	// Linear computes y = x·Wᵀ, with x (T, n), w (m, n), y (T, m).
	Linear(y, x []float32, w *Matrix, T int)
	// LinearGradX adds dy·W to dx, with dy (T, m), w (m, n), dx (T, n).
	LinearGradX(dx, dy []float32, w *Matrix, T int)
	// GradDense adds dyᵀ·x to dw, with dy (T, m), x (T, n), dw (m, n): tokens ascending.
	GradDense(dw, dy, x []float32, T int)

	// TransposePad writes src (rows, cols) as dst (cols, Pad(rows)), the tail of each row zero, as GradAt wants it.
	TransposePad(dst, src []float32, rows, cols int)
	// GradAt computes dw[k] = Σ_t dy[t, at[k]/n]·x[t, at[k]%n] from the transposes dyT (m, Pad(T)) and xT (n, Pad(T)).
	// at is sorted ascending: flat indices of an (m, n) weight. m·n < 2³². Sums are cut at every 512 tokens.
	GradAt(dw, dyT, xT []float32, at []uint32, n, T int)

	// RMSNorm computes y[t] = x[t]·rstd[t]·w with rstd[t] = 1/√(mean(x[t]²)+eps); x, y (T, C), rstd (T).
	RMSNorm(y, rstd, x []float32, w *Matrix, eps float32, T int)
	// RMSNormGrad adds the gradient through RMSNorm to dx and, when dw is not nil, adds to dw (C), tokens ascending.
	RMSNormGrad(dx, dw, dy, x, rstd []float32, w *Matrix, T int)

	// Rope rotates x (T, heads·D) in place by the angles of pos (T): pairs (i, i+D/2), table cos, sin (positions, D/2).
	// Inverse rotation, which is also its gradient, is Rope with the sines negated.
	Rope(x []float32, pos []int32, cos, sin []float32, heads, D int)

	// Attention computes causal grouped-query attention of each sequence on its own. q (T, H·D), k and v (T, KV·D),
	// o (T, H·D); lse (T, H) is the logarithm of each softmax sum, for the gradient. starts (sequences+1) are the
	// first tokens of the sequences, starts[0] = 0, the last is T. No T×T matrix exists: keys are visited in blocks of 64.
	// A query sees the keys of the last window positions only, its own included; window 0 means all.
	Attention(o, lse, q, k, v []float32, starts []int32, s AttnShape)
	// AttentionGrad overwrites dq, dk, dv from do, recomputing the softmax from lse.
	AttentionGrad(dq, dk, dv, do, o, lse, q, k, v []float32, starts []int32, s AttnShape)

	// SwiGLU computes y = silu(gate)·up element by element; y may alias gate or up.
	SwiGLU(y, gate, up []float32)
	// SwiGLUGrad overwrites dgate and dup from dy; dgate may alias gate, dup may alias up.
	SwiGLUGrad(dgate, dup, dy, gate, up []float32)

	// Add adds x to y.
	Add(y, x []float32)
	// AddBias adds the vector b (m) to each row of y (T, m).
	AddBias(y []float32, b *Matrix, T int)

	// CrossEntropy replaces each row of logits (T, V) by its gradient softmax(row) − onehot(target) and writes the
	// row's loss, logsumexp(row) − row[target], in nats. targets (T) are all in [0, V).
	CrossEntropy(loss, logits []float32, targets []int32, T int)

	// Embed copies rows of w (V, C) to y (T, C).
	Embed(y []float32, w *Matrix, ids []int32)
	// EmbedGrad adds the rows of dy (T, C) to rows ids of dw (V, C), tokens ascending.
	EmbedGrad(dw, dy []float32, ids []int32)

	// AdamW makes one step on theta, m, v (K each) with gradient g, see AdamWStep.
	AdamW(theta, m, v, g []float32, s AdamWStep)
}

// AttnShape are the sizes of one attention. H is a multiple of KV. Scale multiplies q·k.
//
// Skip lets Attention leave out the first Skip queries of each sequence: their rows of q are not needed and what o and lse
// hold there afterwards is unspecified. The other rows have the bits they have with Skip 0. This is how one new token
// attends to the cache of a Decoder. AttentionGrad takes no notice of Skip, which is 0 then.
type AttnShape struct {
	H, KV, D, Window int
	Skip             int
	Scale            float32
}

// AdamWStep are the scalars of one AdamW step, in this order of operations and all in float32:
//
//	m = B1·m + (1−B1)·g;  v = B2·v + (1−B2)·g²;  θ = θ − Decay·θ − Rate·m/(√v + Eps)
//
// Rate is lr·√(1−B2^t)/(1−B1^t), Decay is lr·weight_decay, OneB1 and OneB2 are 1−B1 and 1−B2 rounded once.
// Source: the authors' SparseAdamW (LIFT, arXiv:2506.00772): eps is added to the uncorrected root.
type AdamWStep struct {
	B1, B2, OneB1, OneB2, Eps, Rate, Decay float32
}

// Pad rounds the length of a transposed row up to what horizontal sums want: 16 virtual lanes, unrolled four times.
func Pad(n int) int { return (n + 63) &^ 63 }
