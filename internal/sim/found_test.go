package sim

import (
	"strings"
	"testing"
	"time"
)

// TestFound plays what went wrong once.
func TestFound(t *testing.T) {
	w, err := theWorld()
	if err != nil {
		t.Fatal(err)
	}
	five := []string{"a", "b", "c", "d", "e"}
	for name, p := range map[string]*plan{
		// The member took its divergence for a broken ring, and all waited for ever.
		"a bit of θ flips": {members: five, faults: []*fault{
			{kind: flip, member: "a", phase: computing, step: 6},
		}},
		// The steps of the first view were in no journal: their teller was gone, and the next one came too late for them.
		"coordinator and teller are lost": {members: five[:4], faults: []*fault{
			{kind: decapit, member: "d", phase: selecting, step: 3, last: 20 * time.Second},
			{kind: reset, member: "a", other: "b", phase: measuring, step: 3},
		}},
		// Who learnt of a step from others did not say which view had made it.
		"the teller learns of a step": {members: five[:3], faults: []*fault{
			{kind: corrupt, member: "b", phase: computing, step: 1},
			{kind: freeze, member: "a", phase: selecting, step: 6, last: 2700 * time.Millisecond},
		}},
		// A joiner took the copy of the member that had gone astray, and the two outvoted the one that was right.
		"a bit flips while a node joins": {members: five[:3], faults: []*fault{
			{kind: flip, member: "a", phase: computing, step: 6},
			{kind: flip, member: "c", phase: computing, step: 5, delay: 10979 * time.Microsecond},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p.spec, p.latency, p.heal = "lift", time.Millisecond, 30*time.Second
			alone := reference(t, w, p)
			o := play(t, w, p, alone.updates)
			if wrongs := judge(p, o, alone); len(wrongs) > 0 {
				t.Errorf("%s\n%s", strings.Join(wrongs, "\n"), o.log)
			}
		})
	}
}
