package control

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/spec"
)

// quick is a Timing for tests over loopback; silence is long, because a test machine may be slow.
var quick = Timing{Settle: 10 * time.Millisecond, Patience: time.Second, Grace: 300 * time.Millisecond, Verdict: 500 * time.Millisecond, Silence: time.Minute, Entry: time.Minute}

// stage is a coordinator that serves, with a client.
type stage struct {
	*Server
	t      *testing.T
	client pb.ControlClient
	stop   func() error // ends the coordinator and returns what Run returned
}

// serve starts a coordinator in home. The test ends it, at the latest at its end.
func serve(t *testing.T, home string) *stage {
	t.Helper()
	return serveTimed(t, home, quick)
}

func serveTimed(t *testing.T, home string, timing Timing) *stage {
	t.Helper()
	s, err := New(Config{Home: home, Listen: "127.0.0.1:0", Version: "test", Timing: timing})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	conn, err := cluster.Dial(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	var result error
	ended := false
	stop := func() error {
		if !ended {
			ended = true
			cancel()
			result = errors.Join(<-done, conn.Close())
		}
		return result
	}
	t.Cleanup(func() { _ = stop() })
	return &stage{s, t, pb.NewControlClient(conn), stop}
}

// join lets a member attend until the returned function is called, or the test ends.
func (s *stage) join(f *fakeMember) (leave func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func() { done <- f.run(ctx, s.Addr()) }()
	left := false
	leave = func() {
		if !left {
			left = true
			cancel()
			<-done // an error is normal when the coordinator goes first
		}
	}
	s.t.Cleanup(leave)
	return leave
}

// resolved is a spec of three steps, with its files in dir.
func resolved(t *testing.T, dir string) *spec.Resolved {
	t.Helper()
	s := spec.Default("full")
	r := &spec.Resolved{Spec: s, Samples: 10}
	r.Name, r.Model, r.Data.Train, r.Steps = "Try me!", "base", []string{"t"}, 3
	for role, text := range map[string]string{"model/config.json": "{}", "train/0": strings.Repeat("data", 300_000)} {
		path := filepath.Join(dir, filepath.Base(role))
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		r.Files = append(r.Files, spec.File{SHA256: sha256.Sum256([]byte(text)), Size: int64(len(text)), Path: path, Role: role})
	}
	return r
}

func (s *stage) launch(r *spec.Resolved, expect int) *pb.LaunchReply {
	s.t.Helper()
	text, err := r.JSON()
	if err != nil {
		s.t.Fatal(err)
	}
	reply, err := s.client.Launch(s.t.Context(), &pb.LaunchRequest{Spec: text, ExpectMembers: int32(expect)})
	if err != nil {
		s.t.Fatal(err)
	}
	return reply
}

// follow waits for the end of a run, or until until says so, and returns all events.
func (s *stage) follow(run string, until func(*pb.RunEvent) bool) []*pb.RunEvent {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	stream, err := s.client.Follow(ctx, &pb.FollowRequest{Run: run})
	if err != nil {
		s.t.Fatal(err)
	}
	var all []*pb.RunEvent
	for {
		e, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			s.t.Fatalf("follow: %v after %v", err, all)
		}
		all = append(all, e)
		if until != nil && until(e) {
			return all
		}
	}
}

func (s *stage) end(run string) *pb.RunInfo {
	s.t.Helper()
	all := s.follow(run, nil)
	return all[len(all)-1].Info
}

func read(t *testing.T, recv func() (*pb.Chunk, error)) ([]byte, error) {
	t.Helper()
	return io.ReadAll(pb.ReadChunks(recv))
}

