// Package train is one member's part in a run: the step loop and the session with the coordinator around it.
//
//	Member ── session (beats up, orders down)
//	   └─ prepare: files by hash → weights, method, data
//	   └─ Trainer.Run: refresh → lanes → sum → update → report      one view, one ring
//
// Trainer holds the State that all members share bit for bit: θ, moments, scales, index sets and the step number.
// What a step does to it is a function of (spec, step, State) alone: lanes are quantised one by one and summed exactly, so
// neither the number of members nor the lanes each of them holds can show in the result.
//
// A view of one member runs the same code; its ring has no hops.
// saver.go copies State between two steps for checkpoints, of which this member writes its own pieces in the background;
// resume.go begins from such pieces, wherever they are.
//
// Start reading at step.go; member.go is the part with goroutines.
package train
