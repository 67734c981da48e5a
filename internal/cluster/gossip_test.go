package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/torctrain/torc/internal/view"
)

// member is a Gossip in a bubble, with what it has heard.
type member struct {
	*Gossip
	stop context.CancelFunc
	done chan error

	mu    sync.Mutex // guards heard
	heard []string
}

func (m *member) told() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	heard := m.heard
	m.heard = nil
	return heard
}

func (m *member) names() string {
	s := ""
	for _, p := range m.Peers() {
		s += p.Node.Name + " "
	}
	return s
}

func start(t *testing.T, n *memNet, name string, boot uint64, seeds ...string) *member {
	t.Helper()
	g, err := OpenGossip(GossipConfig{
		Cluster: "test", Self: Peer{Node: view.NodeID{Name: name, Boot: boot}, Role: Node, Addr: name + ":1"},
		Keys: n.keys, Log: slog.New(slog.DiscardHandler), Transport: n.transport(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	m := &member{Gossip: g, stop: cancel, done: make(chan error, 1)}
	go func() { m.done <- g.Run(ctx) }()
	go func() {
		for {
			select {
			case e := <-g.Events():
				m.mu.Lock()
				m.heard = append(m.heard, fmt.Sprintf("%s %s", e.Kind, e.Peer.Node.Name))
				m.mu.Unlock()
			case <-ctx.Done():
				return
			}
		}
	}()
	if err := g.Join(ctx, seeds); err != nil {
		t.Fatal(err)
	}
	return m
}

// end closes members and lets the probes under way run out, which are the only goroutines that Close does not end.
func end(t *testing.T, all ...*member) {
	t.Helper()
	for _, m := range all {
		m.stop()
		if err := <-m.done; err != nil {
			t.Error(err)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	time.Sleep(5 * time.Second)
}

// crew starts n members a, b, c … that know each other.
func crew(t *testing.T, net *memNet, n int) []*member {
	t.Helper()
	var all []*member
	for i := range n {
		var seeds []string
		if i > 0 {
			seeds = []string{all[0].Addr()}
		}
		all = append(all, start(t, net, string(rune('a'+i)), uint64(i+1), seeds...))
	}
	// News travels by chance, mostly within a second; what it missed is told when two members exchange all they know, which
	// each begins every ten seconds.
	for range 60 {
		time.Sleep(time.Second)
		synctest.Wait()
		if acquainted(all) {
			break
		}
	}
	for _, m := range all {
		if got := len(m.Peers()); got != n-1 {
			t.Errorf("%s knows %d peers after a minute, want %d", m.self.Node.Name, got, n-1)
		}
		m.told()
	}
	return all
}

// acquainted says whether everyone knows everyone.
func acquainted(all []*member) bool {
	for _, m := range all {
		if len(m.Peers()) != len(all)-1 {
			return false
		}
	}
	return true
}

// protocol.md §3: gossip finds a dead node in 1.2 to 2.7 s.
func TestSilentPeerIsLostWithinThreeSeconds(t *testing.T) {
	for _, n := range []int{2, 3, 5, 8} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newMemNet()
				all := crew(t, net, n)
				net.plug(all[n-1].Addr(), false)
				time.Sleep(3 * time.Second)
				synctest.Wait()
				want := "lost " + all[n-1].self.Node.Name
				for _, m := range all[:n-1] {
					if got := m.told(); len(got) != 1 || got[0] != want {
						t.Errorf("%s heard %q, want %q", m.self.Node.Name, got, want)
					}
				}
				end(t, all...)
			})
		})
	}
}

func TestLeavingPeerIsNeverLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := crew(t, newMemNet(), 4)
		gone := all[3]
		if err := gone.Leave(2 * time.Second); err != nil {
			t.Fatal(err)
		}
		end(t, gone)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		for _, m := range all[:3] {
			heard := m.told()
			if len(heard) == 0 || heard[len(heard)-1] != "left d" {
				t.Errorf("%s heard %q, want it to end with left d", m.self.Node.Name, heard)
			}
			for _, h := range heard {
				if h == "lost d" {
					t.Errorf("%s took a leaving peer for lost", m.self.Node.Name)
				}
			}
		}
		end(t, all[:3]...)
	})
}

func TestPartitionHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemNet()
		all := crew(t, net, 3)
		net.plug(all[2].Addr(), false)
		time.Sleep(2 * time.Minute) // long enough to be forgotten by memberlist itself
		synctest.Wait()
		if got := all[0].names(); got != "b " {
			t.Fatalf("a knows %q during the partition, want b", got)
		}
		net.plug(all[2].Addr(), true)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		for i, want := range []string{"b c ", "a c ", "a b "} {
			if got := all[i].names(); got != want {
				t.Errorf("%s knows %q after the partition, want %q", all[i].self.Node.Name, got, want)
			}
		}
		end(t, all...)
	})
}

func TestRestartedNodeIsAnotherPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemNet()
		all := crew(t, net, 3)
		net.plug(all[2].Addr(), false)
		again := start(t, net, "c", 99, all[0].Addr()) // at once, before the others notice the crash
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if got := all[1].names(); got != "a c c " {
			t.Errorf("b knows %q before c's crash is noticed, want both incarnations", got)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		peers := all[1].Peers()
		if len(peers) != 2 || peers[1].Node != (view.NodeID{Name: "c", Boot: 99}) {
			t.Errorf("b knows %v, want a and the new c", peers)
		}
		end(t, append(all, again)...)
	})
}

func TestForeignClusterIsNotHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemNet()
		all := crew(t, net, 2)
		g, err := OpenGossip(GossipConfig{
			Cluster: "another", Self: Peer{Node: view.NodeID{Name: "x", Boot: 7}, Role: Node, Addr: "x:1"},
			Log: slog.New(slog.DiscardHandler), Transport: net.transport(),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Join(t.Context(), []string{all[0].Addr()}); err == nil {
			t.Error("joined the gossip of another cluster")
		}
		if got := all[0].names(); got != "b " {
			t.Errorf("a knows %q, want b alone", got)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		end(t, all...)
	})
}

// News for a reader that sleeps takes no more room than there are peers, and the last word is kept.
func TestUnreadNewsIsBounded(t *testing.T) {
	g := &Gossip{alive: map[view.NodeID]Peer{}, pending: map[view.NodeID]Event{}, changed: make(chan struct{}, 1)}
	p := Peer{Node: view.NodeID{Name: "a", Boot: 1}, Gossip: "10.0.0.1:1"}
	for range 1000 {
		g.file(Joined, p)
		g.file(Lost, p)
	}
	if len(g.order) != 1 || len(g.pending) != 1 || len(g.seeds) != 1 {
		t.Errorf("%d, %d, %d entries after a thousand joins and losses of one peer, want 1 each", len(g.order), len(g.pending), len(g.seeds))
	}
	if e, ok := g.next(); !ok || e.Kind != Lost {
		t.Errorf("next = %v, %v, want lost", e, ok)
	}
	for i := range 1000 {
		g.file(Lost, Peer{Node: view.NodeID{Name: "a", Boot: uint64(i)}, Gossip: fmt.Sprintf("10.0.0.1:%d", i)})
	}
	if len(g.seeds) > maxSeeds {
		t.Errorf("%d addresses remembered, want at most %d", len(g.seeds), maxSeeds)
	}
}

func TestGossipOverLoopback(t *testing.T) {
	defer goleak.VerifyNone(t)
	open := func(name string) *Gossip {
		g, err := OpenGossip(GossipConfig{
			Cluster: "test", Self: Peer{Node: view.NodeID{Name: name, Boot: 1}, Role: Node, Addr: "127.0.0.1:1"},
			Bind: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	a, b := open("a"), open("b")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	if err := b.Join(ctx, []string{a.Addr()}); err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-a.Events():
		if e.Kind != Joined || e.Peer.Node.Name != "b" || e.Peer.Gossip != b.Addr() || e.Peer.Addr != "127.0.0.1:1" {
			t.Errorf("a heard %+v, want that b joined at %s", e, b.Addr())
		}
	case <-ctx.Done():
		t.Error("a did not hear of b")
	}
	if _, err := OpenGossip(GossipConfig{
		Cluster: "test", Self: Peer{Node: view.NodeID{Name: "c"}}, Bind: a.Addr(), Log: slog.New(slog.DiscardHandler),
	}); err == nil {
		t.Error("opened gossip on a port in use")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, g := range []*Gossip{a, b} {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
}
