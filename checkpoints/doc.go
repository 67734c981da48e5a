// Package checkpoints is the durable form of a run: State, everything by which a run goes on, as bytes that are the same
// on every member, and the way back from State to a model that others can use.
//
//	base weights ─┐
//	State ────────┴─ Apply ─→ trained weights ── ExportHF ─→ a Hugging Face directory
//	  └─ WriteTo, ReadState: the canonical bytes; Digest: their SHA-256; Fence: a quick hash for every step
//
// Equal states have equal bytes and equal digests, whichever member wrote them, and bytes that are not the canonical ones
// of a state are refused. A decoder never believes a count before the bytes that it counts have arrived. Directories
// appear whole or not at all.
//
// The format is described in docs/formats.md. Start reading at state.go.
package checkpoints
