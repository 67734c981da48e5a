package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/torctrain/torc/model"
)

// emulated are the inner loops of an assembly tier, run by a machine.
func emulated(t testing.TB, tier Tier) ops {
	t.Helper()
	name, file := "AVX2", "avx2"
	rows, cols := 6, 16
	if tier == AVX512 {
		name, file, rows, cols = "AVX512", "avx512", 12, 32
	}
	m := newMachine(t, "gemm_"+file+"_amd64.s", "vec_"+file+"_amd64.s")
	goes := portableGemm() // transposes are AVX2 in both tiers, and tested where that is
	call := func(f string, args ...any) { m.call(f+name, args...) }
	return ops{gemmOps{
		rows: rows, cols: cols,
		mul: func(c []float32, ldc int, a []float32, lda int, b []float32, rows, k int, add bool) {
			call("mul", c, ldc, a, lda, b, rows, k, add)
		},
		dots: func(dw, dy, x []float32, stride int, at []uint32, base uint32) {
			call("dots", dw, dy, x, stride, at, base)
		},
		packOps: packOps{
			pack:     func(d []float32, ldd int, s []float32, lds, n, k int) { call("packF32", d, ldd, s, lds, n, k) },
			packBF16: func(d []float32, ldd int, s []uint16, lds, n, k int) { call("packBF16", d, ldd, s, lds, n, k) },
			packF16:  func(d []float32, ldd int, s []uint16, lds, n, k int) { call("packF16", d, ldd, s, lds, n, k) },

			packT: goes.packT, packTBF16: goes.packTBF16, packTF16: goes.packTF16,
		},
	}, vecOps{
		dot:       func(a, b []float32) float32 { return m.call("dot"+name, a, b) },
		dot3:      func(a, b, c []float32) float32 { return m.call("dot3"+name, a, b, c) },
		sum:       func(x []float32) float32 { return m.call("sum"+name, x) },
		top:       func(x []float32) float32 { return m.call("top"+name, x) },
		normScale: func(y, x, w []float32, r float32) { call("normScale", y, x, w, r) },
		normGrad:  func(dx, dy, w, x []float32, r, c float32) { call("normGrad", dx, dy, w, x, r, c) },
		normGradW: func(dw, dy, x []float32, r float32) { call("normGradW", dw, dy, x, r) },
		rope:      func(a, b, cos, sin []float32) { call("rope", a, b, cos, sin) },
		swiglu:    func(y, gate, up []float32) { call("swiglu", y, gate, up) },
		swigluD:   func(dgate, dup, dy, gate, up []float32) { call("swigluD", dgate, dup, dy, gate, up) },
		add:       func(y, x []float32) { call("add", y, x) },
		scale:     func(x []float32, by float32) { call("scale", x, by) },
		expSub:    func(x []float32, top float32) { call("expSub", x, top) },
		expDiff:   func(x, y []float32) { call("expDiff", x, y) },
		scoreRows: func(p, top []float32, scale float32) { call("scoreRows", p, top, scale) },
		expRows:   func(p, top, sum []float32) { call("expRows", p, top, sum) },
		scaleRows: func(x, by []float32, width int) { call("scaleRows", x, by, width) },
		softmaxD: func(p, dp, lse, delta []float32, width int, scale float32) {
			call("softmaxD", p, dp, lse, delta, width, scale)
		},
		adamW: func(theta, m, v, g []float32, b1, b2, oneB1, oneB2, eps, rate, decay float32) {
			call("adamW", theta, m, v, g, b1, b2, oneB1, oneB2, eps, rate, decay)
		},
	}}
}

func emulatedKernels(t testing.TB, tier Tier) *Kernels {
	k := &Kernels{tier: tier, ops: emulated(t, tier), pool: newPool(1)}
	k.gemm.init(k)
	k.gradAt.init(k)
	k.vec.init(k)
	t.Cleanup(k.Close)
	return k
}

// The tiers this processor may lack are run by a machine: same answer to the exam, which reaches every blocking edge, and
// no access outside the operands of a call.
func TestEmulatedTiersAnswerAsTheirClass(t *testing.T) {
	for _, tier := range []Tier{AVX512, AVX2} {
		k := emulatedKernels(t, tier)
		if got := fmt.Sprintf("%x", k.Known()); got != pinned[k.Name()] {
			t.Errorf("%s answers %s, class %s %s", tier, got, k.Name(), pinned[k.Name()])
		}
	}
}

func TestEmulatedAssemblyHasTheBitsOfItsTwin(t *testing.T) {
	for _, tier := range []Tier{AVX512, AVX2} {
		o := emulated(t, tier)
		sameAsTwin(t, "emulated "+string(tier), &o.vecOps)
	}
}

func TestEmulatedProductsAreChains(t *testing.T) {
	for _, tier := range []Tier{AVX512, AVX2} {
		o, r := emulated(t, tier), rand.New(rand.NewPCG(9, 9))
		for rows := 1; rows <= 2*o.rows+1; rows++ {
			n, add := 1+rows%7, rows%2 == 0
			a, b := random(r, rows*n), random(r, n*o.cols)
			want := random(r, rows*o.cols)
			got := append([]float32(nil), want...)
			chain(want, rows, o.cols, n, func(i, p int) float32 { return a[i*n+p] }, func(p, j int) float32 { return b[p*o.cols+j] }, add)
			o.mul(got, o.cols, a, n, b, rows, n, add)
			for i := range want {
				if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
					t.Fatalf("%s: %d rows, inner %d, add %v: output %d is %v, want %v", tier, rows, n, add, i, got[i], want[i])
				}
			}
		}
	}
}

func TestEmulatedPacksWiden(t *testing.T) {
	for _, tier := range []Tier{AVX512, AVX2} {
		o := emulated(t, tier)
		src := make([]uint16, 1<<16)
		for i := range src {
			src[i] = uint16(i)
		}
		dst := make([]float32, 1<<16)
		o.packBF16(dst, 1<<16, src, o.cols, 1, 1<<16/o.cols)
		for i, v := range dst {
			if math.Float32bits(v) != math.Float32bits(model.FromBF16(src[i])) {
				t.Fatalf("%s: bfloat16 %#x became %v", tier, i, v)
			}
		}
	}
}
