// Package control is torc's control plane as a library: it admits nodes, decides which of them make up a run, watches over
// them and keeps what a run leaves behind.
//
//	gRPC (attend, rpc, files, follow) ─┐ events                    ┌─→ journal (bbolt), first
//	gossip ────────────────────────────┼──────→ core ──effects────┼─→ orders to nodes
//	ticks (50 ms) ─────────────────────┘   nodes, queue, run,      ├─→ lines in a run's log
//	                                       views (pure)            └─→ collect: State → $HOME/runs/RUN
//
// core holds all decisions and knows neither clock nor network nor disk, so testdata/*.txt play whole clusters in
// milliseconds; Server is the thin part with goroutines around it.
//
// Guarantees: a run that loses a member goes on without it within 5 seconds, and says whom and why; a run ends well only
// when all members that are left reported one digest and the State with that digest is on disk here; what the journal
// says happened before anybody else heard of it; a second coordinator on the same directory is refused. The step loop of
// members does not need the coordinator.
//
// With Config.Trust, roles.go says who may call what, trust.go admits, renews and revokes, and metrics.go counts.
//
// Not here: what happens inside a step, and how a member that joins gets State (node/train).
//
// Start reading at views.go, then run.go and server.go.
package control
