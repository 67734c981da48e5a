// Package checkpoints is the durable form of a run: State, everything by which a run goes on, as bytes that are the same
// on every member; erasure-coded checkpoints of it, kept by the members on their own disks; and the way back from State to
// a model that others can use.
//
//	base weights ─┐
//	State ────────┴─ Apply ─→ trained weights ── ExportHF ─→ a Hugging Face directory
//	  │└─ WriteTo, ReadState: the canonical bytes; Digest: their SHA-256; Fence: a quick hash for every step
//	  │
//	  │  on every member                on the coordinator          on every member
//	  └─ CopyFrom ─ Store.Save ─ Saved ─→ Place, Commit ─ Manifest ─→ Store.Commit, Collect
//	                    │                                                  │
//	                    └─→ pieces on disk ── any Data of them ── Load ←───┘
//	                             └─ Scrub finds what is rotten or lost, Rebuild makes it again from others
//
// Equal states have equal bytes and equal digests, whichever member wrote them, and bytes that are not the canonical ones
// of a state are refused. A decoder never believes a count before the bytes that it counts have arrived. Directories
// appear whole or not at all.
//
// A member cuts its pieces from its own copy of State: no byte crosses the network, and pieces cut under different views
// fit together. Pieces are no checkpoint until a manifest says so, which exists only when they are durable, of one state,
// and enough to survive the loss of any parity members. Any Data distinct pieces, from whatever disks, are the state; a
// piece that was damaged costs no more than its damaged blocks; with too few the error names who has the others. Whatever
// operation of a disk fails, the checkpoint before stays.
//
// What this package does not do: it knows no network (PieceSource is where one comes in), no clock and no schedule. It
// finds bytes that changed after they were written, not a state that was wrong before.
//
// The formats are described in docs/formats.md. Start reading at state.go for State, at store.go for checkpoints.
package checkpoints
