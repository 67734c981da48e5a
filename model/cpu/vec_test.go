package cpu

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/torctrain/torc/internal/detmath"
)

// hard are values that show where an instruction and its Go twin part: ends of ranges, both zeros, subnormals, infinities.
var hard = []float32{
	0, float32(math.Copysign(0, -1)), 1, -1, 0x1p-149, -0x1p-149, 0x1p-126, -0x1p-126, math.MaxFloat32, -math.MaxFloat32,
	float32(math.Inf(1)), float32(math.Inf(-1)), expMin, -86.99999, -87.00001, expMax, 88.00001, -88, 87, 0.34657359, -0.34657359,
	0x1p-30, 16777216, 1e10, -1e10,
}

// vecCalls run one inner loop on vectors of n elements (a multiple of 64) and give all they may have changed.
var vecCalls = map[string]func(o *vecOps, v [][]float32) [][]float32{
	"dot":  func(o *vecOps, v [][]float32) [][]float32 { return [][]float32{{o.dot(v[0], v[1])}} },
	"dot3": func(o *vecOps, v [][]float32) [][]float32 { return [][]float32{{o.dot3(v[0], v[1], v[2])}} },
	"sum":  func(o *vecOps, v [][]float32) [][]float32 { return [][]float32{{o.sum(v[0])}} },
	"top":  func(o *vecOps, v [][]float32) [][]float32 { return [][]float32{{o.top(v[0])}} },
	"normScale": func(o *vecOps, v [][]float32) [][]float32 {
		o.normScale(v[0], v[1], v[2], 0.37)
		return v[:1]
	},
	"normGrad": func(o *vecOps, v [][]float32) [][]float32 {
		o.normGrad(v[0], v[1], v[2], v[3], 0.37, 1.7)
		return v[:1]
	},
	"normGradW": func(o *vecOps, v [][]float32) [][]float32 {
		o.normGradW(v[0], v[1], v[2], 0.37)
		return v[:1]
	},
	"rope": func(o *vecOps, v [][]float32) [][]float32 {
		o.rope(v[0], v[1], v[2], v[3])
		return v[:2]
	},
	"swiglu": func(o *vecOps, v [][]float32) [][]float32 {
		o.swiglu(v[0], v[1], v[2])
		return v[:1]
	},
	"swigluD": func(o *vecOps, v [][]float32) [][]float32 {
		o.swigluD(v[0], v[1], v[2], v[3], v[4])
		return v[:2]
	},
	"swigluD in place": func(o *vecOps, v [][]float32) [][]float32 {
		o.swigluD(v[0], v[1], v[2], v[0], v[1])
		return v[:2]
	},
	"add": func(o *vecOps, v [][]float32) [][]float32 {
		o.add(v[0], v[1])
		return v[:1]
	},
	"scale": func(o *vecOps, v [][]float32) [][]float32 {
		o.scale(v[0], 0.37)
		return v[:1]
	},
	"expSub": func(o *vecOps, v [][]float32) [][]float32 {
		o.expSub(v[0], 0.37)
		return v[:1]
	},
	"expSub 0": func(o *vecOps, v [][]float32) [][]float32 {
		o.expSub(v[0], 0)
		return v[:1]
	},
	"expDiff": func(o *vecOps, v [][]float32) [][]float32 {
		o.expDiff(v[0], v[1])
		return v[:1]
	},
	"scoreRows": func(o *vecOps, v [][]float32) [][]float32 {
		o.scoreRows(v[0], v[1][:len(v[0])/64], 0.37)
		return v[:2]
	},
	"expRows": func(o *vecOps, v [][]float32) [][]float32 {
		o.expRows(v[0], v[1][:len(v[0])/64], v[2][:len(v[0])/64])
		return v[:3]
	},
	"scaleRows": func(o *vecOps, v [][]float32) [][]float32 {
		o.scaleRows(v[0], v[1][:len(v[0])/32], 32)
		return v[:1]
	},
	"softmaxD": func(o *vecOps, v [][]float32) [][]float32 {
		o.softmaxD(v[0], v[1], v[2][:len(v[0])/64], v[3][:len(v[0])/64], 64, 0.37)
		return v[:2]
	},
	"softmaxD panel": func(o *vecOps, v [][]float32) [][]float32 {
		o.softmaxD(v[0], v[1], v[2][:len(v[0])/16], v[3][:len(v[0])/16], 16, 0.37)
		return v[:2]
	},
	"adamW": func(o *vecOps, v [][]float32) [][]float32 {
		for i, x := range v[2] { // second moments are not negative
			v[2][i] = max(0, x)
		}
		o.adamW(v[0], v[1], v[2], v[3], 0.9, 0.95, 0.1, 0.05, 1e-6, 3e-4, 1e-5)
		return v[:3]
	},
}

