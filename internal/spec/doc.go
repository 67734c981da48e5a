// Package spec is the description of a run: what a person writes, and what all members work from.
//
//	run.yaml ─Parse→ Spec ─Resolve→ Resolved ─JSON→ coordinator, members
//	          defaults,     globs expanded,   └─Hash→ State, frames
//	          checked       files hashed
//
// The result of a run is a pure function of the resolved spec's result part, and Hash is over that part alone: everything
// but the name, the numbers of members, checkpoints, how frames are packed and how long a neighbour may be silent, and where
// the files lie. Two runs with one hash have the same digest.
//
// Parse refuses what it does not know, with file, line and the nearest key it knows, and names field and value of what is
// out of range; the ranges are checked by the packages whose Config a section is.
//
// Start reading at spec.go, then parse.go and resolve.go.
package spec
