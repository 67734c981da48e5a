package cluster

import (
	"log/slog"
	"net"
	"strconv"
	"testing"

	"github.com/torctrain/torc/internal/view"
)

// A firewall must know the port of gossip; but nothing may fail because somebody has it.
func TestGossipTakesThePortAfterTheServersIfItCan(t *testing.T) {
	at := func(port int) string { return net.JoinHostPort(loopback, strconv.Itoa(port)) }
	open := func(port int) string {
		t.Helper()
		g, err := OpenGossip(GossipConfig{
			Cluster: "c", Self: Peer{Node: view.NodeID{Name: "a", Boot: 1}, Addr: at(port)}, Bind: loopback + ":0", Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = g.Close() })
		return g.Addr()
	}
	l, err := net.Listen("tcp", loopback+":0") // a port that is free now; its neighbour may not be
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	first := open(port)
	second := open(port) // one of both finds the port after this one taken
	if first == second {
		t.Fatalf("both gossip at %s", first)
	}
	if _, err := net.Listen("tcp", at(port+1)); err == nil {
		t.Errorf("gossip at %s and %s, and port %d is free: want it used", first, second, port+1)
	}
}
