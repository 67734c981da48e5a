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

// look finds the coordinator among the living. Of several it is the one that was started last: another one may have been frozen,
// or cut off, and does not know yet that it was replaced.
func (b *bearings) look(alive []cluster.Peer) {
	latest := uint64(0)
	for _, p := range alive {
		if p.Role != cluster.Coordinator || p.Leaving || p.Node.Boot < latest { // its boot is its incarnation
			continue
		}
		latest = p.Node.Boot
		b.mu.Lock()
		b.at = p.Addr
		b.mu.Unlock()
	}
}

// watch follows gossip until ctx ends; alive are the peers that it has alive.
func (b *bearings) watch(ctx context.Context, events <-chan cluster.Event, alive func() []cluster.Peer, log *slog.Logger) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-events:
			log.Debug("gossip", "peer", e.Peer.Node, "role", e.Peer.Role, "kind", e.Kind)
			if e.Peer.Role == cluster.Coordinator {
				b.look(alive())
			}
		}
	}
}
