// Package sharding turns a dataset into the examples of each step and lane.
//
//	files ── Index ─→ rows ── Part (columns, bad rows, held out, weights) ─→ Dataset (N samples, in shards of n)
//	                     │
//	(N, n, b, L, seed) ─→ Plan.At(step, lane) ─→ samples ── Reader ─→ examples (tokens, which of them count)
//	                                                          │ Encoder, per shard, cached on disk
//	speeds ── Assign ─→ lane → rank
//
// The data order is a pure function of the plan: no cursor exists, and it does not depend on how many members a run has
// or which. Every sample is used exactly once per epoch. Lanes are balanced to within one micro-batch, and each reads
// whole shards but at its two borders, so a member fetches, tokenises and caches little that others do too.
//
// The package knows no network and no model. It trusts that files do not change during a run: they are known by hash.
//
// Start reading at plan.go; encode.go says what a sample becomes, mix.go which samples of its files a run uses.
package sharding
