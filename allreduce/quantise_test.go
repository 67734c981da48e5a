package allreduce

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// exact is the rule of protocol.md §2.1 in arbitrary precision: the integer nearest to g·2^e, ties to even.
func exact(g float32, e int16) int32 {
	if math.IsNaN(float64(g)) || math.IsInf(float64(g), 0) {
		return math.MinInt32
	}
	x := new(big.Float).SetPrec(300).SetFloat64(float64(g))
	x.SetMantExp(x, int(e))
	floor, _ := x.Int(nil)
	if x.Sign() < 0 && !x.IsInt() {
		floor.Sub(floor, big.NewInt(1))
	}
	rest := new(big.Float).SetPrec(300).Sub(x, new(big.Float).SetInt(floor))
	if c := rest.Cmp(big.NewFloat(0.5)); c > 0 || c == 0 && floor.Bit(0) == 1 {
		floor.Add(floor, big.NewInt(1))
	}
	if !floor.IsInt64() || floor.Int64() < math.MinInt32 || floor.Int64() > math.MaxInt32 {
		return math.MinInt32
	}
	return int32(floor.Int64())
}

func edges() []float32 {
	v := []float32{
		0, float32(math.Copysign(0, -1)), 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49999997, 1e-45, -1e-45, 1e-38, 1 << 31, -(1 << 31),
		2147483520, -2147483520, 2147483648 * 2, math.MaxFloat32, -math.MaxFloat32, 1 << 30, 8388609.5, 4194304.5, 4194305.5,
		float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()),
	}
	return append(v, v...)
}

func TestQuantiseRoundsToNearestEven(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	g := edges()
	for range 2000 {
		g = append(g, math.Float32frombits(rng.Uint32()), float32(rng.NormFloat64()), float32(rng.IntN(64))/2)
	}
	for _, e := range []int16{0, 1, -1, 7, 23, 31, -31, 60, 100, -100} {
		for _, f := range []struct {
			name string
			run  func([]int32, []float32, int16) (uint32, bool)
		}{{"fast", Quantise}, {"portable", quantiseGo}} {
			own := make([]int32, len(g))
			for i := range own {
				own[i] = int32(i)
			}
			f.run(own, g, e)
			for i, x := range g {
				if want := int32(i) + exact(x, e); own[i] != want {
					t.Fatalf("%s: %g · 2^%d added to %d is %d, want %d", f.name, x, e, i, own[i], want)
				}
			}
		}
	}
}

func TestQuantiseMeasuresFiniteElements(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := rapid.SliceOfN(rapid.Float32(), 0, 40).Draw(t, "g")
		if rapid.Bool().Draw(t, "bad") && len(g) > 0 {
			i := rapid.IntRange(0, len(g)-1).Draw(t, "at")
			g[i] = rapid.SampledFrom([]float32{float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN())}).Draw(t, "value")
		}
		want, wantFinite := float32(0), true
		for _, x := range g {
			if x-x != 0 {
				wantFinite = false
			} else if x < 0 {
				want = max(want, -x)
			} else {
				want = max(want, x)
			}
		}
		for _, e := range []int16{NoScale, 0, 20} {
			own := make([]int32, len(g))
			got, finite := Quantise(own, g, e)
			if got != math.Float32bits(want) || finite != wantFinite {
				t.Fatalf("scale %d: max %x finite %v, want %x %v", e, got, finite, math.Float32bits(want), wantFinite)
			}
			if e == NoScale && slices.ContainsFunc(own, func(q int32) bool { return q != 0 }) {
				t.Fatal("something was added without a scale")
			}
		}
	})
}

func TestDequantiseGivesTheMean(t *testing.T) {
	sum := []int32{0, 1, -1, 12345, math.MaxInt32, math.MinInt32}
	for _, e := range []int16{-100, -3, 0, 20, 100} {
		dst := make([]float32, len(sum))
		Dequantise(dst, sum, e, 7)
		for i, q := range sum {
			want := float32(math.Ldexp(float64(q), -int(e)) / 7)
			if dst[i] != want {
				t.Errorf("scale %d: %d becomes %g, want %g", e, q, dst[i], want)
			}
		}
		Dequantise(dst, sum, e, 0)
		Dequantise(dst, sum, NoScale, 7)
		if slices.ContainsFunc(dst, func(x float32) bool { return x != 0 }) {
			t.Errorf("without tokens or scale: %v, want zeros", dst)
		}
	}
}

func BenchmarkQuantise(b *testing.B) {
	const n = 1 << 16
	g, own, dst := make([]float32, n), make([]int32, n), make([]float32, n)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range g {
		g[i] = float32(rng.NormFloat64())
	}
	for _, c := range []struct {
		name string
		run  func()
	}{
		{"quantise", func() { Quantise(own, g, 12) }},
		{"quantiseGo", func() { quantiseGo(own, g, 12) }},
		{"measure", func() { Quantise(own, g, NoScale) }},
		{"dequantise", func() { Dequantise(dst, own, 12, 999) }},
	} {
		b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
			b.SetBytes(4 * n)
			for b.Loop() {
				c.run()
			}
		})
	}
}