func TestRunFromLaunchToResult(t *testing.T) {
	defer goleak.VerifyNone(t)
	home, far := t.TempDir(), t.TempDir()
	s := serve(t, home)
	defer func() { _ = s.stop() }()
	r := resolved(t, far)
	for i := range r.Files {
		r.Files[i].Path = "/nowhere/" + r.Files[i].Role // as from another machine
	}
	launched := s.launch(r, 2)
	if !strings.HasPrefix(launched.Run, "try-me-") || len(launched.Missing) != 2 {
		t.Fatalf("launched %v, want a run try-me-… that lacks two files", launched)
	}
	for _, sum := range launched.Missing {
		if err := s.offer(sum, far, r); err != nil {
			t.Fatal(err)
		}
	}
	a, b := newFake(t, "a"), newFake(t, "b")
	leaveA, leaveB := s.join(a), s.join(b)
	defer leaveA()
	defer leaveB()
	events := s.follow(launched.Run, nil)
	info := events[len(events)-1].Info
	digest := sha256.Sum256([]byte("the last State"))
	if info.State != pb.RunState_RUN_FINISHED || info.Step != 3 || info.LossFirst != 1 || info.LossLast != 1./3 || info.Trained != 1234 ||
		info.BytesSentPerMember != 3000 || len(info.View.Members) != 2 || !bytes.Equal(info.Digest, digest[:]) || int(info.TokensPerSecond+.5) != 1000 {
		t.Errorf("run ended as %v", info)
	}

	// What the run leaves behind.
	dir := filepath.Join(home, "runs", launched.Run)
	if got, err := os.ReadFile(filepath.Join(dir, "state")); err != nil || string(got) != a.state {
		t.Errorf("state is %q, %v", got, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "spec.json"))
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := spec.FromJSON(text); err != nil || kept.Class != "cpu-1" || kept.Samples != 10 {
		t.Errorf("spec.json is %v, %v", kept, err)
	}
	var result Result
	if text, err = os.ReadFile(filepath.Join(dir, "result.json")); err != nil || json.Unmarshal(text, &result) != nil ||
		result.State != "finished" || result.Digest != fmt.Sprintf("%x", digest) || result.Members != 2 {
		t.Errorf("result.json is %s, %v", text, err)
	}
	stream, err := s.client.State(t.Context(), &pb.StateRequest{Run: launched.Run})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, stream.Recv); err != nil || string(got) != a.state {
		t.Errorf("State sends %q, %v", got, err)
	}
	s.wantLogs(launched.Run, "node a prepares", "view 1: 2 members with 32 lanes: a, b", "entered view", "finished")

	// The nodes are free again.
	again := s.launch(resolved(t, far), 2)
	if len(again.Missing) != 0 {
		t.Errorf("%d files are missing that the coordinator can read itself", len(again.Missing))
	}
	if info := s.end(again.Run); info.State != pb.RunState_RUN_FINISHED {
		t.Errorf("second run ended as %v", info)
	}

	// A coordinator that starts again knows them.
	runs, err := s.client.Runs(t.Context(), &pb.RunsRequest{})
	if err != nil || len(runs.Runs) != 2 || runs.Runs[0].Run != again.Run {
		t.Fatalf("Runs = %v, %v, want two, the newest first", runs, err)
	}
	leaveA()
	leaveB()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	s = serve(t, home)
	defer func() { _ = s.stop() }()
	after, err := s.client.Runs(t.Context(), &pb.RunsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(runs, after, protocmp.Transform(), protocmp.IgnoreFields(&pb.MemberInfo{}, "beat_age_seconds")); d != "" {
		t.Errorf("runs after a restart: -before +after\n%s", d)
	}
	s.wantLogs(launched.Run, "entered view", "finished")
}

func (s *stage) offer(sum []byte, dir string, r *spec.Resolved) error {
	for _, f := range r.Files {
		if !bytes.Equal(f.SHA256[:], sum) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, filepath.Base(f.Role)))
		if err != nil {
			return err
		}
		return s.send(sum, data)
	}
	return fmt.Errorf("no file has hash %x", sum)
}

func (s *stage) send(sum, data []byte) error {
	stream, err := s.client.Offer(s.t.Context())
	if err != nil {
		return err
	}
	first := min(len(data), 1000)
	if err := stream.Send(&pb.Chunk{Sha256: sum, Size: int64(len(data)), Data: data[:first]}); err == nil {
		err = stream.Send(&pb.Chunk{Data: data[first:]})
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	_, err = stream.CloseAndRecv()
	return err
}

func (s *stage) wantLogs(run string, want ...string) {
	s.t.Helper()
	stream, err := s.client.Logs(s.t.Context(), &pb.LogsRequest{Run: run, Follow: true})
	if err != nil {
		s.t.Fatal(err)
	}
	text := ""
	for {
		l, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			s.t.Fatal(err)
		}
		text += l.Node + ": " + l.Text + "\n"
	}
	for _, w := range want {
		if strings.Count(text, ": "+w) < 1 {
			s.t.Errorf("logs of %s do not say %q:\n%s", run, w, text)
		}
	}
}

