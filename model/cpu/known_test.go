package cpu

import (
	"math"
	"testing"
)

func TestKnownAnswerIsThatOfTheClass(t *testing.T) {
	answers := map[string][32]byte{}
	for _, tier := range Tiers() {
		for _, threads := range []int{1, 3} {
			k := newKernels(t, threads, tier)
			got := k.Known()
			if want, ok := answers[k.Name()]; ok && got != want {
				t.Errorf("%s with %d threads answers %x, others of class %s %x", tier, threads, got, k.Name(), want)
			}
			answers[k.Name()] = got
		}
	}
	if answers["cpu-1"] == answers["cpu-portable-1"] {
		t.Error("classes that differ in matrix products give the same answer")
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
