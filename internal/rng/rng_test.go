package rng_test

import (
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/torctrain/torc/internal/rng"
)

// The known answers published with Random123 for counter and key all zeros and all ones.
func TestNumbersAreThoseOfPhilox(t *testing.T) {
	if a, b := rng.Key(0).Pair(0); a != 0xca00a0459843d731 || b != 0x66c24222c9a845b5 {
		t.Errorf("Pair(0) of key 0 = %x %x, want ca00a0459843d731 66c24222c9a845b5", a, b)
	}
	all := ^uint64(0)
	if k := rng.Key(all).Sub(all); k != 0x65b021d60cd8310f {
		t.Errorf("Sub(2^64-1) of key 2^64-1 = %x, want 65b021d60cd8310f", uint64(k))
	}
}

func TestNumbersNeverChange(t *testing.T) {
	k := rng.New(43).Sub(7, 3, 11)
	got := fmt.Sprintf("%x %x %d %d %d", uint64(k), k.Uint64(5), k.Uint64n(9, 1000), k.Permutation(1000).At(17), k.Permutation(1000).Place(17))
	if want := "137cb7932981173f 3b104d141131cef8 441 969 812"; got != want {
		t.Errorf("stream of seed 43 is %q, want %q: a changed generator changes the result of every run", got, want)
	}
}

func TestPathsNameDifferentStreams(t *testing.T) {
	root := rng.New(1)
	seen := map[rng.Key]string{}
	for name, k := range map[string]rng.Key{
		"root": root, "0": root.Sub(0), "1": root.Sub(1), "0,1": root.Sub(0, 1), "1,0": root.Sub(1, 0), "0,0": root.Sub(0, 0),
		"other seed": rng.New(2), "other seed, 0": rng.New(2).Sub(0),
	} {
		if was, ok := seen[k]; ok {
			t.Errorf("paths %q and %q name one stream", was, name)
		}
		seen[k] = name
	}
	if root.Sub(4, 5) != root.Sub(4).Sub(5) {
		t.Error("Sub(4, 5) differs from Sub(4).Sub(5)")
	}
}

func TestBoundedDrawIsEven(t *testing.T) {
	// For 3·2^62 a biased draw gives multiples of three half of the time.
	n := uint64(3) << 62
	var threes int
	const draws = 30000
	k := rng.New(5)
	for i := range uint64(draws) {
		v := k.Uint64n(i, n)
		if v >= n {
			t.Fatalf("Uint64n(%d, n) = %d is not below n", i, v)
		}
		if v%3 == 0 {
			threes++
		}
	}
	if d := math.Abs(float64(threes) - draws/3); d > 5*math.Sqrt(draws*2./9) {
		t.Errorf("%d of %d draws are multiples of three", threes, draws)
	}
}

func TestFloat64StaysBelowOne(t *testing.T) {
	k, sum := rng.New(6), 0.0
	const draws = 20000
	for i := range uint64(draws) {
		f := k.Float64(i)
		if f < 0 || f >= 1 {
			t.Fatalf("Float64(%d) = %v is not in [0, 1)", i, f)
		}
		sum += f
	}
	if mean := sum / draws; math.Abs(mean-0.5) > 5*math.Sqrt(1./12/draws) {
		t.Errorf("mean %v, want 0.5", mean)
	}
}

func TestPermutationIsABijection(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 3000).Draw(t, "n")
		p := rng.New(rapid.Uint64().Draw(t, "seed")).Permutation(n)
		seen := make([]bool, n)
		for i := range n {
			x := p.At(i)
			if x < 0 || x >= n || seen[x] {
				t.Fatalf("At(%d) = %d is outside or seen before", i, x)
			}
			seen[x] = true
			if back := p.Place(x); back != i {
				t.Fatalf("Place(At(%d)) = %d", i, back)
			}
		}
	})
}

// All 24 orders of four things must come up equally often (chi-squared, 23 degrees of freedom, p below 1e-6 is 71).
func TestSmallPermutationsAreUniform(t *testing.T) {
	const draws = 24000
	count := map[[4]int]int{}
	for s := range uint64(draws) {
		p := rng.New(9).Sub(s).Permutation(4)
		count[[4]int{p.At(0), p.At(1), p.At(2), p.At(3)}]++
	}
	chi := 0.0
	for _, c := range count {
		d := float64(c) - draws/24
		chi += d * d / (draws / 24)
	}
	if len(count) != 24 || chi > 71 {
		t.Errorf("%d of 24 orders, chi-squared %.1f, want at most 71", len(count), chi)
	}
}

// In a random permutation of n the differences of neighbours are spread over the whole range: about one is ±1.
func TestLargePermutationHasNoRuns(t *testing.T) {
	const n = 50000
	p := rng.New(3).Permutation(n)
	runs, prev := 0, p.At(0)
	var moved float64
	for i := 1; i < n; i++ {
		x := p.At(i)
		if d := x - prev; d == 1 || d == -1 {
			runs++
		}
		moved += math.Abs(float64(x - i))
		prev = x
	}
	if runs > 12 { // Poisson with mean 2
		t.Errorf("%d neighbours stay neighbours, want about 2", runs)
	}
	if mean := moved / n / n; math.Abs(mean-1./3) > 0.01 {
		t.Errorf("mean displacement is %.3f n, want n/3", mean)
	}
}

func BenchmarkPermutationAt(b *testing.B) {
	p := rng.New(1).Permutation(1 << 20)
	for i := range b.N {
		p.At(i & (1<<20 - 1))
	}
}

func ExampleKey() {
	k := rng.New(43).Sub(7, 0) // step 7, lane 0
	deal := k.Permutation(5)
	fmt.Println(k.Uint64n(0, 6) < 6, deal.At(deal.Place(3)))
	// Output: true 3
}