// The run goes on without a member that is lost; the view says whom and why.
func TestRunGoesOnWithoutALostMember(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := serve(t, t.TempDir())
	defer func() { _ = s.stop() }()
	a, b := newFake(t, "a"), newFake(t, "b")
	a.hold, b.hold = make(chan struct{}), make(chan struct{})
	leaveA, leaveB := s.join(a), s.join(b)
	defer leaveA()
	run := s.launch(resolved(t, t.TempDir()), 2).Run
	s.follow(run, func(e *pb.RunEvent) bool { return e.Info.Step == 1 })
	leaveB()
	s.follow(run, func(e *pb.RunEvent) bool { return e.Info.View.Number == 2 })
	close(a.hold)
	info := s.end(run)
	if info.State != pb.RunState_RUN_FINISHED || len(info.View.Members) != 1 || info.Step != 3 {
		t.Errorf("run ended as %v: %s", info.State, info.Why)
	}
	s.wantLogs(run, "view 2: 1 member: a; lost member b: its session broke")

	reply, err := s.client.Audit(t.Context(), &pb.AuditRequest{Run: run})
	if err != nil {
		t.Fatal(err)
	}
	if len(reply.Views) != 2 || reply.Views[0].First != 1 || reply.Views[0].Last != 1 || reply.Views[1].First != 2 || reply.Views[1].Last != 3 {
		t.Errorf("audit lists %v", reply.Views)
	}
}

func TestStoppedRunKeepsItsState(t *testing.T) {
	s := serve(t, t.TempDir())
	a := newFake(t, "a")
	a.hold = make(chan struct{})
	s.join(a)
	run := s.launch(resolved(t, t.TempDir()), 1).Run
	s.follow(run, func(e *pb.RunEvent) bool { return e.Info.Step == 1 })
	early, err := s.client.State(t.Context(), &pb.StateRequest{Run: run})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := early.Recv(); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("State of a run at work: %v", err)
	}
	if _, err := s.client.Stop(t.Context(), &pb.StopRequest{Run: run}); err != nil {
		t.Fatal(err)
	}
	if info := s.end(run); info.State != pb.RunState_RUN_STOPPED || info.Step != 2 || info.Why != "after step 2 of 3" {
		t.Errorf("run ended as %v", info)
	}
	if _, err := os.Stat(filepath.Join(s.runDir(run), "state")); err != nil {
		t.Error(err)
	}
	if _, err := s.client.Stop(t.Context(), &pb.StopRequest{Run: run}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("second stop: %v", err)
	}
	s.do(func(c *core, now time.Time) { c.find(run).reopen(now) })
	early, err = s.client.State(t.Context(), &pb.StateRequest{Run: run})
	if err == nil {
		_, err = early.Recv()
	}
	wantCode(t, err, codes.FailedPrecondition, "is queued and has no last State") // that of the first end is not its last one
}

// A State whose hash is not the digest is not kept; another member may have the right one.
func TestOnlyStateWithTheDigestIsKept(t *testing.T) {
	s := serve(t, t.TempDir())
	a, b := newFake(t, "a"), newFake(t, "b")
	a.sends = "something else"
	s.join(a)
	s.join(b)
	run := s.launch(resolved(t, t.TempDir()), 2).Run
	if info := s.end(run); info.State != pb.RunState_RUN_FINISHED {
		t.Errorf("run ended as %v: %s", info.State, info.Why)
	}
	b.sends = "nor this"
	run = s.launch(resolved(t, t.TempDir()), 2).Run
	info := s.end(run)
	if info.State != pb.RunState_RUN_FAILED || !strings.Contains(info.Why, "fetch it from a: ") || !strings.Contains(info.Why, "fetch it from b: ") {
		t.Errorf("run ended as %v: %s", info.State, info.Why)
	}
	left, err := filepath.Glob(filepath.Join(s.runDir(run), "*state*"))
	if hidden, _ := filepath.Glob(filepath.Join(s.runDir(run), ".*state*")); err != nil || len(left)+len(hidden) != 0 {
		t.Errorf("left behind: %v %v", left, hidden)
	}
}

