package control

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/internal/pb"
)

func TestDrainedMemberLeavesWhileTheRunGoesOn(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := serve(t, t.TempDir())
	defer func() { _ = s.stop() }()
	a, b := newFake(t, "a"), newFake(t, "b")
	a.hold, b.hold = make(chan struct{}), make(chan struct{})
	leaveA, leaveB := s.join(a), s.join(b)
	defer leaveA()
	defer leaveB()
	run := s.launch(resolved(t, t.TempDir()), 2).Run
	s.follow(run, func(e *pb.RunEvent) bool { return e.Info.Step == 1 })
	if _, err := s.client.Drain(t.Context(), &pb.DrainRequest{Node: "c"}); status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "coordinator nodes") {
		t.Errorf("drain of an unknown node: %v", err)
	}
	if _, err := s.client.Drain(t.Context(), &pb.DrainRequest{Node: "b"}); err != nil {
		t.Fatal(err)
	}
	select {
	case why := <-b.released:
		if why != "it wanted to leave" {
			t.Errorf("b is let go because %s", why)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("b is not let go")
	}
	close(a.hold)
	if info := s.end(run); info.State != pb.RunState_RUN_FINISHED || len(info.View.Members) != 1 || info.View.Number != 2 || info.Step != 3 {
		t.Errorf("run ended as %v", info)
	}
	s.wantLogs(run, "view 2: 1 member: a; leaves: b")
	next := s.launch(resolved(t, t.TempDir()), 1).Run
	if info := s.end(next); len(info.View.Members) != 1 || info.View.Members[0].Node.Name != "a" {
		t.Errorf("the next run has the members %v: who leaves gets no work", info.View.Members)
	}
}

// A node that calls again before the coordinator noticed that its session broke: the new session takes the place of the old,
// and the run goes on in the same view.
func TestMembersNewSessionTakesThePlaceOfTheOld(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := serve(t, t.TempDir())
	defer func() { _ = s.stop() }()
	beat := &pb.Beat{Node: &pb.NodeID{Name: "a", Boot: 1}, Addr: "127.0.0.1:1", Class: "cpu-1", Protocol: pb.Protocol}
	attend := func() pb.Control_AttendClient {
		t.Helper()
		stream, err := s.client.Attend(t.Context())
		if err == nil {
			err = stream.Send(beat)
		}
		if err != nil {
			t.Fatal(err)
		}
		return stream
	}
	send := func(stream pb.Control_AttendClient, change func()) {
		t.Helper()
		change()
		if err := stream.Send(beat); err != nil {
			t.Fatal(err)
		}
	}
	first := attend()
	run := s.launch(resolved(t, t.TempDir()), 1).Run
	if o, err := first.Recv(); err != nil || o.GetAssign().GetRun() != run {
		t.Fatalf("first order is %v, %v", o, err)
	}
	send(first, func() { beat.Run, beat.Phase = run, pb.Phase_PHASE_READY })
	o, err := first.Recv()
	if err != nil || o.GetView().GetNumber() != 1 {
		t.Fatalf("second order is %v, %v", o, err)
	}
	send(first, func() {
		beat.Phase, beat.ViewNumber, beat.Step, beat.Totals = pb.Phase_PHASE_TRAINING, 1, 1, &pb.Totals{Step: 1}
	})
	s.follow(run, func(e *pb.RunEvent) bool { return e.Info.Step == 1 })

	second := attend()
	if o, err := first.Recv(); status.Code(err) != codes.Aborted {
		t.Errorf("the first session hears %v, %v", o, err)
	}
	if again, err := second.Recv(); err != nil || again.GetView().GetNumber() != 1 || again.GetView().GetNow() {
		t.Errorf("the second session hears %v, %v, want the view once more", again, err)
	}
	send(second, func() { beat.Step, beat.Totals = 2, &pb.Totals{Step: 2} })
	events := s.follow(run, func(e *pb.RunEvent) bool { return e.Info.Step == 2 })
	if i := events[len(events)-1].Info; i.View.Number != 1 || i.State != pb.RunState_RUN_TRAINING {
		t.Errorf("run is %v", i)
	}
	if err := second.CloseSend(); err != nil {
		t.Error(err)
	}
}

// The coordinator ends and another begins in the same directory and at another address, while members train. They come back,
// nobody is lost, and the run ends well.
func TestRunOutlivesItsCoordinator(t *testing.T) {
	defer goleak.VerifyNone(t)
	home := t.TempDir()
	s := serve(t, home)
	a, b := newFake(t, "a"), newFake(t, "b")
	a.hold, b.hold = make(chan struct{}), make(chan struct{})
	leaveA, leaveB := s.join(a), s.join(b)
	defer leaveA()
	defer leaveB()
	run := s.launch(resolved(t, t.TempDir()), 2).Run
	s.follow(run, func(e *pb.RunEvent) bool { return e.Info.Step == 1 })
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	close(b.hold) // goes on meanwhile, to the end

	s = serve(t, home)
	defer func() { _ = s.stop() }()
	addr := s.Addr()
	b.moved.Store(&addr)
	events := s.follow(run, func(e *pb.RunEvent) bool { return e.Info.Step == 3 })
	if i := events[len(events)-1].Info; i.State != pb.RunState_RUN_TRAINING {
		t.Errorf("run is %v: %s, want it to wait for a", i.State, i.Why)
	}
	close(a.hold)
	a.moved.Store(&addr)
	info := s.end(run)
	if info.State != pb.RunState_RUN_FINISHED || info.Step != 3 || info.View.Number != 1 || len(info.View.Members) != 2 {
		t.Errorf("run ended as %v", info)
	}
	s.wantLogs(run, "view 1: 2 members", "digest ", "finished")
	reply, err := s.client.Audit(t.Context(), &pb.AuditRequest{Run: run})
	if err != nil || len(reply.Views) != 1 || reply.Views[0].First != 1 || reply.Views[0].Last != 3 {
		t.Errorf("audit lists %v, %v", reply, err)
	}
}
