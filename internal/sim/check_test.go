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
	gaps   []string                 // in the journal
	last   uint64                   // the highest step that anybody made
	free   bool                     // State may differ: a bit was flipped
	struck []blow                   // after which no new step was made yet
	pauses map[kind][]time.Duration // from a fault to the next new step
}

func newChecker(reference map[uint64][]uint64) *checker {
	k := &checker{reference: reference, seen: map[uint64][]uint64{}, parts: 1 << 30, pauses: map[kind][]time.Duration{}}
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

// gap notes steps that the journal does not give to a view.
func (k *checker) gap(format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.gaps = append(k.gaps, fmt.Sprintf(format, args...))
}

// made is I1: the same step makes the same State on every member, that of the undisturbed run.
func (k *checker) made(p *process, step uint64, part int, hash uint64) {
	k.mu.Lock()
	if k.reference == nil {
		k.seen[step] = append(k.seen[step], hash)
		k.mu.Unlock()
		return
	}
	want := k.reference[step]
	wrong := !k.free && (part >= len(want) || want[part] != hash)
	k.mu.Unlock()
	if wrong {
		k.wrong("I1: node %s made another State at step %d, tensor %d", p.name, step, part)
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

// committed notes that a process has made a step.
func (k *checker) committed(p *process, step uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if step <= k.last {
		return
	}
	k.last = step
	for _, b := range k.struck {
		k.pauses[b.kind] = append(k.pauses[b.kind], time.Since(b.at))
	}
	k.struck = nil
}

// diverges says that from now on State may differ on some member.
func (k *checker) diverges() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.free = true
}

// audit is I4 and I10, by the journal: every step was made by one view, which gives each lane to one member.
func (k *checker) audit(views []*pb.ViewSteps, last uint64) {
	next := uint64(1)
	for _, v := range views {
		if v.First != next || v.Last < v.First {
			k.gap("I4: view %d made steps %d to %d, want them from %d on", v.View.Number, v.First, v.Last, next)
		}
		next = v.Last + 1
		if len(v.View.Owner) != lanes {
			k.wrong("I10: view %d has %d lanes", v.View.Number, len(v.View.Owner))
		}
		for lane, owner := range v.View.Owner {
			if int(owner) >= len(v.View.Members) {
				k.wrong("I10: lane %d of view %d belongs to nobody", lane, v.View.Number)
			}
		}
	}
	if next != last+1 {
		k.gap("I4: the journal ends with step %d, the run with %d", next-1, last)
	}
}