// Something in the way of the file stands for a full disk.
func TestStateThatCannotBeWrittenIsKeptOnceItCan(t *testing.T) {
	s := serve(t, t.TempDir())
	a := newFake(t, "a")
	a.hold = make(chan struct{})
	s.join(a)
	run := s.launch(resolved(t, t.TempDir()), 1).Run
	s.follow(run, func(e *pb.RunEvent) bool { return e.Info.Step == 1 })
	path := filepath.Join(s.runDir(run), "state")
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o755); err != nil {
		t.Fatal(err)
	}
	close(a.hold)
	want := "cannot keep State: "
	events := s.follow(run, func(e *pb.RunEvent) bool { return strings.HasPrefix(e.Info.Why, want) })
	if i := events[len(events)-1].Info; i.State != pb.RunState_RUN_FINISHING || !strings.Contains(i.Why, s.cfg.Home) {
		t.Fatalf("run is %v: %s, want it to finish later and to name %s", i.State, i.Why, s.cfg.Home)
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if info := s.end(run); info.State != pb.RunState_RUN_FINISHED {
		t.Errorf("run ended as %v: %s", info.State, info.Why)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != a.state {
		t.Errorf("state is %q, %v", got, err)
	}
}

func TestSecondCoordinatorIsRefused(t *testing.T) {
	home := t.TempDir()
	s := serve(t, home)
	if _, err := New(Config{Home: home, Listen: "127.0.0.1:0"}); err == nil || !strings.Contains(err.Error(), "another coordinator uses this directory") {
		t.Errorf("a second coordinator on one home: %v", err)
	}
	other := t.TempDir()
	if _, err := New(Config{Home: other, Listen: s.Addr()}); err == nil || !strings.Contains(err.Error(), "choose another port with --listen") {
		t.Errorf("a second coordinator on one port: %v", err)
	}
	if again, err := New(Config{Home: other, Listen: "127.0.0.1:0"}); err != nil {
		t.Errorf("the refused coordinator kept its directory locked: %v", err)
	} else {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := again.Run(ctx); err != nil {
			t.Error(err)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("a coordinator without a home")
	}
}

// protocol.md I7, with everybody still there.
func TestRunReturnsAfterEverythingEnded(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := serve(t, t.TempDir())
	a := newFake(t, "a")
	a.hold = make(chan struct{})
	leave := s.join(a)
	defer leave()
	run := s.launch(resolved(t, t.TempDir()), 1).Run
	s.follow(run, func(e *pb.RunEvent) bool { return e.Info.Step == 1 })
	stream, err := s.client.Follow(t.Context(), &pb.FollowRequest{Run: run})
	if err != nil {
		t.Fatal(err)
	}
	logs, err := s.client.Logs(t.Context(), &pb.LogsRequest{Run: run, Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	for err = nil; err == nil; {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unavailable && status.Code(err) != codes.Canceled {
		t.Errorf("who follows hears %v", err)
	}
	for err = nil; err == nil; {
		_, err = logs.Recv()
	}
}

// Nobody is told of what the journal does not have.
func TestWhatIsNotInTheJournalIsNotAnswered(t *testing.T) {
	s := serve(t, t.TempDir())
	run := s.launch(resolved(t, t.TempDir()), 1).Run
	if err := s.journal.close(); err != nil {
		t.Fatal(err)
	}
	if reply, err := s.client.Stop(t.Context(), &pb.StopRequest{Run: run}); err == nil {
		t.Errorf("without a journal the run is %v", reply.Run.State)
	}
	if err := s.stop(); err == nil || !strings.Contains(err.Error(), "write journal") {
		t.Errorf("Run = %v, want the journal's error", err)
	}
}

func TestJournalThatCannotBeWrittenEndsTheCoordinator(t *testing.T) {
	home := t.TempDir()
	s, err := New(Config{Home: home, Listen: "127.0.0.1:0", Timing: quick})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(t.Context()) }()
	conn, err := cluster.Dial(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := s.journal.close(); err != nil {
		t.Fatal(err)
	}
	text, err := resolved(t, t.TempDir()).JSON()
	if err != nil {
		t.Fatal(err)
	}
	if reply, err := pb.NewControlClient(conn).Launch(t.Context(), &pb.LaunchRequest{Spec: text}); err == nil {
		t.Errorf("launched %v without a journal", reply)
	}
	if err := <-done; err == nil || !strings.Contains(err.Error(), "write journal") {
		t.Errorf("Run = %v, want the journal's error", err)
	}
}
