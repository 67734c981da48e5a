package main

import (
	"strings"
	"testing"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/sharding"
)

func viewSteps(number, first, last uint64, members int, owner ...int32) *pb.ViewSteps {
	v := &pb.View{Number: number, Owner: owner}
	for i := range members {
		v.Members = append(v.Members, &pb.Member{Node: &pb.NodeID{Name: string(rune('a' + i))}})
	}
	return &pb.ViewSteps{View: v, First: first, Last: last}
}

// protocol.md I4: a journal of changing views covers every sample exactly once per epoch; one with a hole, a step twice or a
// lane that nobody had does not.
func TestAuditProvesExactlyOnce(t *testing.T) {
	plan := sharding.NewPlan(50, 2, 4, 7) // 25 micro-batches: 7 steps per epoch
	good := []*pb.ViewSteps{
		viewSteps(1, 1, 5, 3, 0, 1, 2, 2), viewSteps(2, 6, 6, 2, 0, 1, 0, 1), viewSteps(4, 7, 18, 3, 2, 1, 0, 0),
	}
	a := auditSteps(good, 0, 18, plan)
	if len(a.problems) > 0 || a.epochs != 2 || len(a.views) != 3 {
		t.Errorf("audit found %+v", a)
	}
	samples := 0
	for _, v := range a.views {
		for _, m := range v.members {
			samples += m.samples
		}
	}
	want := 0
	for step := uint64(1); step <= 18; step++ {
		for lane := range 4 {
			want += len(plan.At(step, lane))
		}
	}
	if samples != want {
		t.Errorf("members computed %d samples, want %d", samples, want)
	}
	for why, c := range map[string]struct {
		views []*pb.ViewSteps
		last  uint64
	}{
		"follows step 5":    {[]*pb.ViewSteps{good[0], good[2]}, 18},
		"ends with step 18": {good, 19},
		"times in epoch 1":  {[]*pb.ViewSteps{good[0], viewSteps(2, 5, 18, 2, 0, 1, 0, 1)}, 18},
		"deals 3 lanes":     {[]*pb.ViewSteps{viewSteps(1, 1, 18, 1, 0, 0, 0)}, 18},
		"to rank 5":         {[]*pb.ViewSteps{viewSteps(1, 1, 18, 1, 0, 0, 0, 5)}, 18},
	} {
		if p := strings.Join(auditSteps(c.views, 0, c.last, plan).problems, "\n"); !strings.Contains(p, why) {
			t.Errorf("audit found %q, want %q", p, why)
		}
	}
}

// A run that began with another's State has made the steps behind it, and no complete epoch of the one it began in.
func TestAuditOfARunThatBeganLater(t *testing.T) {
	plan := sharding.NewPlan(50, 2, 4, 7)
	a := auditSteps([]*pb.ViewSteps{viewSteps(1, 5, 15, 2, 0, 1, 0, 1)}, 4, 15, plan)
	if len(a.problems) > 0 || a.epochs != 1 || a.steps != 11 {
		t.Errorf("audit found %+v", a)
	}
	if a := auditSteps([]*pb.ViewSteps{viewSteps(1, 5, 15, 2, 0, 1, 0, 1)}, 0, 15, plan); len(a.problems) == 0 {
		t.Error("steps that nobody made are not missed")
	}
}
