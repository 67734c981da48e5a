package methods

import "slices"

// A weight trained at a set of coordinates changes to another set: merge walks both, sorted ascending, as one list.
// For each coordinate, in order, exactly one of the three is called, with its place in the lists it is in.
func merge(old, next []uint32, stay func(from, to int), leave func(from int), enter func(to int)) {
	i, j := 0, 0
	for i < len(old) && j < len(next) {
		switch a, b := old[i], next[j]; {
		case a == b:
			stay(i, j)
			i, j = i+1, j+1
		case a < b:
			leave(i)
			i++
		default:
			enter(j)
			j++
		}
	}
	for ; i < len(old); i++ {
		leave(i)
	}
	for ; j < len(next); j++ {
		enter(j)
	}
}

// state is the part of θ, m and v that belongs to one weight.
type state struct{ theta, m, v []float32 }

// remap carries state from the set old to the set next, which has as many coordinates: survivors keep all three, newcomers
// take θ from stored and start with zero moments. before is scratch as long as the state; its contents do not matter.
// It returns the places in old of those that leave.
func remap(old, next []uint32, s, before state, stored func(at uint32) float32) (left []int) {
	copy(before.theta, s.theta)
	copy(before.m, s.m)
	copy(before.v, s.v)
	merge(old, next,
		func(from, to int) {
			s.theta[to], s.m[to], s.v[to] = before.theta[from], before.m[from], before.v[from]
		},
		func(from int) { left = append(left, from) },
		func(to int) { s.theta[to], s.m[to], s.v[to] = stored(next[to]), 0, 0 })
	return left
}

// retire returns the retired coordinates after a change of set: those of was that do not come back in next, and the
// leavers, whose stored values bits returns. leavers and next are sorted; was is not changed.
func retire(was Sparse, leavers, next []uint32, bits func(at uint32) uint32) Sparse {
	kept := Sparse{At: make([]uint32, 0, len(was.At)+len(leavers)), Bits: make([]uint32, 0, len(was.At)+len(leavers))}
	add := func(at, b uint32) {
		kept.At, kept.Bits = append(kept.At, at), append(kept.Bits, b)
	}
	merge(was.At, leavers,
		func(i, _ int) { add(was.At[i], was.Bits[i]) },
		func(i int) {
			if _, back := slices.BinarySearch(next, was.At[i]); !back {
				add(was.At[i], was.Bits[i])
			}
		},
		func(j int) { add(leavers[j], bits(leavers[j])) })
	return kept
}
