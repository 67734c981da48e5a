package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/torctrain/torc/internal/view"
)

// GossipConfig describes this process to the others.
type GossipConfig struct {
	Cluster string // id of the cluster; packets of another are ignored
	Self    Peer   // Gossip may be empty
	// Bind is the host:port for gossip, by UDP and TCP; port 0 takes the one after that of Self.Addr, so that a firewall can
	// know it, or any free one if somebody has that.
	Bind string
	// Advertise is the host under which others reach Bind. Default: the host of Bind.
	Advertise string
	// Keys encrypt and authenticate what is said, 32 bytes each; the first is the one to send with. Without any, gossip is
	// open to everyone.
	Keys [][]byte
	Log  *slog.Logger

	Transport memberlist.Transport // in the place of Bind: a network of a simulation
}

// Gossip takes part in the gossip of one cluster. Every incarnation of a node is a member of its own, named by its NodeID:
// a restarted node neither has to wait for its former self to be forgotten nor can be taken for it.
type Gossip struct {
	conf    GossipConfig
	list    *memberlist.Memberlist
	keys    *memberlist.Keyring // nil: not encrypted
	addr    string
	events  chan Event
	changed chan struct{} // holds one token when pending is not empty

	mu      sync.Mutex // guards what follows; never held while calling memberlist
	self    Peer
	alive   map[view.NodeID]Peer // the others, kept here because memberlist's own nodes change under the reader
	pending map[view.NodeID]Event
	order   []view.NodeID // keys of pending, oldest first
	seeds   []string      // gossip addresses to fall back on when they are not among the living
}

// Event is news of one peer. Of several pieces of news about a peer only the last is kept for a slow reader.
type Event struct {
	Kind EventKind
	Peer Peer
}

// EventKind says what happened to a peer.
type EventKind string

// What can happen to a peer.
const (
	Joined  EventKind = "joined"
	Changed EventKind = "changed"
	Left    EventKind = "left" // having said so before
	Lost    EventKind = "lost" // without a word
)

const (
	rejoinEvery = 5 * time.Second
	maxSeeds    = 64
)

// OpenGossip starts to take part, alone until Join. Gossip that is open must be closed.
func OpenGossip(c GossipConfig) (*Gossip, error) {
	g := &Gossip{
		conf: c, self: c.Self, alive: map[view.NodeID]Peer{}, pending: map[view.NodeID]Event{},
		events: make(chan Event), changed: make(chan struct{}, 1),
	}
	if err := CheckName(c.Self.Node.Name); err != nil {
		return nil, err
	}
	if n := len(c.Self.meta()); n > memberlist.MetaMaxSize-16 { // room for the mark of one that leaves
		return nil, fmt.Errorf("open gossip: address %q makes %d bytes of metadata: use a shorter one", c.Self.Addr, n)
	}
	if err := g.create(); err != nil {
		return nil, err
	}
	g.addr = g.list.LocalNode().Address()
	g.mu.Lock()
	g.self.Gossip = g.addr
	g.mu.Unlock()
	return g, nil
}

// create opens the ports: the one after the gRPC server's if Bind leaves the choice and nobody has it.
func (g *Gossip) create() error {
	mc, err := g.settings()
	if err != nil {
		return err
	}
	if near := g.near(); mc.Transport == nil && mc.BindPort == 0 && near != 0 {
		mc.BindPort, mc.AdvertisePort = near, near
		if g.list, err = memberlist.Create(mc); err == nil {
			return nil
		}
		if mc, err = g.settings(); err != nil {
			return err
		}
	}
	if g.list, err = memberlist.Create(mc); err != nil {
		return fmt.Errorf("open gossip on %s: %w", g.conf.Bind, explain(err))
	}
	return nil
}

// near is the port after that of the own gRPC server, or 0.
func (g *Gossip) near() int {
	_, port, err := split(g.conf.Self.Addr, 0)
	if err != nil || port == 0 || port == 1<<16-1 {
		return 0
	}
	return port + 1
}

