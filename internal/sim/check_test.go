package sim

import (
	"fmt"
	"sync"
	"time"

	"github.com/torctrain/torc/internal/pb"
)

// checker holds the invariants of protocol.md while a simulation runs.
type checker struct {
	reference map[uint64][]uint64 // step → hash of each part of its update; nil: this is the undisturbed run
	parts     int                 // tensors of an update

	mu     sync.Mutex // guards what follows
	seen   map[uint64][]uint64
	wrongs []string
	last   uint64                   // the highest step that anybody made
	struck []blow                   // after which no new step was made yet
	pauses map[kind][]time.Duration // from a fault to the next new step
	denied int                      // how often a node was not let in
	views  int                      // that made steps

	seats map[*process]seat // of those that are in a view

	flipped  bool              // a bit of somebody's State has,
	doubtful map[*process]bool // and that of these may be wrong: they have flipped, or fetched theirs since
	astray   bool              // one of them made a wrong step, since nobody was left to object
}

func newChecker(reference map[uint64][]uint64) *checker {
	k := &checker{reference: reference, seen: map[uint64][]uint64{}, parts: 1 << 30, pauses: map[kind][]time.Duration{}, doubtful: map[*process]bool{}, seats: map[*process]seat{}}
	if len(reference) > 0 {
		for _, parts := range reference {
			k.parts = len(parts)
		}
	}
	return k
}

// wrong notes what must not be.
func (k *checker) wrong(format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.wrongs) < 20 {
		k.wrongs = append(k.wrongs, fmt.Sprintf(format, args...))
	}
}

// made is I1: the same step makes the same State on every member, that of the undisturbed run. Members of which a bit has
// flipped make others, but nobody makes a step together with them.
func (k *checker) made(p *process, step uint64, part int, hash uint64) {
	k.mu.Lock()
	if k.reference == nil {
		k.seen[step] = append(k.seen[step], hash)
		k.mu.Unlock()
		return
	}
	want := k.reference[step]
	other := part >= len(want) || want[part] != hash
	wrong := other && !k.astray && !k.doubtful[p]
	k.astray = k.astray || other && k.doubtful[p]
	k.mu.Unlock()
	if wrong {
		k.wrong("I1: node %s made another State at step %d, tensor %d", p.name, step, part)
	}
}

// flips notes that a bit of the State of p does, after a step. After the last one nobody objects but the coordinator, which
// compares the digests of those who are left.
func (k *checker) flips(p *process, step uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.flipped, k.doubtful[p] = true, true
	k.astray = k.astray || step == steps
}

// copies notes that p has the State of others.
func (k *checker) copies(p *process) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.doubtful[p] = k.flipped
}

// refuses notes that a node was not let in.
func (k *checker) refuses() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.denied++
}

// outvoted is I1 as well: only members whose State may be wrong give it up because others have another one.
func (k *checker) outvoted(p *process) {
	k.mu.Lock()
	wrong := !k.astray && !k.doubtful[p]
	k.mu.Unlock()
	if wrong {
		k.wrong("I1: node %s gave up the right State", p.name)
	}
}

// blow is a fault and when it came.
type blow struct {
	kind kind
	at   time.Time
}

// strikes notes that a fault comes.
func (k *checker) strikes(what kind) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.struck = append(k.struck, blow{what, time.Now()})
}

// seat is where a process is.
type seat struct{ view, step uint64 }

// sits notes that a process has entered a view, 0 that it has left.
func (k *checker) sits(p *process, view uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seats[p] = seat{view, p.committed.Load()}
}

// ahead is I2: who makes a step before all others of its view is one step ahead of them at the most. Who skips steps is not
// looked at: they are no updates.
func (k *checker) ahead(p *process, step uint64) {
	at := seat{k.seats[p].view, step}
	k.seats[p] = at
	if at.view == 0 || p.c.plan.spec == "skip" {
		return
	}
	behind := ""
	for q, s := range k.seats {
		switch {
		case q == p || s.view != at.view:
		case s.step >= step:
			return // p is not the first
		case s.step+1 < step:
			behind = q.name
		}
	}
	if behind != "" && len(k.wrongs) < 20 {
		k.wrongs = append(k.wrongs, fmt.Sprintf("I2: node %s made step %d more than one step before %s, in view %d", p.name, step, behind, at.view))
	}
}

// committed notes that a process has made a step.
func (k *checker) committed(p *process, step uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ahead(p, step)
	if step <= k.last {
		return
	}
	k.last = step
	for _, b := range k.struck {
		k.pauses[b.kind] = append(k.pauses[b.kind], time.Since(b.at))
	}
	k.struck = nil
}

// audit is I4 and I10, by the journal: every step was made by one view, which gives each lane to one member. And no view that
// made a step had fewer than least members.
func (k *checker) audit(views []*pb.ViewSteps, last uint64, least int) {
	next := uint64(1)
	k.views = len(views)
	for _, v := range views {
		if v.First != next || v.Last < v.First {
			k.wrong("I4: view %d made steps %d to %d, want them from %d on", v.View.Number, v.First, v.Last, next)
		}
		next = v.Last + 1
		if len(v.View.Owner) != lanes {
			k.wrong("I10: view %d has %d lanes", v.View.Number, len(v.View.Owner))
		}
		if n := len(v.View.Members); n < least {
			k.wrong("view %d made steps with %d members, members.min is %d", v.View.Number, n, least)
		}
		for lane, owner := range v.View.Owner {
			if int(owner) >= len(v.View.Members) {
				k.wrong("I10: lane %d of view %d belongs to nobody", lane, v.View.Number)
			}
		}
	}
	if next != last+1 {
		k.wrong("I4: the journal ends with step %d, the run with %d", next-1, last)
	}
}
