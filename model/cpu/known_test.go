package cpu

import (
	"fmt"
	"math"
	"testing"
)

// pinned are the answers of the classes. A change here is a change of result bits: it wants a new class number once a
// release has carried the old one.
var pinned = map[string]string{
	"cpu-1":          "f82bc07e016d6466eba60e05b317e13c492ea24da2c6abba0e3c3d758fb84371",
	"cpu-portable-1": "3c296d1089f9907c290bcf8a0acc9375613d57bf2aa595590635af4f3fe97df0",
}

func TestKnownAnswerIsThatOfTheClass(t *testing.T) {
	for _, tier := range Tiers() {
		for _, threads := range []int{1, 3} {
			k := newKernels(t, threads, tier)
			if got := fmt.Sprintf("%x", k.Known()); got != pinned[k.Name()] {
				t.Errorf("%s with %d threads answers %s, class %s %s", tier, threads, got, k.Name(), pinned[k.Name()])
			}
		}
	}
}

func TestKnownAnswerSeesOneBit(t *testing.T) {
	k := newKernels(t, 1, Portable)
	want := k.Known()
	mul := k.ops.mul
	k.ops.mul = func(c []float32, ldc int, a []float32, lda int, b []float32, rows, n int, add bool) {
		mul(c, ldc, a, lda, b, rows, n, add)
		if n == 17 { // the whole inner length of one product
			c[0] = math.Float32frombits(math.Float32bits(c[0]) + 1)
		}
	}
	if k.Known() == want {
		t.Error("an ulp in one product does not change the answer")
	}
}

func BenchmarkKnownAnswer(b *testing.B) {
	for _, tier := range Tiers() {
		b.Run(string(tier), func(b *testing.B) {
			k := newKernels(b, 1, tier)
			for b.Loop() {
				k.Known()
			}
		})
	}
}
