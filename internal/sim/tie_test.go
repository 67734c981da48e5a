package sim

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/torctrain/torc/internal/pb"
)

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

// Two of three members have different States, and have not found out when the third one dies: they wait for members.min, and the
// node that comes is given contradicting copies. Nobody would go on for ever.
func TestAJoinerTellsOfATieThatMembersCannotFind(t *testing.T) {
	w, err := theWorld()
	if err != nil {
		t.Fatal(err)
	}
	for spec, want := range map[string]pb.RunState{"kept": pb.RunState_RUN_FINISHED, "lift": pb.RunState_RUN_FAILED} {
		t.Run(spec, func(t *testing.T) {
			p := &plan{
				spec: spec, members: []string{"a", "b", "c"}, min: 3, latency: time.Millisecond, heal: patience,
				faults: []*fault{
					{kind: flip, member: "b", phase: computing, step: 5},
					{kind: crash, member: "c", phase: selecting, step: 6, delay: 3 * time.Millisecond},
					{kind: join, follow: true, delay: time.Second},
				},
			}
			alone := reference(t, w, p)
			o := play(t, w, p, alone.updates)
			wrongs := judge(p, o, alone)
			if o.info.GetState() != want || o.virtual < 30*time.Second || o.virtual > 45*time.Second || len(wrongs) > 0 {
				t.Errorf("%v; run is %v after %v: %s; want it %v, half a minute after the joiner came\n%s", wrongs, o.info.GetState(), o.virtual, o.info.GetWhy(), want, o.log)
			}
		})
	}
}
