package control

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
)

// What members said is in the journal: a third coordinator reads it there, and follows all that made views.
func TestBookHasWhatMembersSaid(t *testing.T) {
	text, err := resolve("r", nil).JSON()
	if err != nil {
		t.Fatal(err)
	}
	v := &view.View{Run: "r", Incarnation: 4, Number: 2}
	b := &book{}
	for _, cmd := range []command{
		{Kind: started}, {Kind: rebuilt, Run: "r", Spec: text, View: v}, {Kind: dropped, Run: "r", Step: 5}, {Kind: started},
	} {
		if err := b.apply(cmd); err != nil {
			t.Fatal(err)
		}
	}
	r := newRun(b.find("r"))
	if b.incarnation != 6 || r.number != 2 || !r.rebuilt || len(r.dropped) != 1 || r.state != pb.RunState_RUN_TRAINING {
		t.Errorf("incarnation %d, run %+v", b.incarnation, r)
	}
	if err := b.apply(command{Kind: rebuilt, Run: "s"}); err == nil {
		t.Error("a run without a spec is taken up")
	}
}

// What a node says it works for may be anything. Directories bear the name of a run, here and on all nodes.
func TestNoRunIsTakenUpUnderANameThatIsAPath(t *testing.T) {
	for _, name := range []string{"../../escaped", "..", "a/b", "a\x00b", "A", strings.Repeat("a", maxRunName+1)} {
		p := newPlay(t)
		p.play("attend a")
		p.play("beat a phase=training run=" + name)
		p.play("described a view=1.1 members=a run=" + name)
		if len(p.core.runs) != 0 {
			t.Errorf("a run named %q is taken up", name)
		}
		if n := p.core.nodes[p.nodes["a"].beat.Node.ID()]; !strings.Contains(n.note, "no run is named") {
			t.Errorf("of %q people are told %q", name, n.note)
		}
	}
	if name := runID(strings.Repeat("Long name ", 10)); checkRun(name) != nil {
		t.Errorf("the name %q of a launched run is refused", name)
	}
}

// A coordinator that has lost everything but its address: it serves the members' cluster again, and their run ends well.
func TestCoordinatorWithoutJournalServesItsMembersAgain(t *testing.T) {
	defer goleak.VerifyNone(t)
	first := serve(t, t.TempDir())
	a, b := newFake(t, "a"), newFake(t, "b")
	a.hold, b.hold = make(chan struct{}), make(chan struct{})
	a.cluster, b.cluster = first.cluster, first.cluster
	leaveA, leaveB := first.join(a), first.join(b)
	defer leaveA()
	defer leaveB()
	run := first.launch(resolved(t, t.TempDir()), 2).Run
	first.follow(run, func(e *pb.RunEvent) bool { return e.Info.Step == 1 })
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}

	timing := quick
	timing.Found = time.Minute // what founds a cluster here is what members say
	second := serveTimed(t, t.TempDir(), timing)
	defer func() { _ = second.stop() }()
	for _, f := range []*fakeMember{a, b} {
		addr := second.Addr()
		f.moved.Store(&addr)
	}
	for taken := false; !taken; time.Sleep(time.Millisecond) {
		second.do(func(c *core, _ time.Time) { taken = c.find(run) != nil })
	}
	close(a.hold)
	close(b.hold)
	if info := second.end(run); info.State != pb.RunState_RUN_FINISHED || info.Step != 3 || len(info.View.Members) != 2 || info.Name != "Try me!" {
		t.Errorf("the run ended as %v", info)
	}
	if got := second.known(); got != first.cluster {
		t.Errorf("the coordinator serves cluster %s, its members are of %s", got, first.cluster)
	}
	if second.incarnation() != 2 {
		t.Errorf("incarnation %d, want one above that of the members' view", second.incarnation())
	}
}

// Without members it founds a cluster when the first node joins; until members had time to call, a run that is not there may
// yet come.
func TestCoordinatorWithoutJournalWaitsBeforeItFoundsACluster(t *testing.T) {
	timing := quick
	timing.Found = 200 * time.Millisecond
	s := serveTimed(t, t.TempDir(), timing)
	began := time.Now()
	if s.known() != "" {
		t.Error("a cluster is there before anybody is")
	}
	stream, err := s.client.Follow(t.Context(), &pb.FollowRequest{Run: "gone"})
	if err == nil {
		_, err = stream.Recv()
	}
	if time.Since(began) < timing.Found {
		wantCode(t, err, codes.Unavailable, "ask again")
	}
	reply, err := s.client.Join(t.Context(), &pb.JoinRequest{Node: &pb.NodeID{Name: "ada", Boot: 1}, Addr: "127.0.0.1:1", Protocol: pb.Protocol})
	if err != nil || reply.Cluster == "" || reply.Cluster != s.known() || time.Since(began) < timing.Found {
		t.Errorf("ada joins %v, %v after %v", reply, err, time.Since(began))
	}
}
