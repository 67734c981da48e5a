// Package rng is torc's only source of chance: random numbers that are a pure function of a key and an index.
//
//	New(seed) ── Sub(step, lane, weight) ─→ Key ─┬─ Uint64(i), Pair(i)   the i-th number, in any order, on any machine
//	                                             ├─ Uint64n(i, n)        unbiased in [0, n)
//	                                             └─ Permutation(n)       a bijection of [0, n), one element at a time
//
// There is no running generator and no state: whoever asks for element i of a key gets the same number, so nothing
// depends on how work is cut over members and threads. The numbers are those of Philox2x64-10 and are part of what a
// run's spec means: changing them changes every result.
//
// Not for secrets. Keys are 64 bits wide, so among 2^20 streams two coincide with probability 2^-25.
//
// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (the generator);
// Hoang, Morris, Rogaway, "An enciphering scheme based on a card shuffle", CRYPTO 2012 (the permutation).
//
// Start reading at key.go.
package rng
