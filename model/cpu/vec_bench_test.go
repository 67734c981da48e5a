package cpu

import (
	"math/rand/v2"
	"testing"

	"github.com/torctrain/torc/model"
)

// BenchmarkVector measures the kernels beside the matrix products at the shapes of a 135M model and one sequence of 512.
// "flop/ns" counts what a product would need: 4·D per query and visible key forward, 10·D backward (without what is
// computed twice), so that it compares with BenchmarkGemm; the others give elements per ns.
func BenchmarkVector(b *testing.B) {
	const T, H, KV, D, C, F, V = 512, 9, 3, 64, 576, 1536, 49152
	k := newKernels(b, 1, Auto)
	r := rand.New(rand.NewPCG(1, 1))
	f := func(n int) []float32 { return random(r, n) }
	q, kk, v, lse := f(T*H*D), f(T*KV*D), f(T*KV*D), f(T*H)
	dq, dk, dv, o := f(T*H*D), f(T*KV*D), f(T*KV*D), f(T*H*D)
	starts, s := []int32{0, T}, attnShape(H, KV, D)
	w, x, y, z, rstd := randomMatrix(r, model.F32, 1, C), f(T*F), f(T*F), f(T*F), f(T)
	logits, ids := f(16*V), make([]int32, 16)
	run := func(name, unit string, work float64, f func()) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				f()
			}
			b.ReportMetric(work*float64(b.N)/float64(b.Elapsed().Nanoseconds()), unit)
		})
	}
	pairs := float64(T * (T + 1) / 2 * H)
	run("Attention", "flop/ns", pairs*4*D, func() { k.Attention(o, lse, q, kk, v, starts, s) })
	run("AttentionGrad", "flop/ns", pairs*10*D, func() { k.AttentionGrad(dq, dk, dv, o, o, lse, q, kk, v, starts, s) })
	run("RMSNorm", "elements/ns", T*C, func() { k.RMSNorm(y[:T*C], rstd, x[:T*C], w, 1e-5, T) })
	run("RMSNormGrad", "elements/ns", T*C, func() { k.RMSNormGrad(z[:T*C], dq[:C], y[:T*C], x[:T*C], rstd, w, T) })
	run("SwiGLU", "elements/ns", T*F, func() { k.SwiGLU(y, x, z) })
	run("SwiGLUGrad", "elements/ns", T*F, func() { k.SwiGLUGrad(y, z, x, x, x) })
	run("CrossEntropy", "elements/ns", 16*V, func() { k.CrossEntropy(rstd[:16], logits, ids, 16) })
	run("AdamW", "elements/ns", T*F, func() { k.AdamW(x, y, z, z, adamWStep) })
}