// vectors makes five vectors: normal values, of which one in every is a hard one.
func vectors(seed uint64, n, every int) [][]float32 {
	r := rand.New(rand.NewPCG(seed, 5))
	v := make([][]float32, 5)
	for i := range v {
		v[i] = make([]float32, n)
		for j := range v[i] {
			v[i][j] = float32(r.NormFloat64() * 3)
			if r.IntN(every) == 0 {
				v[i][j] = hard[r.IntN(len(hard))]
			}
		}
	}
	return v
}

func TestAssemblyHasTheBitsOfItsTwin(t *testing.T) {
	for _, tier := range Tiers() {
		o := opsOf(tier)
		sameAsTwin(t, string(tier), &o.vecOps)
	}
}

func sameAsTwin(t *testing.T, name string, o *vecOps) {
	t.Helper()
	twin := portableVec()
	for loop, call := range vecCalls {
		for i := range 40 {
			n, every := []int{64, 128, 192, 640}[i%4], []int{1 << 30, 100, 3, 20}[i/4%4]
			want, got := call(&twin, vectors(uint64(i), n, every)), call(o, vectors(uint64(i), n, every))
			for j := range want {
				for at, w := range want[j] {
					if g := got[j][at]; math.Float32bits(g) != math.Float32bits(w) && (g == g || w == w) {
						t.Fatalf("%s of %s, n=%d, try %d: result %d is %v (%#x) at %d, want %v (%#x)", loop, name, n, i, j,
							g, math.Float32bits(g), at, w, math.Float32bits(w))
					}
				}
			}
		}
	}
}

func TestExpIsAccurate(t *testing.T) {
	worst, at := 0.0, float32(0)
	for i := range 2_000_000 {
		x := expMin + float32(i)*((expMax-expMin)/2_000_000)
		want := detmath.Exp(float64(x))
		ulp := float64(math.Nextafter32(float32(want), math.MaxFloat32) - float32(want))
		if e := math.Abs(float64(exp32(x))-want) / ulp; e > worst {
			worst, at = e, x
		}
	}
	t.Logf("at most %.3f ulp, at %v", worst, at)
	if worst > 1 {
		t.Errorf("exp32(%v) is %.3f ulp off, want at most 1", at, worst)
	}
	for x, want := range map[float32]float32{0: 1, -87.00001: 0, -math.MaxFloat32: 0, float32(math.Inf(-1)): 0} {
		if got := exp32(x); got != want {
			t.Errorf("exp32(%v) = %v, want %v", x, got, want)
		}
	}
	for _, low := range []uint32{0, 1, 0x1ff, 0x2aaaaa} { // whatever a NaN carries
		if v := exp32(math.Float32frombits(0x7fc00000 | low)); v == v {
			t.Errorf("exp32 of a NaN is %v", v)
		}
	}
}

func TestVectorKernelsDoNotAllocate(t *testing.T) {
	k := newKernels(t, 2, Auto)
	const T, H, KV, D, C, V = 130, 4, 2, 32, 100, 300
	r := rand.New(rand.NewPCG(1, 1))
	f := func(n int) []float32 { return random(r, n) }
	q, kk, v, lse := f(T*H*D), f(T*KV*D), f(T*KV*D), f(T*H)
	dq, dk, dv, o := f(T*H*D), f(T*KV*D), f(T*KV*D), f(T*H*D)
	x, y, z, rstd, w := f(T*C), f(T*C), f(T*C), f(T), randomMatrix(r, 2, 1, C)
	table, logits := randomMatrix(r, 1, V, C), f(T*V)
	ids, dw := make([]int32, T), f(V*C)
	starts, s := []int32{0, 70, T}, attnShape(H, KV, D)
	all := func() {
		k.Attention(o, lse, q, kk, v, starts, s)
		k.AttentionGrad(dq, dk, dv, o, o, lse, q, kk, v, starts, s)
		k.RMSNorm(y, rstd, x, w, 1e-5, T)
		k.RMSNormGrad(z, x[:C], y, x, rstd, w, T)
		k.SwiGLU(y, x, z)
		k.SwiGLUGrad(x, z, y, x, z)
		k.Add(y, x)
		k.AddBias(y, w, T)
		k.CrossEntropy(rstd, logits, ids, T)
		k.Embed(y, table, ids)
		k.EmbedGrad(dw, y, ids)
		k.AdamW(x, y, z, z, adamWStep)
	}
	if n := testing.AllocsPerRun(10, all); n > 0 {
		t.Errorf("a round of kernels allocates %v times", n)
	}
}
