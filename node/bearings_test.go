package main

import (
	"context"
	"log/slog"
	"testing"

	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/view"
)

// A coordinator that was replaced while its machine slept comes back to the gossip: nodes do not go back to it. When the one
// that replaced it is gone, they have it again.
func TestNodesFollowTheCoordinatorThatWasStartedLast(t *testing.T) {
	coordinator := func(incarnation uint64, addr string) cluster.Peer {
		return cluster.Peer{Node: view.NodeID{Name: "coordinator", Boot: incarnation}, Role: cluster.Coordinator, Addr: addr}
	}
	node := cluster.Peer{Node: view.NodeID{Name: "ada", Boot: 1 << 60}, Role: cluster.Node, Addr: "ada:1"}
	old, last := coordinator(2, "old:1"), coordinator(3, "new:1")
	leaving := coordinator(4, "leaving:1")
	leaving.Leaving = true

	ctx, cancel := context.WithCancel(t.Context())
	events, done := make(chan cluster.Event), make(chan error, 1)
	var alive []cluster.Peer // written before an event is sent, read after it was received
	b := newBearings("given:1")
	go func() {
		done <- b.watch(ctx, events, func() []cluster.Peer { return alive }, slog.New(slog.DiscardHandler))
	}()
	for i, c := range []struct {
		news  cluster.EventKind
		of    cluster.Peer
		alive []cluster.Peer
		want  string
	}{
		{cluster.Joined, node, []cluster.Peer{node}, "given:1"},
		{cluster.Joined, old, []cluster.Peer{node, old}, "old:1"},
		{cluster.Lost, old, []cluster.Peer{node}, "old:1"},
		{cluster.Joined, last, []cluster.Peer{node, last}, "new:1"},
		{cluster.Joined, old, []cluster.Peer{old, last, node}, "new:1"},
		{cluster.Changed, leaving, []cluster.Peer{leaving, last, old}, "new:1"},
		{cluster.Lost, last, []cluster.Peer{node, old}, "old:1"},
	} {
		alive = c.alive
		events <- cluster.Event{Kind: c.news, Peer: c.of}
		events <- cluster.Event{Kind: cluster.Changed, Peer: node} // taken when the first has been dealt with
		if got := b.addr(); got != c.want {
			t.Errorf("after news %d (%s %v) the coordinator is at %s, want %s", i, c.news, c.of.Node, got, c.want)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
