package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/view"
)

// A node says at once, and not in the middle of a run, which port of which host it cannot reach.
func TestPeersThatCannotBeReachedAreNamedOnce(t *testing.T) {
	open, closed := listen(t), listen(t)
	_, port, _ := net.SplitHostPort(closed.Addr().String())
	_ = closed.Close()
	peers := []cluster.Peer{
		{Node: view.NodeID{Name: "near"}, Role: cluster.Node, Addr: open.Addr().String()},
		{Node: view.NodeID{Name: "away"}, Role: cluster.Node, Addr: closed.Addr().String()},
		{Node: view.NodeID{Name: "goes"}, Role: cluster.Node, Addr: closed.Addr().String(), Leaving: true},
		{Node: view.NodeID{Name: "chief"}, Role: cluster.Coordinator, Addr: closed.Addr().String()},
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan error, 1) // the one result
	go func() {
		done <- reachPeers(ctx, func() []cluster.Peer { return peers }, slog.New(slog.NewTextHandler(w, nil)))
	}()
	line := make([]byte, 4096)
	n, err := r.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"away", "port " + port + " of 127.0.0.1", "nobody listens there"} {
		if !strings.Contains(string(line[:n]), want) {
			t.Errorf("log %q lacks %q", line[:n], want)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
