package main

import (
	"context"
	"log/slog"
	"sync"

	"github.com/torctrain/torc/internal/cluster"
)

// bearings know where the coordinator is: where it was when this node joined, then where gossip says it moved.
type bearings struct {
	mu sync.Mutex // guards at
	at string
}

func newBearings(at string) *bearings { return &bearings{at: at} }

// addr is the coordinator's present address.
func (b *bearings) addr() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.at
}

// watch follows gossip until ctx ends.
func (b *bearings) watch(ctx context.Context, events <-chan cluster.Event, log *slog.Logger) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-events:
			log.Debug("gossip", "peer", e.Peer.Node, "role", e.Peer.Role, "kind", e.Kind)
			if e.Peer.Role == cluster.Coordinator && (e.Kind == cluster.Joined || e.Kind == cluster.Changed) {
				b.mu.Lock()
				b.at = e.Peer.Addr
				b.mu.Unlock()
			}
		}
	}
}
