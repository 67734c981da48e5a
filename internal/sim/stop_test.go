package sim

import (
	"testing"
	"time"

	"github.com/torctrain/torc/internal/pb"
)

// Whoever stops a run while the coordinator is cut off from its members gets State all the same, once it hears them again.
func TestAStopWaitsForMembersThatAreCutOff(t *testing.T) {
	w, err := theWorld()
	if err != nil {
		t.Fatal(err)
	}
	members := []string{"a", "b"}
	p := &plan{
		spec: "lift", members: members, slow: same(members, 900*time.Millisecond), latency: time.Millisecond, heal: patience,
		faults: []*fault{
			{kind: severed, member: "a", phase: computing, step: 2, last: 8 * time.Second},
			{kind: halted, follow: true, delay: 6 * time.Second}, // by then all members seem to be lost
		},
	}
	o := play(t, w, p, reference(t, w, p).updates)
	if i := o.info; i.GetState() != pb.RunState_RUN_STOPPED || len(i.GetDigest()) != 32 || i.GetStep() < 4 || i.GetStep() >= steps || len(o.wrongs) > 0 {
		t.Errorf("%v; run is %v after step %d with digest %x: %s; want it stopped early, with State\n%s", o.wrongs, i.GetState(), i.GetStep(), i.GetDigest(), i.GetWhy(), o.log)
	}
}
