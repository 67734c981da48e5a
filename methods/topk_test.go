package methods

import (
	"errors"
	"math"
	"slices"
	"sort"
	"testing"

	"pgregory.net/rapid"
)

// bySort is the definition of topK: magnitude descending, index ascending.
func bySort(scores []float32, k int) []uint32 {
	at := make([]uint32, len(scores))
	for i := range at {
		at[i] = uint32(i)
	}
	size := func(i uint32) float64 { return math.Abs(float64(scores[i])) }
	sort.SliceStable(at, func(a, b int) bool { return size(at[a]) > size(at[b]) })
	at = at[:k]
	slices.Sort(at)
	return at
}

func byTopK(scores []float32, k, tile int) ([]uint32, error) {
	top := newTopK(k)
	for from := 0; from < len(scores); from += tile {
		top.count(scores[from:min(from+tile, len(scores))])
	}
	if err := top.split(); err != nil {
		return nil, err
	}
	for from := 0; from < len(scores); from += tile {
		top.collect(from, scores[from:min(from+tile, len(scores))])
	}
	return top.set(), nil
}

func TestTopKEqualsSorting(t *testing.T) {
	few := rapid.SampledFrom([]float32{0, float32(math.Copysign(0, -1)), 1, -1, 1.5, -1.5, 1e-42, 3e38})
	near := rapid.Custom(func(t *rapid.T) float32 { // one bucket, where the low bits decide
		return math.Float32frombits(0x3f800000 + rapid.Uint32Range(0, 1<<bucketBits-1).Draw(t, "low"))
	})
	any := rapid.Float32Range(-10, 10)
	rapid.Check(t, func(t *rapid.T) {
		scores := rapid.SliceOfN(rapid.OneOf(few, near, any), 1, 200).Draw(t, "scores")
		k := rapid.IntRange(1, len(scores)).Draw(t, "k")
		got, err := byTopK(scores, k, rapid.IntRange(1, 50).Draw(t, "tile"))
		if err != nil {
			t.Fatal(err)
		}
		if want := bySort(scores, k); !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

func TestTopKRefusesWhatIsNotFinite(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if _, err := byTopK([]float32{1, 2, float32(bad), 3}, 1, 4); !errors.Is(err, errNotFinite) {
			t.Errorf("scores with %v: error is %v, want %v", bad, err, errNotFinite)
		}
	}
}
