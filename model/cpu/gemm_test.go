package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/torctrain/torc/model"
)

// fma32 is a·b + c rounded once: the product is exact in float64, the sum is rounded to odd, so that the second rounding
// sees on which side of a tie it was.
func fma32(a, b, c float32) float32 {
	p, q := float64(a)*float64(b), float64(c)
	s := p + q
	pp := s - q // two-sum: s + e is p + q exactly
	e := (p - pp) + (q - (s - pp))
	if u := math.Float64bits(s); e != 0 && u&1 == 0 {
		if (e > 0) == (s > 0) {
			u++
		} else {
			u--
		}
		s = math.Float64frombits(u)
	}
	return float32(s)
}

// chain is the arithmetic of every matrix product: c[i, j] (+)= Σ_p a(i, p)·b(p, j), one chain over p ascending.
func chain(c []float32, M, N, K int, a, b func(i, j int) float32, add bool) {
	for i := range M {
		for j := range N {
			var sum float32
			if add {
				sum = c[i*N+j]
			}
			for p := range K {
				sum = fma32(a(i, p), b(p, j), sum)
			}
			c[i*N+j] = sum
		}
	}
}

func random(r *rand.Rand, n int) []float32 {
	s := make([]float32, n)
	for i := range s {
		s[i] = float32(r.NormFloat64())
	}
	return s
}

func randomMatrix(r *rand.Rand, d model.DType, rows, cols int) *model.Matrix {
	m := model.NewMatrix(d, rows, cols)
	for i := range rows * cols {
		m.Set(i, float32(r.NormFloat64()))
	}
	return m
}

// fast are the kernels under test: every assembly tier of this processor with several thread counts.
func fast(t testing.TB) map[string]*Kernels {
	t.Helper()
	all := map[string]*Kernels{}
	for _, tier := range Tiers() {
		if tier == Portable {
			continue
		}
		for _, threads := range []int{1, 2, 3, 7} {
			k, err := New(threads, tier)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(k.Close)
			all[fmt.Sprintf("%s/%d", tier, threads)] = k
		}
	}
	return all
}

func sameBits(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: element %d of %d is %x, want %x", what, i, len(want), got[i], want[i])
		}
	}
}

// gemmShapes reach every edge: of tiles (6, 12 rows; 16, 32 columns), of transposes (8), of blocks (96, 256, 320), and
// products of more than one block in each direction.
var gemmShapes = []struct{ T, n, m int }{
	{1, 1, 1},
	{1, 8, 8},
	{1, 576, 96},
	{2, 40, 33},
	{3, 7, 31},
	{5, 16, 16},
	{6, 17, 15},
	{7, 64, 32},
	{8, 9, 64},
	{11, 33, 20},
	{12, 32, 48},
	{13, 100, 70},
	{64, 321, 40},
	{97, 24, 257},
	{100, 130, 300},
	{325, 50, 90},
	{4, 700, 530},
}

// TestProductsAreOneChain holds every product, tier and thread count to the bits of the plain chain (docs/protocol.md,
// kernel rules 1 and 2).
func TestProductsAreOneChain(t *testing.T) {
	kernels := fast(t)
	for _, s := range gemmShapes {
		for _, d := range []model.DType{model.F32, model.F16, model.BF16} {
			t.Run(fmt.Sprintf("T%d n%d m%d %v", s.T, s.n, s.m, d), func(t *testing.T) {
				T, n, m := s.T, s.n, s.m
				r := rand.New(rand.NewPCG(1, uint64(T*n*m)))
				w := randomMatrix(r, d, m, n)
				x, dy, dx, dw := random(r, T*n), random(r, T*m), random(r, T*n), random(r, m*n)
				wantY, wantDX, wantDW := make([]float32, T*m), clone(dx), clone(dw)
				chain(wantY, T, m, n, grid(x, n), func(p, j int) float32 { return w.At(j*n + p) }, false)
				chain(wantDX, T, n, m, grid(dy, m), func(p, j int) float32 { return w.At(p*n + j) }, true)
				chain(wantDW, m, n, T, func(i, p int) float32 { return dy[p*m+i] }, grid(x, n), true)
				for name, k := range kernels {
					y, gotDX, gotDW := random(r, T*m), clone(dx), clone(dw)
					k.Linear(y, x, w, T)
					k.LinearGradX(gotDX, dy, w, T)
					k.GradDense(gotDW, dy, x, T)
					sameBits(t, name+": Linear", y, wantY)
					sameBits(t, name+": LinearGradX", gotDX, wantDX)
					sameBits(t, name+": GradDense", gotDW, wantDW)
				}
			})
		}
	}
}

func clone(s []float32) []float32 { return append([]float32(nil), s...) }

func grid(s []float32, cols int) func(i, j int) float32 {
	return func(i, j int) float32 { return s[i*cols+j] }
}
