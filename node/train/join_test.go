package train

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
)

// stander is a member that has a State: copies of it by step.
type stander struct {
	pb.UnimplementedPeerServer
	copies map[uint64]string
	ahead  uint32 // of all of them
	mute   bool   // it never answers
}

func (s *stander) Copy(ctx context.Context, req *pb.CopyRequest) (*pb.StateCopy, error) {
	if s.mute {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	var first uint64
	for step := range s.copies {
		if step >= req.Step && (first == 0 || step < first) {
			first = step
		}
	}
	if first == 0 {
		return nil, status.Error(codes.FailedPrecondition, "no State")
	}
	sum := sha256.Sum256([]byte(s.copies[first]))
	return &pb.StateCopy{Step: first, Size: int64(len(s.copies[first])), Sha256: sum[:], Ahead: s.ahead}, nil
}

func (s *stander) State(req *pb.StateRequest, stream grpc.ServerStreamingServer[pb.Chunk]) error {
	return pb.SendChunks(strings.NewReader(s.copies[req.Step][req.Offset:][:req.Length]), nil, req.Length, stream.Send)
}

// joiner is the work of a member whose peers are all, by name.
func joiner(t *testing.T, all ...*stander) *work {
	t.Helper()
	listeners := map[string]*bufconn.Listener{}
	order := &pb.Assignment{Run: "run", Join: true}
	for i, s := range all {
		name := "passthrough:///" + string(rune('a'+i))
		listener, server := bufconn.Listen(1<<16), grpc.NewServer()
		pb.RegisterPeerServer(server, s)
		served := make(chan struct{})
		go func() { defer close(served); _ = server.Serve(listener) }()
		t.Cleanup(func() { server.Stop(); <-served })
		listeners[name] = listener
		order.Peers = append(order.Peers, name)
	}
	m := NewMember(Config{
		Log: slog.New(slog.DiscardHandler),
		Dial: func(addr string) (*grpc.ClientConn, error) {
			return grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listeners[addr].DialContext(ctx) }))
		},
	})
	return newWork(t.Context(), m, order)
}

// A joiner takes the State that most members have, whichever answers first, and none where as many have another.
func TestJoinersTakeTheStateMostMembersHave(t *testing.T) {
	has := func(step uint64, state string) *stander { return &stander{copies: map[uint64]string{step: state}} }
	none := &stander{}
	for name, c := range map[string]struct {
		members []*stander
		want    string // STATE after step N; or what the error says
	}{
		"one member":                  {[]*stander{has(4, "right")}, "right after step 4"},
		"all alike":                   {[]*stander{has(4, "right"), has(4, "right")}, "right after step 4"},
		"the first has another":       {[]*stander{has(4, "wrong"), has(4, "right"), has(4, "right")}, "right after step 4"},
		"the last has another":        {[]*stander{has(4, "right"), has(4, "right"), has(4, "wrong")}, "right after step 4"},
		"others have none":            {[]*stander{none, has(4, "right"), none}, "right after step 4"},
		"nobody has one":              {[]*stander{none, none}, "no member has a State to give"},
		"one against one":             {[]*stander{has(4, "right"), has(4, "wrong")}, "no majority tells who is right"},
		"two against two":             {[]*stander{has(4, "right"), has(4, "wrong"), has(4, "right"), has(4, "wrong")}, "no majority tells who is right"},
		"one has an earlier one left": {[]*stander{{copies: map[uint64]string{2: "old", 4: "right"}}, has(4, "wrong"), has(4, "right")}, "right after step 4"},
		"one is behind":               {[]*stander{has(3, "old"), has(4, "right")}, "right after step 4"},
		"one against one, one behind": {[]*stander{has(3, "old"), has(4, "right"), has(4, "wrong")}, "no majority tells who is right"},
		"one has chosen sets":         {[]*stander{has(4, "right"), {copies: map[uint64]string{4: "sets"}, ahead: 1}}, "sets after step 4"},
		"most have not":               {[]*stander{has(4, "right"), {copies: map[uint64]string{4: "sets"}, ahead: 1}, has(4, "right")}, "right after step 4"},
	} {
		t.Run(name, func(t *testing.T) {
			for range 3 { // whoever answers first
				got, data, err := joiner(t, c.members...).fetchState(t.Context())
				text := fmt.Sprint(err)
				if err == nil {
					text = fmt.Sprintf("%s after step %d", data, got.Step)
				}
				if !strings.Contains(text, c.want) {
					t.Errorf("got %s, want %s", text, c.want)
				}
				if tie := strings.Contains(c.want, "majority"); tie != errors.Is(err, ErrTie) {
					t.Errorf("got %v, want ErrTie: %v", err, tie)
				}
			}
		})
	}
}

// A State of several stripes comes from all that have it, and from the others where one stops to give.
func TestJoinersReadStripesFromAllThatHaveTheState(t *testing.T) {
	state := string(bytes.Repeat([]byte("0123456789abcde"), stripe/5))
	three := &stander{copies: map[uint64]string{7: state}}
	w := joiner(t, three, three, &stander{copies: map[uint64]string{7: strings.Repeat("wrong", 3*stripe/5)}})
	got, data, err := w.fetchState(t.Context())
	if err != nil || string(data) != state || got.Step != 7 {
		t.Errorf("got %d bytes after step %d, %v; want the %d that two of three members have", len(data), got.GetStep(), err, len(state))
	}
}

// Who does not answer is not awaited once another has, longer than copyPatience.
func TestJoinersDoNotWaitForSilentMembers(t *testing.T) {
	w := joiner(t, &stander{mute: true}, &stander{copies: map[uint64]string{4: "right"}}, &stander{mute: true})
	if _, data, err := w.fetchState(t.Context()); err != nil || string(data) != "right" {
		t.Errorf("got %q, %v, want the State of the one that answers", data, err)
	}
}

// A node that was started again takes the address of its former self, which is still in the view: it does not ask itself.
func TestANodeIsNoPeerOfItself(t *testing.T) {
	m := NewMember(Config{Node: view.NodeID{Name: "a", Boot: 2}, Addr: "a:1", Log: slog.New(slog.DiscardHandler)})
	w := newWork(t.Context(), m, &pb.Assignment{Run: "run", Peers: []string{"a:1", "b:1", "c:1"}})
	w.view = &view.View{Members: []view.Member{{Node: view.NodeID{Name: "a", Boot: 1}, Addr: "a:1"}, {Node: view.NodeID{Name: "b"}, Addr: "b:1"}}}
	if got := fmt.Sprint(w.peers()); got != "[b:1 c:1]" {
		t.Errorf("peers are %s, want b and c", got)
	}
}
