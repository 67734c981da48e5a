package control

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
	"github.com/torctrain/torc/sharding"
)

// report is what is known of one node that works for a run.
type report struct {
	Node  view.NodeID
	Addr  string
	Phase pb.Phase
	Since time.Time // when it entered Phase
	Alive time.Time // the last proof of life: a beat, or a step that no view makes without all its members
	Gone  bool      // its session broke and it has not come back
	Dead  bool      // gossip finds it dead

	Problem string    // with PHASE_FAILED: why
	Lost    string    // the neighbour whose link it says broke
	LostAt  time.Time // when it first said so
}

// policy is what decide goes by.
type policy struct {
	Lanes    int
	Min, Max int // members; Max 0 is no limit
	Expect   int // wait for so many ready nodes before the first view; 0: Min, then Settle
	Timing
}

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
	// Verdict is how long a broken link may wait for evidence which of its two ends is to blame. Default 1.5s; more than
	// Grace.
	Verdict time.Duration
	// Silence is how long a member may be silent without other evidence. Default 4s.
	Silence time.Duration
	// Keep is how long after State could not be written it is fetched again. Default 5s.
	Keep time.Duration
}

// DefaultTiming names a lost member within 5 seconds: a broken session or link after Grace or Verdict, a frozen machine
// when gossip has found it (1.2 to 2.7 s, and twice Grace) or after Silence.
func DefaultTiming() Timing {
	return Timing{
		Settle: time.Second, Patience: 30 * time.Second,
		Grace: time.Second, Verdict: 1500 * time.Millisecond, Silence: 4 * time.Second,
		Keep: 5 * time.Second,
	}
}

// decision is what decide found.
type decision struct {
	Next *view.View // the view to enter; nil: none new
	Done bool       // every member that is left has the last State
	Fail bool       // the run cannot go on
	Why  string     // in words: what is waited for, why this view, or why the run ended
}

// decide is the whole membership policy. cur is the view at work, Number 0 before the first; reports are of all nodes that
// work for the run, in any order.
func decide(now time.Time, cur *view.View, reports []report, p policy) decision {
	reports = slices.SortedFunc(slices.Values(reports), func(a, b report) int {
		return cmp.Or(cmp.Compare(a.Node.Name, b.Node.Name), cmp.Compare(a.Node.Boot, b.Node.Boot))
	})
	if cur.Number == 0 {
		return first(now, cur, reports, p)
	}
	return keep(now, cur, reports, p)
}

// first decides about the first view: all ready nodes, once there are enough and no further one is about to come.
func first(now time.Time, cur *view.View, reports []report, p policy) decision {
	var ready, preparing []report
	var failed *report
	for i, r := range reports {
		switch {
		case r.Phase == pb.Phase_PHASE_FAILED:
			failed = &reports[i]
		case r.Gone || r.Dead || r.Phase == pb.Phase_PHASE_LEAVING:
		case r.Phase == pb.Phase_PHASE_READY:
			ready = append(ready, r)
		default:
			preparing = append(preparing, r)
		}
	}
	need := max(p.Min, p.Expect, 1)
	if failed != nil && len(ready)+len(preparing) < need {
		return decision{Fail: true, Why: fmt.Sprintf("member %s cannot take part: %s", failed.Node.Name, failed.Problem)}
	}
	if len(ready) < need {
		return decision{Why: waiting(need, ready, preparing)}
	}
	if p.Expect == 0 {
		last := ready[0].Since
		for _, r := range ready {
			if r.Since.After(last) {
				last = r.Since
			}
		}
		if len(preparing) > 0 && now.Sub(last) < p.Patience {
			return decision{Why: "waits for " + names(preparing) + ", preparing"}
		}
		if now.Sub(last) < p.Settle {
			return decision{Why: "waits a moment for further nodes"}
		}
	}
	return seat(cur, ready, p)
}

func waiting(need int, ready, preparing []report) string {
	why := fmt.Sprintf("waits for %s to be ready, has %d", count(need, "node"), len(ready))
	if len(preparing) > 0 {
		why += "; preparing: " + names(preparing)
	}
	return why
}

// seat makes the view of as many ready nodes as may take part. Who finds no lane is a spare.
func seat(cur *view.View, ready []report, p policy) decision {
	seats := min(len(ready), p.Lanes)
	if p.Max > 0 {
		seats = min(seats, p.Max)
	}
	next := &view.View{Run: cur.Run, Incarnation: cur.Incarnation, Number: cur.Number + 1, Owner: sharding.Assign(nil, make([]float64, seats), p.Lanes)}
	for i, r := range ready[:seats] {
		next.Members = append(next.Members, view.Member{Node: r.Node, Addr: r.Addr})
		next.Ring = append(next.Ring, i)
	}
	why := fmt.Sprintf("%s with %s: %s", count(seats, "member"), count(p.Lanes, "lane"), names(ready[:seats]))
	if spare := ready[seats:]; len(spare) > 0 {
		why += "; without a lane: " + names(spare)
	}
	return decision{Next: next, Why: why}
}

