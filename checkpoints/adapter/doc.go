// Package adapter is what a run changed of its base, without the base: as a delta file of torc's own, in the coordinates of
// the base, and as an adapter that the library PEFT loads.
//
//	trained θ ─┐
//	base ──────┴─ Of ─→ Delta ── Write, Read: one file
//	                      │ ├─── Join: several deltas in one, each with a weight
//	                      │ └─── WriteLoRA, WriteSHiRA: an adapter for PEFT
//	base + Deltas ─ Apply ─→ model + Undo ─ Revert ─→ base, bit for bit
//
// A delta names the base it belongs to by the hash of its weights and is applied to no other. One delta with the weight 1 gives
// the trained weights bit for bit where it holds elements (lift, s2ft); factors are multiplied out in float64 and rounded once.
// What rounding a residual to 16 bits changed (method.residual stored) is no part of a delta.
// A delta of elements also holds what they were, so that several can be joined without the base. Undo restores bits, it
// subtracts nothing.
//
// The package does not run the model and writes no model directories. Formats are described in docs/formats.md. Start reading
// at delta.go.
package adapter
