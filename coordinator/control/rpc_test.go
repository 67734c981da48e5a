package control

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/spec"
)

func wantCode(t *testing.T, err error, code codes.Code, text string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(status.Convert(err).Message(), text) {
		t.Errorf("got %v, want %v with %q", err, code, text)
	}
}

func TestJoinTellsWhereToGo(t *testing.T) {
	s := serve(t, t.TempDir())
	reply, err := s.client.Join(t.Context(), &pb.JoinRequest{Node: &pb.NodeID{Name: "a", Boot: 1}, Protocol: pb.Protocol, Addr: "127.0.0.1:1"})
	if err != nil || reply.Coordinator != s.Addr() || len(reply.GossipSeeds) != 1 || len(reply.Cluster) != 16 {
		t.Errorf("Join = %v, %v", reply, err)
	}
	_, err = s.client.Join(t.Context(), &pb.JoinRequest{Node: &pb.NodeID{Name: "a b", Boot: 1}, Protocol: pb.Protocol, Addr: "127.0.0.1:1"})
	wantCode(t, err, codes.PermissionDenied, `node name "a b"`)
	_, err = s.client.Join(t.Context(), &pb.JoinRequest{Node: &pb.NodeID{Name: "a", Boot: 1}, Protocol: pb.Protocol, Addr: "nowhere"})
	wantCode(t, err, codes.InvalidArgument, "host:port")
	labels := map[string]string{}
	for i := range maxLabels + 1 {
		labels[fmt.Sprint(i)] = "x"
	}
	_, err = s.client.Join(t.Context(), &pb.JoinRequest{Node: &pb.NodeID{Name: "a", Boot: 1}, Protocol: pb.Protocol, Addr: "127.0.0.1:1", Labels: labels})
	wantCode(t, err, codes.InvalidArgument, "node has 17 labels: use at most 16")
}

// A node that has joined may be started again with another release, or the coordinator: so both calls compare.
func TestANodeOfAnotherProtocolIsRefused(t *testing.T) {
	s := serve(t, t.TempDir())
	node := &pb.NodeID{Name: "a", Boot: 1}
	const want = "this node (release v9) speaks protocol 9, the coordinator (release test) 1: install the same release on all machines"
	_, err := s.client.Join(t.Context(), &pb.JoinRequest{Node: node, Addr: "127.0.0.1:1", Version: "v9", Protocol: 9})
	wantCode(t, err, codes.PermissionDenied, want)
	for _, c := range []struct {
		beat *pb.Beat
		code codes.Code
		want string
	}{
		{&pb.Beat{Version: "v9", Protocol: 9}, codes.PermissionDenied, want},
		{&pb.Beat{}, codes.PermissionDenied, "this node (release unknown) speaks protocol 0"}, // from before it was told
		{&pb.Beat{Version: strings.Repeat("x", maxVersionBytes+1)}, codes.InvalidArgument, "version has 129 bytes"},
	} {
		stream, err := s.client.Attend(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c.beat.Node, c.beat.Addr = node, "127.0.0.1:1"
		if err := stream.Send(c.beat); err != nil {
			t.Fatal(err)
		}
		_, err = stream.Recv()
		wantCode(t, err, c.code, c.want)
	}
	if reply, err := s.client.Status(t.Context(), &pb.StatusRequest{}); err != nil || len(reply.Nodes) != 0 {
		t.Errorf("Status = %v, %v: want nobody", reply, err)
	}
}

func TestTwoNodesWithOneNameAreRefused(t *testing.T) {
	s := serve(t, t.TempDir())
	s.join(newFake(t, "a"))
	run := s.launch(resolved(t, t.TempDir()), 1).Run
	s.end(run) // a attends
	_, err := s.client.Join(t.Context(), &pb.JoinRequest{Node: &pb.NodeID{Name: "a", Boot: 2}, Protocol: pb.Protocol, Addr: "127.0.0.1:1"})
	wantCode(t, err, codes.PermissionDenied, "a node named a attends already")
	stream, err := s.client.Attend(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&pb.Beat{Node: &pb.NodeID{Name: "a", Boot: 2}, Addr: "127.0.0.1:1", Protocol: pb.Protocol}); err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	wantCode(t, err, codes.PermissionDenied, "choose another --name")
	reply, err := s.client.Status(t.Context(), &pb.StatusRequest{Run: run})
	if err != nil || len(reply.Nodes) != 1 || reply.Nodes[0].Node.Boot != 1 || reply.Run.Run != run || reply.Version != "test" {
		t.Errorf("Status = %v, %v", reply, err)
	}
}

func TestLaunchRefusesWhatCannotRun(t *testing.T) {
	s := serve(t, t.TempDir())
	_, err := s.client.Launch(t.Context(), &pb.LaunchRequest{Spec: []byte("{}")})
	wantCode(t, err, codes.InvalidArgument, "model is not given")
	r := resolved(t, t.TempDir())
	r.Members.Max = 2
	text, err := r.JSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, expect := range []int32{-1, 3, 33} {
		_, err = s.client.Launch(t.Context(), &pb.LaunchRequest{Spec: text, ExpectMembers: expect})
		wantCode(t, err, codes.InvalidArgument, "members are expected")
	}
	for _, call := range []func() error{
		func() error { _, err := s.client.Stop(t.Context(), &pb.StopRequest{Run: "x"}); return err },
		func() error { _, err := s.client.Status(t.Context(), &pb.StatusRequest{Run: "x"}); return err },
		func() error {
			st, _ := s.client.Follow(t.Context(), &pb.FollowRequest{Run: "x"})
			_, err := st.Recv()
			return err
		},
		func() error {
			st, _ := s.client.Logs(t.Context(), &pb.LogsRequest{Run: "x"})
			_, err := st.Recv()
			return err
		},
		func() error {
			st, _ := s.client.State(t.Context(), &pb.StateRequest{Run: "../x"})
			_, err := st.Recv()
			return err
		},
	} {
		wantCode(t, call(), codes.NotFound, "no run is named")
	}
}

func TestOnlyFilesThatAreWantedAreTaken(t *testing.T) {
	s := serve(t, t.TempDir())
	r := resolved(t, t.TempDir())
	data := bytes.Repeat([]byte("data"), 300_000)
	sum := sha256.Sum256(data)
	wantCode(t, s.send(sum[:], data), codes.FailedPrecondition, "no run waits for file")
	wantCode(t, s.send([]byte("short"), data), codes.InvalidArgument, "hash has 5 bytes")
	for i := range r.Files {
		r.Files[i].Path = ""
	}
	run := s.launch(r, 1).Run
	wantCode(t, s.send(sum[:], data[1:]), codes.Aborted, "other content")
	wantCode(t, s.send(sum[:], append([]byte("x"), data[1:]...)), codes.Aborted, "other content")
	wantCode(t, s.send(sum[:], append(data, 'x')), codes.Aborted, "other content")
	if left, _ := filepath.Glob(filepath.Join(s.store.Dir, "*", "*")); len(left) != 0 {
		t.Errorf("refused files left %v", left)
	}
	if err := s.send(sum[:], data); err != nil {
		t.Error(err)
	}
	stream, err := s.client.Fetch(t.Context(), &pb.FetchRequest{Sha256: sum[:]})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, stream.Recv); err != nil || !bytes.Equal(got, data) {
		t.Errorf("Fetch sends %d bytes, %v", len(got), err)
	}
	events, err := s.client.Follow(t.Context(), &pb.FollowRequest{Run: run})
	if err != nil {
		t.Fatal(err)
	}
	for why := ""; why != "waits for 1 file from launch"; { // it is decided at the next tick
		e, err := events.Recv()
		if err != nil {
			t.Fatalf("the run last said %q: %v", why, err)
		}
		why = e.Info.Why
	}
}

