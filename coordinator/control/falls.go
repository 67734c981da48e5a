package control

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/torctrain/torc/internal/view"
	"github.com/torctrain/torc/sharding"
)

// fall is how often a node of one name was lost lately.
type fall struct {
	count int
	last  time.Time
}

const (
	// steady is how long a node must hold out for its earlier losses to be forgotten.
	steady = time.Minute
	// firstDelay is how long a node waits that was lost a second time in short order; each further loss doubles it.
	firstDelay = time.Second
	// longestDelay bounds that.
	longestDelay = 10 * time.Second
)

// fell notes that a node was lost.
func (r *run) fell(now time.Time, name string) {
	f := r.falls[name]
	if f == nil || now.Sub(f.last) > steady {
		f = &fall{}
		r.falls[name] = f
	}
	f.count, f.last = f.count+1, now
}

// notYet is when a node may enter a view again: members that come and go are let in with growing delay.
func (r *run) notYet(name string) time.Time {
	f := r.falls[name]
	if f == nil || f.count < 2 {
		return time.Time{}
	}
	return f.last.Add(min(longestDelay, firstDelay<<min(f.count-2, 10)))
}

// remember takes from the views of r, as the journal has them, what is held against its members: who cannot talk to whom,
// and, since the view with index fresh, who was lost when and over which lanes. The last view is the one at work.
func (r *run) remember(views []command, fresh int) {
	at, now := r.progress, r.view
	for i, v := range views {
		r.apart = append(r.apart, v.Apart...)
		if i < max(fresh, 1) {
			continue
		}
		for _, name := range v.Lost {
			r.fell(time.Unix(0, v.At), name)
		}
		r.view, r.progress.step = views[i-1].View, max(v.Step, 1)-1
		_ = r.losses.poison(r, decision{Next: v.View, Died: v.Died}) // what was fatal has ended the run
	}
	r.progress, r.view = at, now
}

// losses remember which lanes members were to compute that were lost during one step.
type losses struct {
	step  uint64 // the last one committed
	lanes map[int][]view.NodeID
}

// fatalLosses is how many members in turn may be lost over a lane before it is to blame.
const fatalLosses = 3

// poison notes the lanes of the members that d finds dead, and says which lanes three members in turn did not survive: their
// samples are to blame, and the next member would be lost as well. Members lost at once had different lanes, so that they
// do not count together; whoever was lost before it began to work in the view does not count either.
func (l *losses) poison(r *run, d decision) string {
	if d.Next == nil && !d.Empty || len(d.Died) == 0 {
		return ""
	}
	if l.step != r.progress.step || l.lanes == nil {
		*l = losses{step: r.progress.step, lanes: map[int][]view.NodeID{}}
	}
	for _, id := range d.Died {
		for _, lane := range r.view.Lanes(r.view.Rank(id)) {
			if !slices.Contains(l.lanes[lane], id) { // it was noted when all were lost
				l.lanes[lane] = append(l.lanes[lane], id)
			}
		}
	}
	var lanes, samples []string
	var who []string
	plan := sharding.NewPlan(r.spec.Samples, r.spec.Batch.Micro, r.spec.Batch.Lanes, r.spec.Seed)
	for lane := range r.spec.Batch.Lanes {
		if len(l.lanes[lane]) < fatalLosses {
			continue
		}
		lanes, who = append(lanes, fmt.Sprint(lane)), nil
		for _, id := range l.lanes[lane] {
			who = append(who, id.Name)
		}
		for _, s := range plan.At(l.step+1, lane) {
			samples = append(samples, fmt.Sprint(s))
		}
	}
	if lanes == nil {
		return ""
	}
	what, which := "lane", "sample"
	if len(lanes) > 1 {
		what = "lanes"
	}
	if len(samples) > 1 {
		which = "samples"
	}
	return fmt.Sprintf("members %s were lost in turn at step %d, each with %s %s to compute (%s %s of the training data): look at what is special there with coordinator data check",
		strings.Join(who, ", "), l.step+1, what, strings.Join(lanes, ", "), which, strings.Join(samples, ", "))
}