// settings are memberlist's, in the profile that finds a dead node in 1.2 s (4 nodes) to 2.7 s (32 nodes).
func (g *Gossip) settings() (*memberlist.Config, error) {
	mc := memberlist.DefaultLANConfig()
	mc.Name = memberName(g.conf.Self.Node)
	mc.Label = g.conf.Cluster
	mc.ProbeInterval = 250 * time.Millisecond
	mc.ProbeTimeout = 100 * time.Millisecond
	mc.SuspicionMult = 3
	mc.SuspicionMaxTimeoutMult = 2
	mc.GossipInterval = 50 * time.Millisecond
	mc.PushPullInterval = 10 * time.Second
	mc.TCPTimeout = 2 * time.Second
	mc.AwarenessMaxMultiplier = 4        // a starved node probes at least once a second
	mc.DeadNodeReclaimTime = time.Second // a member that comes back with another address under one NodeID
	mc.EnableCompression = false         // packets are small
	mc.Logger = log.New(logWriter{g.conf.Log}, "", 0)
	mc.Delegate = (*delegate)(g)
	mc.Events = (*delegate)(g)
	mc.Transport = g.conf.Transport
	if len(g.conf.Keys) > 0 {
		ring, err := memberlist.NewKeyring(g.conf.Keys, g.conf.Keys[0])
		if err != nil {
			return nil, fmt.Errorf("open gossip: %w", err)
		}
		g.keys, mc.Keyring = ring, ring
	}
	if mc.Transport != nil {
		return mc, nil
	}
	host, port, err := split(g.conf.Bind, 0)
	if err != nil {
		return nil, err
	}
	if host == "" {
		host = "0.0.0.0"
	}
	mc.BindAddr, mc.BindPort, mc.AdvertisePort = host, port, port
	if g.conf.Advertise != "" {
		ip, err := net.ResolveIPAddr("ip", g.conf.Advertise)
		if err != nil {
			return nil, fmt.Errorf("resolve the address to advertise: %w", err)
		}
		mc.AdvertiseAddr = ip.String()
	}
	return mc, nil
}

// Addr is where other members of the gossip reach this one.
func (g *Gossip) Addr() string { return g.addr }

// Join meets the cluster at one of the gossip addresses, and remembers all of them for later. It is an error if none
// answers.
func (g *Gossip) Join(ctx context.Context, seeds []string) error {
	g.mu.Lock()
	for _, s := range seeds {
		g.remember(s)
	}
	g.mu.Unlock()
	var errs []error
	for _, s := range seeds {
		err := g.meet(ctx, s)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("join the gossip of cluster %s: %w", g.conf.Cluster, errors.Join(errs...))
}

func (g *Gossip) meet(ctx context.Context, seed string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(seed)
	if err != nil {
		return err
	}
	// Resolved here because memberlist would ask a name server by TCP, without a deadline from us.
	ips, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return err
	}
	var addrs []string
	for _, ip := range ips {
		addrs = append(addrs, net.JoinHostPort(ip, port))
	}
	_, err = g.list.Join(addrs)
	return err
}

// Run hands out events and heals partitions, by meeting now and then a peer that is not among the living. It returns when
// ctx is done.
func (g *Gossip) Run(ctx context.Context) error {
	tick := time.NewTicker(rejoinEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if seed := g.missing(); seed != "" {
				if err := g.meet(ctx, seed); err != nil {
					g.conf.Log.Debug("gossip peer does not answer", "peer", seed, "err", err)
				}
			}
		case <-g.changed:
			for e, ok := g.next(); ok; e, ok = g.next() {
				select {
				case g.events <- e:
				case <-ctx.Done():
					return nil
				}
			}
		}
	}
}

// Events is news of the other peers, in the order in which it arrived. It is served while Run runs and never closed.
func (g *Gossip) Events() <-chan Event { return g.events }

// Peers are the others believed alive, sorted by name and boot.
func (g *Gossip) Peers() []Peer {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.SortedFunc(maps.Values(g.alive), Peer.compare)
}

