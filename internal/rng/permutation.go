package rng

import "math/bits"

// Permutation is a bijection of [0, N) chosen by a key, whose elements and inverses are computed one at a time in
// O(log N), without a table. The zero value is the bijection of the empty set.
type Permutation struct {
	n      uint64
	rounds []round // each an involution; undone in reverse order
}

// round pairs x with pivot−x (mod N) and swaps the two where a bit drawn for the pair is set.
type round struct {
	pivot uint64
	key   uint64
}

// Permutation returns the permutation of [0, n) named by k: nearly uniform among all n! (swap-or-not shuffle).
func (k Key) Permutation(n int) Permutation {
	if n < 0 {
		panic("rng: Permutation: n is negative, want at least 0")
	}
	if n == 0 {
		return Permutation{}
	}
	// 6·log2(N) rounds is the figure of the source; the constant is for very small N, where they are nearly free.
	p := Permutation{n: uint64(n), rounds: make([]round, 24+6*bits.Len(uint(n)))}
	pivots, keys := k.Sub(0), k.Sub(1)
	for r := range p.rounds {
		p.rounds[r] = round{pivot: pivots.Uint64n(uint64(r), p.n), key: keys.Uint64(uint64(r))}
	}
	return p
}

// Len returns N.
func (p Permutation) Len() int { return int(p.n) }

// At returns the element at place i. It panics if i is not in [0, N).
func (p Permutation) At(i int) int {
	x := p.check("At", i)
	for _, r := range p.rounds {
		x = r.swap(x, p.n)
	}
	return int(x)
}

// Place returns where element x stands: At(Place(x)) is x. It panics if x is not in [0, N).
func (p Permutation) Place(x int) int {
	i := p.check("Place", x)
	for r := len(p.rounds) - 1; r >= 0; r-- {
		i = p.rounds[r].swap(i, p.n)
	}
	return int(i)
}

func (p Permutation) check(verb string, i int) uint64 {
	if i < 0 || uint64(i) >= p.n {
		panic("rng: " + verb + ": index outside the permutation")
	}
	return uint64(i)
}

func (r round) swap(x, n uint64) uint64 {
	y := r.pivot - x
	if r.pivot < x {
		y += n
	}
	if mix(max(x, y)^r.key)&1 == 1 {
		return y
	}
	return x
}

// mix is a bijection of 64-bit words whose every output bit depends on every input bit (the finaliser of SplitMix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
