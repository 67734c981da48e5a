package methods

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func drawSet(t *rapid.T, name string, k, limit int) []uint32 {
	set := rapid.SliceOfNDistinct(rapid.Uint32Range(0, uint32(limit-1)), k, k, rapid.ID[uint32]).Draw(t, name)
	slices.Sort(set)
	return set
}

// The oracle keeps state in maps from coordinate to value, where nothing has a place.
func TestRemapCarriesStateByCoordinate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 60).Draw(t, "limit")
		k := rapid.IntRange(1, limit).Draw(t, "k")
		weights := make([]float32, limit) // as stored
		for i := range weights {
			weights[i] = float32(1000 + i)
		}
		type values struct{ theta, m, v float32 }
		trained, kept := map[uint32]values{}, map[uint32]uint32{}
		s := state{make([]float32, k), make([]float32, k), make([]float32, k)}
		scratch := state{make([]float32, k), make([]float32, k), make([]float32, k)}
		var set []uint32
		var retired Sparse
		bits := func(at uint32) uint32 { return uint32(weights[at]) }
		for round := range rapid.IntRange(1, 6).Draw(t, "rounds") {
			next := drawSet(t, "next", k, limit)
			left := remap(set, next, s, scratch, func(at uint32) float32 { return weights[at] })
			leavers := []uint32{}
			for _, i := range left {
				leavers = append(leavers, set[i])
			}
			retired = retire(retired, leavers, next, bits)

			after := map[uint32]values{}
			for _, at := range next {
				if old, ok := trained[at]; ok {
					after[at] = old
				} else {
					after[at] = values{theta: weights[at]}
				}
				delete(kept, at)
			}
			for at := range trained {
				if _, stays := after[at]; !stays {
					kept[at] = bits(at)
				}
			}
			trained, set = after, next
			for i, at := range set {
				if got := (values{s.theta[i], s.m[i], s.v[i]}); got != trained[at] {
					t.Fatalf("round %d: state of coordinate %d is %v, want %v", round, at, got, trained[at])
				}
			}
			if want := slices.Sorted(maps.Keys(kept)); !slices.Equal(retired.At, want) {
				t.Fatalf("round %d: retired %v, want %v", round, retired.At, want)
			}
			for i, at := range retired.At {
				if retired.Bits[i] != kept[at] {
					t.Fatalf("round %d: retired value of %d is %d, want %d", round, at, retired.Bits[i], kept[at])
				}
			}
			for i, at := range set { // train
				s.theta[i] += float32(round + 1)
				s.m[i], s.v[i] = s.m[i]+0.5, s.v[i]+0.25
				trained[at] = values{s.theta[i], s.m[i], s.v[i]}
				weights[at] = s.theta[i]
			}
		}
	})
}