// SetKeys replaces the keys of gossip that was opened with some; the first is the one to send with.
func (g *Gossip) SetKeys(keys [][]byte) error {
	if g.keys == nil || len(keys) == 0 {
		return nil
	}
	for _, k := range keys {
		if err := g.keys.AddKey(k); err != nil {
			return fmt.Errorf("take a new gossip key: %w", err)
		}
	}
	if err := g.keys.UseKey(keys[0]); err != nil {
		return fmt.Errorf("use a new gossip key: %w", err)
	}
	for _, k := range slices.Clone(g.keys.GetKeys()) { // RemoveKey moves them
		if !slices.ContainsFunc(keys, func(other []byte) bool { return bytes.Equal(k, other) }) {
			if err := g.keys.RemoveKey(k); err != nil {
				return fmt.Errorf("forget an old gossip key: %w", err)
			}
		}
	}
	return nil
}

// Leave tells the others that this peer goes, so that nobody takes it for dead. It waits at most for timeout.
func (g *Gossip) Leave(timeout time.Duration) error {
	g.mu.Lock()
	g.self.Leaving = true
	g.mu.Unlock()
	if err := g.list.UpdateNode(timeout / 2); err != nil {
		return fmt.Errorf("announce leaving: %w", err)
	}
	if err := g.list.Leave(timeout / 2); err != nil {
		return fmt.Errorf("leave the gossip: %w", err)
	}
	return nil
}

// Close ends the gossip without a word to others and closes its ports. Memberlist's own goroutines end by themselves: its
// loops at once, a probe under way within a second.
func (g *Gossip) Close() error { return g.list.Shutdown() }

// missing picks a known address that is not among the living, or nothing.
func (g *Gossip) missing() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	alive := map[string]bool{g.addr: true}
	for _, p := range g.alive {
		alive[p.Gossip] = true
	}
	var lost []string
	for _, s := range g.seeds {
		if !alive[s] {
			lost = append(lost, s)
		}
	}
	if len(lost) == 0 {
		return ""
	}
	return lost[rand.IntN(len(lost))]
}

// remember keeps a gossip address, forgetting the oldest beyond maxSeeds. The caller holds mu.
func (g *Gossip) remember(addr string) {
	if slices.Contains(g.seeds, addr) {
		return
	}
	g.seeds = append(g.seeds, addr)
	if len(g.seeds) > maxSeeds {
		g.seeds = slices.Delete(g.seeds, 0, 1)
	}
}

// push files news without blocking.
func (g *Gossip) push(kind EventKind, n *memberlist.Node) {
	p, err := peer(n)
	if err != nil {
		g.conf.Log.Warn("gossip peer is not understood", "peer", n.Name, "err", err)
		return
	}
	if p.Node != g.conf.Self.Node {
		g.file(kind, p)
	}
}

func (g *Gossip) file(kind EventKind, p Peer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if kind == Lost && p.Leaving {
		kind = Left
	}
	switch kind {
	case Lost:
		delete(g.alive, p.Node)
		g.remember(p.Gossip)
	case Left:
		delete(g.alive, p.Node)
		g.seeds = slices.DeleteFunc(g.seeds, func(s string) bool { return s == p.Gossip })
	default:
		g.alive[p.Node] = p
	}
	if _, ok := g.pending[p.Node]; !ok {
		g.order = append(g.order, p.Node)
	}
	g.pending[p.Node] = Event{kind, p}
	select {
	case g.changed <- struct{}{}:
	default: // Run has not taken the last token yet
	}
}

func (g *Gossip) next() (Event, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.order) == 0 {
		return Event{}, false
	}
	id := g.order[0]
	g.order = g.order[1:]
	e := g.pending[id]
	delete(g.pending, id)
	return e, true
}

// logWriter passes memberlist's lines on, all at level debug: what it calls an error is a probe without an answer, of
// interest to whoever looks for the cause of a lost node. What matters comes as an Event.
type logWriter struct{ log *slog.Logger }

var _ io.Writer = logWriter{}

func (w logWriter) Write(line []byte) (int, error) {
	w.log.Debug("gossip", "text", string(bytes.TrimSpace(line)))
	return len(line), nil
}
