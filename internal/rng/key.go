package rng

import "math/bits"

// Key names one stream of random numbers. The zero Key is a valid stream, that of no seed in particular.
type Key uint64

// subWord is the second counter word under which keys are derived; draws use small ones (the number of the attempt).
const subWord = ^uint64(0)

// New returns the key of a run's seed.
func New(seed uint64) Key { return Key(seed).Sub(0) }

// Sub returns the key below k named by the path ids: a different stream for each path, also for paths of other lengths.
// k.Sub(a, b) equals k.Sub(a).Sub(b).
func (k Key) Sub(ids ...uint64) Key {
	for _, id := range ids {
		a, _ := philox(id, subWord, uint64(k))
		k = Key(a)
	}
	return k
}

// Uint64 returns the i-th number of the stream.
func (k Key) Uint64(i uint64) uint64 {
	a, _ := philox(i, 0, uint64(k))
	return a
}

// Pair returns two independent numbers at index i; the first is Uint64(i).
func (k Key) Pair(i uint64) (a, b uint64) { return philox(i, 0, uint64(k)) }

// Float64 returns the i-th number of the stream as a multiple of 2^-53 in [0, 1).
func (k Key) Float64(i uint64) float64 { return float64(k.Uint64(i)>>11) * 0x1p-53 }

// Uint64n returns the i-th number of the stream in [0, n), each value equally likely. It panics if n is 0.
func (k Key) Uint64n(i, n uint64) uint64 {
	if n == 0 {
		panic("rng: Uint64n: n=0, want at least 1")
	}
	// The high word of a 128-bit product is even over [0, n) once the 2^64 mod n lowest low words are thrown away.
	for attempt := uint64(0); ; attempt++ {
		a, _ := philox(i, attempt, uint64(k))
		hi, lo := bits.Mul64(a, n)
		if lo >= n || lo >= -n%n {
			return hi
		}
	}
}

// philox is Philox2x64-10: a bijection of the counter (c0, c1) under a key.
func philox(c0, c1, key uint64) (uint64, uint64) {
	for range 10 {
		hi, lo := bits.Mul64(0xd2b74407b1ce6e93, c0)
		c0, c1 = hi^key^c1, lo
		key += 0x9e3779b97f4a7c15
	}
	return c0, c1
}