// A file of the store that has changed on disk is never taken for what it was.
func TestRottenFileIsNotServed(t *testing.T) {
	s := serve(t, t.TempDir())
	r := resolved(t, t.TempDir())
	s.launch(r, 1)
	f := r.Files[0]
	path := s.store.Path(f.SHA256[:])
	if err := os.WriteFile(path, []byte("rotten"), 0o644); err != nil {
		t.Fatal(err)
	}
	fetch := func(sum []byte) error {
		stream, err := s.client.Fetch(t.Context(), &pb.FetchRequest{Sha256: sum})
		if err != nil {
			t.Fatal(err)
		}
		_, err = read(t, stream.Recv)
		return err
	}
	wantCode(t, fetch(f.SHA256[:]), codes.DataLoss, "has changed on the coordinator's disk")
	wantCode(t, fetch(f.SHA256[:]), codes.NotFound, "has no file")
	wantCode(t, fetch(nil), codes.InvalidArgument, "hash has 0 bytes")
	if err := os.WriteFile(f.Path, []byte("rotten"), 0o644); err != nil { // it was linked to the store's
		t.Fatal(err)
	}
	if missing := s.launch(r, 1).Missing; len(missing) != 1 || spec.Sum(missing[0]) != f.SHA256 {
		t.Errorf("missing after the file rotted: %x", missing)
	}
}

func TestRunIDsAreSafeNames(t *testing.T) {
	for name, prefix := range map[string]string{"": "run-", "Arithmetic 3B": "arithmetic-3b-", "../../etc": "etc-", "日本": "run-", strings.Repeat("x", 99): strings.Repeat("x", 40) + "-"} {
		id := runID(name)
		if !strings.HasPrefix(id, prefix) || len(id) != len(prefix)+5 || id != filepath.Base(id) {
			t.Errorf("runID(%q) = %q, want %s and five letters", name, id, prefix)
		}
	}
}
