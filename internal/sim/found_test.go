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
		not    string // must not be in the log
	}{
		// The member took its divergence for a broken ring, and all waited for ever.
		"a bit of θ flips": {plan{members: five, faults: []*fault{
			{kind: flip, member: "a", phase: computing, step: 6},
		}}, 10 * time.Second, ""},
		// The steps of the first view were in no journal: their teller was gone, and the next one came too late for them.
		"coordinator and teller are lost": {plan{members: five[:4], faults: []*fault{
			{kind: decapit, member: "d", phase: selecting, step: 3, last: 20 * time.Second},
			{kind: reset, member: "a", other: "b", phase: measuring, step: 3},
		}}, 40 * time.Second, ""},
		// Who learnt of a step from others did not say which view had made it.
		"the teller learns of a step": {plan{members: five[:3], faults: []*fault{
			{kind: corrupt, member: "b", phase: computing, step: 1},
			{kind: freeze, member: "a", phase: selecting, step: 6, last: 2700 * time.Millisecond},
		}}, 20 * time.Second, ""},
		// Who had made the steps behind its State was known to nobody but the member that froze within a beat.
		"the sole teller is lost": {plan{members: five[:1], faults: []*fault{
			{kind: join, member: "a", phase: computing, step: 2},
			{kind: freeze, member: "a", phase: updating, step: 3, last: 9 * time.Second},
		}}, 20 * time.Second, ""},
		// A joiner took the copy of the member that had gone astray, and the two outvoted the one that was right.
		"a bit flips while a node joins": {plan{members: five[:3], faults: []*fault{
			{kind: flip, member: "a", phase: computing, step: 6},
			{kind: flip, member: "c", phase: computing, step: 5, delay: 10979 * time.Microsecond},
		}}, 10 * time.Second, ""},
		// A member waited for two minutes for a ring with one that was gone. Its successor, without which no view could come,
		// waited for a copy of State.
		"a ring is awaited that needs the joiner": {plan{members: five[:2], min: 2, faults: []*fault{
			{kind: crash, member: "b", phase: computing, step: 2, last: 2352 * time.Millisecond},
			{kind: cut, member: "b", other: "a", follow: true, delay: 2003 * time.Millisecond, last: 6806 * time.Millisecond},
		}}, 15 * time.Second, ""},
		// A member waited for two minutes for a direct link to one whom it could not hear, though the others had left the ring.
		"a link is awaited in a ring that is over": {plan{members: five, faults: []*fault{
			{kind: freeze, member: "c", phase: selecting, step: 6, last: 7443 * time.Millisecond},
			{kind: cut, member: "d", other: "a", follow: true, delay: 553 * time.Millisecond, last: 9773 * time.Millisecond},
		}}, 20 * time.Second, ""},
		// Of two members, the one that calls had given up when the other could be reached again.
		"a member comes back late, and is needed": {plan{members: five[:2], min: 2, faults: []*fault{
			{kind: freeze, member: "b", phase: updating, step: 4, last: 9877 * time.Millisecond},
			{kind: moved, member: "b", phase: computing, step: 2, last: 1263 * time.Millisecond},
		}}, 20 * time.Second, ""},
		// Of two members that had made the last step, one died before its validation. Its successor had the last State at once,
		// and so was no member.
		"a joiner comes for the last validation": {plan{members: five[:2], min: 2, faults: []*fault{
			{kind: crash, member: "a", phase: measuring, step: 7, last: 2915 * time.Millisecond},
		}}, 10 * time.Second, ""},
		// All members were gone, and the only node with State had just joined: it gave no copy to another.
		"a joiner is left alone": {plan{members: five[:2], min: 2, faults: []*fault{
			{kind: drain, member: "a", phase: computing, step: 1},
			{kind: crash, member: "b", phase: computing, step: 5},
		}}, 65 * time.Second, ""},
		// A member lived and answered, but had not heard of the view in which the others waited for it: they did so for ever.
		"a view does not come to a member": {plan{members: five[:3], faults: []*fault{
			{kind: deaf, member: "b", phase: computing, step: 3, last: 30 * time.Second},
			{kind: crash, member: "c", phase: computing, step: 4},
		}}, 45 * time.Second, ""},
		// Nobody waited for the only member of a view of which it had not heard.
		"a view does not come to its only member": {plan{members: five[:2], faults: []*fault{
			{kind: deaf, member: "a", phase: computing, step: 3, last: 3 * time.Second},
			{kind: crash, member: "b", phase: computing, step: 4},
		}}, 15 * time.Second, ""},
		"a view does not come to a member that is needed": {plan{members: five[:3], min: 2, faults: []*fault{
			{kind: deaf, member: "b", phase: computing, step: 3, last: 30 * time.Second},
			{kind: crash, member: "c", phase: computing, step: 4},
		}}, 45 * time.Second, ""},
		// A node that came back heard of its seat two steps before the others came there, followed them no more, and had to start over.
		"a node comes back and waits for its seat": {plan{members: five[:4], slow: same(five[:4], 900*time.Millisecond), faults: []*fault{
			{kind: freeze, member: "d", phase: computing, step: 2, last: 3 * time.Second},
		}}, 20500 * time.Millisecond, "starts over"},
		// A ring broke while sets were chosen: some members had adopted them, others not, and a joiner took that for a tie.
		"a node joins in the middle of a step": {plan{members: five, min: 5, faults: []*fault{
			{kind: corrupt, member: "a", phase: computing, step: 3, delay: 11329 * time.Microsecond},
			{kind: crash, member: "d", phase: updating, step: 5, delay: 11968 * time.Microsecond, last: 1482 * time.Millisecond},
		}}, 20 * time.Second, ""},
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
			if c.not != "" && strings.Contains(o.log, c.not) {
				wrongs = append(wrongs, "something "+c.not)
			}
			if len(wrongs) > 0 {
				t.Errorf("%s\n%s", strings.Join(wrongs, "\n"), o.log)
			}
		})
	}
}

// same is one pace for all members.
func same(members []string, pace time.Duration) map[string]time.Duration {
	all := map[string]time.Duration{}
	for _, m := range members {
		all[m] = pace
	}
	return all
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
