package control

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
)

// describer is a member that says where the coordinator is.
type describer struct {
	pb.UnimplementedPeerServer
	says *pb.Description
}

func (d describer) Describe(context.Context, *pb.DescribeRequest) (*pb.Description, error) {
	return d.says, nil
}

// describing is the address of a member that says this, until the test ends.
func describing(t *testing.T, says *pb.Description) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := cluster.NewServer()
	pb.RegisterPeerServer(server, describer{says: says})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- cluster.Serve(ctx, server, l) }()
	t.Cleanup(func() { cancel(); <-done })
	return l.Addr().String()
}

// wantTwo starts a coordinator that must find out that another one serves at addr.
func wantTwo(t *testing.T, c Config, addr string) {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "another coordinator serves this cluster, at "+addr) {
			t.Errorf("it ends with %v", err)
		}
	case <-s.settled:
		t.Error("two coordinators serve one cluster")
		cancel()
		<-ended
	}
}

// A coordinator that has neither the journal nor the address of the one before finds the cluster by one of its nodes.
func TestACoordinatorThatNobodyCallsAsksAMember(t *testing.T) {
	first := serve(t, t.TempDir())
	<-first.settled // then it gossips
	gossip := first.gossip.Addr()
	member := describing(t, &pb.Description{Cluster: first.cluster, Gossip: gossip, Coordinator: first.Addr()})
	wantTwo(t, Config{Home: t.TempDir(), Listen: "127.0.0.1:0", Timing: quick, Member: member}, first.Addr())
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	second, err := New(Config{Home: t.TempDir(), Listen: "127.0.0.1:0", Timing: quick, Member: member})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- second.Run(ctx) }()
	<-second.settled
	if got := second.known(); got != first.cluster {
		t.Errorf("it serves cluster %s, the member is of %s", got, first.cluster)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A member whose machine has vanished takes all the time that members get to answer. What another one said is followed up
// nevertheless: its coordinator answers, and there must not be two.
func TestACoordinatorThatServesIsFoundThoughAMemberIsGone(t *testing.T) {
	serving := serve(t, t.TempDir())
	b := describing(t, &pb.Description{Cluster: serving.cluster, Coordinator: serving.Addr()})
	gone, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and never says anything
	if err != nil {
		t.Fatal(err)
	}
	defer gone.Close()

	home := t.TempDir()
	j, _, err := openJournal(home, false)
	if err != nil {
		t.Fatal(err)
	}
	text, err := resolve("r", nil).JSON()
	if err != nil {
		t.Fatal(err)
	}
	v := &view.View{Run: "r", Incarnation: 1, Number: 1, Owner: []int{0, 0, 1, 1}, Ring: []int{0, 1}, Members: []view.Member{
		{Node: view.NodeID{Name: "a", Boot: 1}, Addr: gone.Addr().String()}, {Node: view.NodeID{Name: "b", Boot: 1}, Addr: b},
	}}
	err = j.append(command{Kind: founded, Cluster: serving.cluster}, command{Kind: started}, command{Kind: launched, Run: "r", Spec: text}, command{Kind: viewed, Run: "r", View: v, Step: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	wantTwo(t, Config{Home: home, Listen: "127.0.0.1:0", Timing: quick}, serving.Addr())
}
