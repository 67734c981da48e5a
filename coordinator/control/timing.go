package control

import "time"

// Timing is how long the coordinator waits for what.
type Timing struct {
	// Settle is how long after a node became ready further ones are awaited, when launch names no number. Default 1s.
	Settle time.Duration
	// Patience is how long a run that has enough ready nodes waits for those that still prepare. Default 30s.
	Patience time.Duration
	// Grace is how long a member may be silent whose session broke or to whom a neighbour lost its link, and half of how
	// long one may be that gossip alone finds dead: a starved machine is slow to answer both. Default 1s; more than two
	// beats.
	Grace time.Duration
	// Verdict is how long two members that both answer may fail to talk to each other. Default 1.5s; more than Grace.
	Verdict time.Duration
	// Balance is for how long lanes dealt by speed must promise much shorter steps before they are dealt again. Default 10s.
	Balance time.Duration
	// Hope is how long a run waits for one of its members to come back when all are lost, before it begins again with
	// other nodes. Default 30s.
	Hope time.Duration
	// Silence is how long a member may be silent without other evidence. Default 4s.
	Silence time.Duration
	// Entry is how long a member may not come to its view, where others wait for it, though it is heard and not busy; and no
	// less than steps take ten times. Default 20s.
	Entry time.Duration
	// Keep is how long after State could not be written it is fetched again. Default 5s.
	Keep time.Duration
	// Found is how long a coordinator without a journal waits for nodes that belong to a cluster already before it lets a
	// new node join, which founds another. Default 2s; at 0 it founds one when it starts.
	Found time.Duration
}

// DefaultTiming finds a lost member within 5 seconds: at once when its session and a link to it broke, a broken session
// alone after Grace, a frozen machine when its silence on a link is confirmed by Grace, when gossip has found it (1.2 to
// 2.7 s, and twice Grace) or after Silence.
func DefaultTiming() Timing {
	return Timing{
		Settle: time.Second, Patience: 30 * time.Second,
		Grace: time.Second, Verdict: 1500 * time.Millisecond, Silence: 4 * time.Second,
		Entry: 20 * time.Second, Keep: 5 * time.Second, Balance: 10 * time.Second, Hope: 30 * time.Second, Found: 2 * time.Second,
	}
}
