package sim

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/torctrain/torc/internal/pb"
)

// protocol.md I1: what befalls members that neither die nor work as they should, each by itself: the run ends with the digest of the
// undisturbed one, in one view where nobody is lost, or it says what is wrong with its data. A second node of a name has a test of its own
// (TestASecondNodeOfANameIsRefused), and so have members of which as many have another State (TestATieGoesOnFromTheNewestCheckpoint).
func TestGrayFailures(t *testing.T) {
	w, err := theWorld()
	if err != nil {
		t.Fatal(err)
	}
	four := []string{"a", "b", "c", "d"}
	at := place{step: 3, lane: 2}
	slowly := same(four, 100*time.Millisecond) // so that steps are made while it lasts
	for name, c := range map[string]struct {
		plan
		why    string // it fails, and says so
		views  int    // that make steps; 0: more than one
		within time.Duration
	}{
		"a member freezes and comes back": {
			plan: plan{slow: slowly, faults: []*fault{{kind: freeze, member: "b", phase: computing, step: 3, last: 6 * time.Second}}}, within: 12 * time.Second,
		},
		"no byte goes from one member to another": {
			plan: plan{slow: slowly, faults: []*fault{{kind: cut, member: "a", other: "b", phase: computing, step: 2, last: time.Hour}}}, within: 20 * time.Second,
		},
		"a link is slow": {
			plan: plan{slow: slowly, faults: []*fault{{kind: slow, member: "a", other: "b", phase: computing, step: 2, last: time.Hour, number: 299}}}, views: 1, within: 12 * time.Second,
		},
		"the coordinator's clock jumps": {
			plan: plan{slow: slowly, faults: []*fault{{kind: sleepy, member: "a", phase: computing, step: 3, last: time.Hour}}}, views: 1, within: 8 * time.Second,
		},
		"the coordinator is cut off from all": {
			plan: plan{slow: slowly, faults: []*fault{{kind: severed, member: "a", phase: computing, step: 2, last: 6 * time.Second}}}, views: 1, within: 12 * time.Second,
		},
		"a member's views get lost": {
			plan: plan{slow: slowly, faults: []*fault{{kind: deaf, member: "b", phase: computing, step: 2, last: 4 * time.Second}, {kind: crash, member: "c", phase: computing, step: 3}}}, within: 12 * time.Second,
		},
		"a gradient is not finite once": {
			plan: plan{faults: []*fault{{kind: glitch, member: "b", phase: updating, step: 2}}}, views: 1, within: 6 * time.Second,
		},
		"a gradient is not finite on anybody": {
			plan: plan{bad: fmt.Sprint(badData, at), at: at}, why: "step 3: gradients of lanes 2 are not finite", views: 1, within: 6 * time.Second,
		},
		"a sample kills whoever computes it": {
			plan: plan{bad: fmt.Sprint(poisoned, at), at: at}, why: "were lost in turn at step 3, each with lane 2 to compute", within: 20 * time.Second,
		},
		"a bit flips in one State of four": {
			plan: plan{faults: []*fault{{kind: flip, member: "b", phase: computing, step: 3}}}, within: 8 * time.Second,
		},
		"a bit flips on its way": {
			plan: plan{faults: []*fault{{kind: corrupt, member: "b", phase: computing, step: 3, number: 100}}}, views: 1, within: 6 * time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := &c.plan
			p.spec, p.members, p.latency, p.heal = "lift", four, time.Millisecond, patience
			alone := reference(t, w, p)
			o := play(t, w, p, alone.updates)
			wrongs := judge(p, o, alone)
			want := pb.RunState_RUN_FINISHED
			if c.why != "" {
				want = pb.RunState_RUN_FAILED
			}
			if i := o.info; i.GetState() != want || !strings.Contains(i.GetWhy(), c.why) {
				wrongs = append(wrongs, fmt.Sprintf("the run ended as %v: %s, want %v: %s", i.GetState(), i.GetWhy(), want, c.why))
			}
			if want == pb.RunState_RUN_FINISHED && (c.views == 1) != (o.views == 1) {
				wrongs = append(wrongs, fmt.Sprintf("%d views made steps, want one: %v", o.views, c.views == 1))
			}
			if o.virtual > c.within {
				wrongs = append(wrongs, fmt.Sprintf("took %v, want less than %v", o.virtual, c.within))
			}
			if len(wrongs) > 0 {
				t.Errorf("%s\n%s", strings.Join(wrongs, "\n"), o.log)
			}
		})
	}
}