// keep decides about a view at work. Its members make the last step together or not at all, so once one of them has the
// last State the others' loss cannot change the result.
func keep(now time.Time, cur *view.View, reports []report, p policy) decision {
	var members []report
	finished, missing := 0, 0
	var lost []string
	for _, m := range cur.Members {
		i := slices.IndexFunc(reports, func(r report) bool { return r.Node == m.Node })
		if i < 0 {
			panic("control: decide: no report of member " + m.Node.String())
		}
		members = append(members, reports[i])
		if reports[i].Phase == pb.Phase_PHASE_FINISHED {
			finished++
		}
	}
	for _, m := range members {
		if m.Phase == pb.Phase_PHASE_FINISHED {
			continue
		}
		missing++
		if why := against(now, m, members, p); why != "" || m.Phase == pb.Phase_PHASE_FAILED {
			lost = append(lost, m.Node.Name)
		}
	}
	switch {
	case finished > 0 && missing == 0:
		return decision{Done: true, Why: "all members have the last State"}
	case finished > 0 && len(lost) == missing:
		return decision{Done: true, Why: "the last State is that of the others; lost before they reported it: " + strings.Join(lost, ", ")}
	case finished > 0:
		return decision{Why: "waits for the last digests"}
	}
	if why := blame(now, members, p); why != "" {
		return decision{Fail: true, Why: why}
	}
	return decision{}
}

// blame says which member ended the view, the one with the strongest evidence against it, or nothing.
func blame(now time.Time, members []report, p policy) string {
	for _, m := range members {
		if why := against(now, m, members, p); why != "" {
			return fmt.Sprintf("lost member %s: %s", m.Node.Name, why)
		}
	}
	// A member that failed may only have been the first to notice that another is gone: that one is named, if it is.
	for _, m := range members {
		wait := hearing
		if slices.ContainsFunc(members, func(r report) bool { return suspect(r, members) }) {
			wait = p.Grace
		}
		if m.Phase == pb.Phase_PHASE_FAILED && m.Lost == "" && now.Sub(m.Since) >= wait {
			return fmt.Sprintf("member %s failed: %s", m.Node.Name, m.Problem)
		}
	}
	// Both ends of the broken link live: the first to report it names the other.
	var first *report
	for i, m := range members {
		if m.Lost != "" && now.Sub(m.LostAt) >= p.Verdict && (first == nil || m.LostAt.Before(first.LostAt)) {
			first = &members[i]
		}
	}
	if first != nil {
		return fmt.Sprintf("lost member %s: %s lost its link to it, and both still answer", first.Lost, first.Node.Name)
	}
	return ""
}

// hearing is how long a failure waits for news of somebody else that explains it.
const hearing = 200 * time.Millisecond

// suspect says whether m may be lost, though nothing proves it yet.
func suspect(m report, members []report) bool {
	return m.Phase != pb.Phase_PHASE_FAILED && (m.Gone || m.Dead || accuser(m, members) != nil)
}

// accuser is the member that lost its link to m, or nil.
func accuser(m report, members []report) *report {
	i := slices.IndexFunc(members, func(r report) bool { return r.Lost == m.Node.Name })
	if i < 0 {
		return nil
	}
	return &members[i]
}

// against says what proves that m is lost, or nothing.
func against(now time.Time, m report, members []report, p policy) string {
	quiet := now.Sub(m.Alive)
	silent := fmt.Sprintf("silent for %.1f s", quiet.Seconds())
	by := accuser(m, members)
	switch {
	case m.Phase == pb.Phase_PHASE_LEAVING:
		return "it left"
	case m.Gone && quiet >= p.Grace:
		return "its session broke, " + silent
	case m.Dead && quiet >= 2*p.Grace:
		return "gossip finds it dead, " + silent
	case by != nil && quiet >= p.Grace:
		return fmt.Sprintf("%s lost its link to it, %s", by.Node.Name, silent)
	case quiet >= p.Silence:
		return silent
	}
	return ""
}

func names(reports []report) string {
	var all []string
	for _, r := range reports {
		all = append(all, r.Node.Name)
	}
	return strings.Join(all, ", ")
}

// count is a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
