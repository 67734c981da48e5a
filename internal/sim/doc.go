// Package sim is a whole cluster in one process, with its own time, network and misfortune: the coordinator, the members, the
// ring, gRPC and gossip are those of production, and everything below them is made here.
//
//	schedule (seed) ─→ faults at (member, step, phase)
//	                        │
//	  coordinator ── gRPC ──┼── gRPC ── member … member       each on a machine of
//	       └──── gossip ────┴── gossip ────┘                  network: connections and packets in memory
//	                        │
//	            invariants, and the digest of the undisturbed run
//
// Everything runs inside a bubble of testing/synctest, where time passes when nobody has anything to do: a run with seconds of
// silence takes milliseconds, and a goroutine that stays behind is an error. Time passes only where the simulation lets it: a
// lane takes as long as its member is slow, and bytes are on their way as long as the network says.
//
// What a seed decides: the run's spec, the members and their speed, every fault, its place and its delay, the bit that
// flips. What it does not decide is the order in which goroutines that could run at one instant do run, the chance that
// memberlist and gRPC draw for themselves, and boot ids. So a seed repeats the misfortune, and nearly always what it leads
// to, not every interleaving: a failure that does not come back at once comes back with -count.
//
// The package is tests alone; start reading at sim_test.go.
package sim
