package sim

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/torctrain/torc/internal/pb"
)

// TestFound plays what went wrong once, and wants it to end in good time of the bubble.
func TestFound(t *testing.T) {
	w, err := theWorld()
	if err != nil {
		t.Fatal(err)
	}
	five := []string{"a", "b", "c", "d", "e"}
	for name, c := range map[string]struct {
		plan
		within time.Duration
	}{
		// The member took its divergence for a broken ring, and all waited for ever.
		"a bit of θ flips": {plan{members: five, faults: []*fault{
			{kind: flip, member: "a", phase: computing, step: 6},
		}}, 10 * time.Second},
		// The steps of the first view were in no journal: their teller was gone, and the next one came too late for them.
		"coordinator and teller are lost": {plan{members: five[:4], faults: []*fault{
			{kind: decapit, member: "d", phase: selecting, step: 3, last: 20 * time.Second},
			{kind: reset, member: "a", other: "b", phase: measuring, step: 3},
		}}, 40 * time.Second},
		// Who learnt of a step from others did not say which view had made it.
		"the teller learns of a step": {plan{members: five[:3], faults: []*fault{
			{kind: corrupt, member: "b", phase: computing, step: 1},
			{kind: freeze, member: "a", phase: selecting, step: 6, last: 2700 * time.Millisecond},
		}}, 20 * time.Second},
		// Who had made the steps behind its State was known to nobody but the member that froze within a beat.
		"the sole teller is lost": {plan{members: five[:1], faults: []*fault{
			{kind: join, member: "a", phase: computing, step: 2},
			{kind: freeze, member: "a", phase: updating, step: 3, last: 9 * time.Second},
		}}, 20 * time.Second},
		// A joiner took the copy of the member that had gone astray, and the two outvoted the one that was right.
		"a bit flips while a node joins": {plan{members: five[:3], faults: []*fault{
			{kind: flip, member: "a", phase: computing, step: 6},
			{kind: flip, member: "c", phase: computing, step: 5, delay: 10979 * time.Microsecond},
		}}, 10 * time.Second},
		// A member waited for two minutes for a ring with one that was gone. Its successor, without which no view could come,
		// waited for a copy of State.
		"a ring is awaited that needs the joiner": {plan{members: five[:2], min: 2, faults: []*fault{
			{kind: crash, member: "b", phase: computing, step: 2, last: 2352 * time.Millisecond},
			{kind: cut, member: "b", other: "a", follow: true, delay: 2003 * time.Millisecond, last: 6806 * time.Millisecond},
		}}, 15 * time.Second},
		// A member waited for two minutes for a direct link to one whom it could not hear, though the others had left the ring.
		"a link is awaited in a ring that is over": {plan{members: five, faults: []*fault{
			{kind: freeze, member: "c", phase: selecting, step: 6, last: 7443 * time.Millisecond},
			{kind: cut, member: "d", other: "a", follow: true, delay: 553 * time.Millisecond, last: 9773 * time.Millisecond},
		}}, 20 * time.Second},
		// Of two members, the one that calls had given up when the other could be reached again.
		"a member comes back late, and is needed": {plan{members: five[:2], min: 2, faults: []*fault{
			{kind: freeze, member: "b", phase: updating, step: 4, last: 9877 * time.Millisecond},
			{kind: moved, member: "b", phase: computing, step: 2, last: 1263 * time.Millisecond},
		}}, 20 * time.Second},
		// Of two members that had made the last step, one died before its validation. Its successor had the last State at once,
		// and so was no member.
		"a joiner comes for the last validation": {plan{members: five[:2], min: 2, faults: []*fault{
			{kind: crash, member: "a", phase: measuring, step: 7, last: 2915 * time.Millisecond},
		}}, 10 * time.Second},
		// All members were gone, and the only node with State had just joined: it gave no copy to another.
		"a joiner is left alone": {plan{members: five[:2], min: 2, faults: []*fault{
			{kind: drain, member: "a", phase: computing, step: 1},
			{kind: crash, member: "b", phase: computing, step: 5},
		}}, 65 * time.Second},
		// A member lived and answered, but had not heard of the view in which the others waited for it: they did so for ever.
		"a view does not come to a member": {plan{members: five[:3], faults: []*fault{
			{kind: deaf, member: "b", phase: computing, step: 3, last: 5 * time.Second},
			{kind: crash, member: "c", phase: computing, step: 4},
		}}, 35 * time.Second},
		"a view does not come to a member that is needed": {plan{members: five[:3], min: 2, faults: []*fault{
			{kind: deaf, member: "b", phase: computing, step: 3, last: 5 * time.Second},
			{kind: crash, member: "c", phase: computing, step: 4},
		}}, 35 * time.Second},
		// A ring broke while sets were chosen: some members had adopted them, others not, and a joiner took that for a tie.
		"a node joins in the middle of a step": {plan{members: five, min: 5, faults: []*fault{
			{kind: corrupt, member: "a", phase: computing, step: 3, delay: 11329 * time.Microsecond},
			{kind: crash, member: "d", phase: updating, step: 5, delay: 11968 * time.Microsecond, last: 1482 * time.Millisecond},
		}}, 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			p := &c.plan
			p.spec, p.latency, p.heal = cmp.Or(p.spec, "lift"), time.Millisecond, cmp.Or(p.heal, 30*time.Second)
			alone := reference(t, w, p)
			o := play(t, w, p, alone.updates)
			wrongs := judge(p, o, alone)
			if o.virtual > c.within {
				wrongs = append(wrongs, fmt.Sprintf("took %v, want less than %v", o.virtual, c.within))
			}
			if len(wrongs) > 0 {
				t.Errorf("%s\n%s", strings.Join(wrongs, "\n"), o.log)
			}
		})
	}
}

