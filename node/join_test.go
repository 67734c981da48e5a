package main

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/pb"
)

// elder is a coordinator of another release.
type elder struct{ pb.UnimplementedControlServer }

func (elder) Join(context.Context, *pb.JoinRequest) (*pb.JoinReply, error) {
	return &pb.JoinReply{Cluster: "c", Version: "v0", Protocol: pb.Protocol + 1}, nil
}

func TestACoordinatorOfAnotherProtocolIsRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := cluster.NewServer()
	pb.RegisterControlServer(server, elder{})
	go func() { _ = server.Serve(l) }()
	defer server.Stop()
	m := &membership{} // --insecure
	_, err = m.admit(t.Context(), l.Addr().String(), time.Minute, &pb.JoinRequest{Version: "v1", Protocol: pb.Protocol})
	if config.ExitCode(err) != config.ExitRefused || !strings.Contains(err.Error(), "the coordinator (release v0) 2: install the same release") {
		t.Errorf("joined a coordinator of another protocol: %v", err)
	}
}
