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

// A member whose machine has vanished takes all the time that members get to answer. What another one said is followed up
// nevertheless: its coordinator answers, and there must not be two.
func TestACoordinatorThatServesIsFoundThoughAMemberIsGone(t *testing.T) {
	serving := serve(t, t.TempDir())
	b, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := cluster.NewServer()
	pb.RegisterPeerServer(server, describer{says: &pb.Description{Cluster: serving.cluster, Coordinator: serving.Addr()}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- cluster.Serve(ctx, server, b) }()
	defer func() { cancel(); <-done }()
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
		{Node: view.NodeID{Name: "a", Boot: 1}, Addr: gone.Addr().String()}, {Node: view.NodeID{Name: "b", Boot: 1}, Addr: b.Addr().String()},
	}}
	err = j.append(command{Kind: founded, Cluster: serving.cluster}, command{Kind: started}, command{Kind: launched, Run: "r", Spec: text}, command{Kind: viewed, Run: "r", View: v, Step: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	second, err := New(Config{Home: home, Listen: "127.0.0.1:0", Timing: quick})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- second.Run(ctx) }()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "another coordinator serves this cluster, at "+serving.Addr()) {
			t.Errorf("it ends with %v", err)
		}
	case <-second.serving:
		t.Error("two coordinators serve one cluster")
		cancel()
		<-ended
	}
}