// protocol.md I1: of two members that have different States nobody can tell which is right: with a checkpoint both go on from there, and end with
// the digest of the undisturbed run; without one the run ends, and says so with both hashes. Where it happens at a step again, it
// ends as well.
func TestATieGoesOnFromTheNewestCheckpoint(t *testing.T) {
	w, err := theWorld()
	if err != nil {
		t.Fatal(err)
	}
	flips := func(step uint64, follow ...*fault) []*fault {
		return append([]*fault{{kind: flip, member: "b", phase: computing, step: step}}, follow...)
	}
	for name, c := range map[string]struct {
		plan
		state pb.RunState
		why   string // the checkpoint that members go on from, or why the run ended
	}{
		"with a checkpoint":         {plan{spec: "kept", faults: flips(5)}, pb.RunState_RUN_FINISHED, "step=4"},
		"without":                   {plan{spec: "lift", faults: flips(5)}, pb.RunState_RUN_FAILED, "there is no checkpoint to go on from"},
		"before the first":          {plan{spec: "kept", faults: flips(1)}, pb.RunState_RUN_FAILED, "there is no checkpoint to go on from"},
		"in the last State":         {plan{spec: "kept", faults: flips(steps)}, pb.RunState_RUN_FINISHED, "step=6"},
		"the coordinator is killed": {plan{spec: "kept", faults: flips(5, &fault{kind: decapit, follow: true, delay: 60 * time.Millisecond, last: time.Second})}, pb.RunState_RUN_FINISHED, "step=4"},
		"the coordinator is away":   {plan{spec: "kept", faults: flips(5, &fault{kind: decapit, follow: true, last: 6 * time.Second})}, pb.RunState_RUN_FINISHED, "step=4"},
		"a node joins":              {plan{spec: "kept", faults: flips(5, &fault{kind: join, follow: true})}, pb.RunState_RUN_FINISHED, "step=4"},
		"at the same step again":    {plan{spec: "kept", faults: flips(5, &fault{kind: flip, member: "b", follow: true, delay: 1220 * time.Millisecond})}, pb.RunState_RUN_FAILED, "they did before step 6 already"},
		"at a later step again":     {plan{spec: "kept", faults: append(flips(5), flips(6)...)}, pb.RunState_RUN_FINISHED, "step=4"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &c.plan
			p.members, p.latency, p.heal = []string{"a", "b"}, time.Millisecond, 30*time.Second
			alone := reference(t, w, p)
			o := play(t, w, p, alone.updates)
			wrongs := judge(p, o, alone)
			if o.virtual > 20*time.Second {
				wrongs = append(wrongs, fmt.Sprintf("took %v", o.virtual))
			}
			why := o.info.GetWhy()
			for line := range strings.Lines(o.log) {
				if strings.Contains(line, "goes on from a checkpoint") && c.state == pb.RunState_RUN_FINISHED {
					why += line
				}
			}
			right := fmt.Sprintf("%x", o.info.GetDigest()) == alone.digest
			if o.info.GetState() != c.state || right != (c.state == pb.RunState_RUN_FINISHED) || !strings.Contains(why, c.why) || len(wrongs) > 0 {
				t.Errorf("%v; run is %v, digest right: %v, %s; want it %v: %s\n%s", wrongs, o.info.GetState(), right, why, c.state, c.why, o.log)
			}
		})
	}
}

// A second node of a name is refused while the first one is there, and does not disturb it.
func TestASecondNodeOfANameIsRefused(t *testing.T) {
	w, err := theWorld()
	if err != nil {
		t.Fatal(err)
	}
	p := &plan{
		spec: "lift", members: []string{"a", "b", "c"}, latency: time.Millisecond, heal: 30 * time.Second,
		slow:   map[string]time.Duration{"b": 400 * time.Millisecond}, // so that it asks more than once
		faults: []*fault{{kind: double, member: "b", phase: computing, step: 2}},
	}
	alone := reference(t, w, p)
	o := play(t, w, p, alone.updates)
	if wrongs := judge(p, o, alone); len(wrongs) > 0 || o.info.GetState() != pb.RunState_RUN_FINISHED || o.refused < 2 || o.views != 1 {
		t.Errorf("%v; run is %v, refused %d times in %d views, want it finished, at least twice and 1\n%s", wrongs, o.info.GetState(), o.refused, o.views, o.log)
	}
}
