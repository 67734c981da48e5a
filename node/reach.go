package main

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/torctrain/torc/internal/cluster"
)

// reachEvery is how often a node tries those peers that it has not reached.
const reachEvery = 10 * time.Second

// reachPeers tries the port of each node that gossip knows, until it has answered once, and says which port of which host
// does not: gossip goes by way of others, so that a closed ring port would show in a run only. It returns when ctx is done.
func reachPeers(ctx context.Context, peers func() []cluster.Peer, log *slog.Logger) error {
	said := map[string]bool{} // by address: true once reached, false once complained of
	tick := time.NewTicker(reachEvery)
	defer tick.Stop()
	for {
		for _, p := range peers() {
			reached, known := said[p.Addr]
			if p.Role != cluster.Node || p.Leaving || reached {
				continue
			}
			conn, err := (&net.Dialer{Timeout: dialLimit}).DialContext(ctx, "tcp", p.Addr)
			switch {
			case err == nil:
				_ = conn.Close()
				if said[p.Addr] = true; known {
					log.Info("peer can be reached now", "peer", p.Node, "addr", p.Addr)
				}
			case ctx.Err() != nil:
				return nil
			case !known:
				said[p.Addr] = false
				c := unreached("peer", p.Addr, "is its ring port open, and the address that it advertises its own?", err)
				log.Warn("peer cannot be reached: no run can have it beside this node", "peer", p.Node, "why", c.Found, "do", c.Advice)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
