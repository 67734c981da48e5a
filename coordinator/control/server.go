package control

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/files"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/trust"
	"github.com/torctrain/torc/internal/view"
)

// Config is what a coordinator needs to know.
type Config struct {
	// Home is the directory of all state: journal, files, results. Required.
	Home string
	// Listen and Advertise are where the coordinator serves and how others reach it, see cluster.Listen. Default: port
	// 7170 of this machine alone.
	Listen, Advertise string
	// Version is told to people.
	Version string
	// Log takes what operators should know. Default: nothing is said.
	Log *slog.Logger
	// Trust says who may take part. Default: nobody is asked for anything, and nothing is encrypted.
	Trust *trust.Authority
	// Nodes is how many nodes will ever attend, so that a run none of them can work for fails instead of waiting for
	// others. Default 0: nobody knows.
	Nodes int
	// Timing says how long to wait for what. Default DefaultTiming.
	Timing Timing
	// Member is the address of a node of the cluster to serve, for a coordinator that its nodes would not find: without a journal
	// and at another address than the one before. Default: nodes call, or a new cluster is founded.
	Member string
	// World replaces clock and network, Listen, Advertise and Trust with them. Default: those of this machine.
	World *World
}

// Validate names the first field that has a value it must not have.
func (c Config) Validate() error {
	t := c.Timing
	switch {
	case c.Home == "":
		return errors.New("home is empty: name a directory")
	case t.Settle < 0 || t.Patience < 0 || t.Keep < 0 || t.Balance < 0 || t.Hope < 0 || t.Found < 0:
		return fmt.Errorf("timing.settle is %v, patience %v, keep %v, balance %v, hope %v, found %v: use at least 0", t.Settle, t.Patience, t.Keep, t.Balance, t.Hope, t.Found)
	case t.Grace <= 0 || t.Verdict <= t.Grace || t.Silence <= t.Grace || t.Entry <= t.Grace:
		return fmt.Errorf("timing.grace is %v, verdict %v, silence %v, entry %v: use grace above 0 and the others above grace", t.Grace, t.Verdict, t.Silence, t.Entry)
	}
	return nil
}

// Server is a coordinator.
type Server struct {
	pb.UnimplementedControlServer
	cfg      Config
	log      *slog.Logger
	listener net.Listener
	addr     string
	journal  *journal
	store    files.Store
	cluster  string          // id; nobody reads it or gossip before settled is closed
	gossip   *cluster.Gossip // open from then on
	settled  chan struct{}   // closed when it is known which cluster this is
	claims   chan claim      // capacity 1: what nodes that belong to a cluster say of it
	newcomer func()          // closes comes
	comes    chan struct{}   // closed when a node wants to join

	calls     calls         // counted
	serving   chan struct{} // closed when Run serves
	ending    chan struct{} // closed when Run begins to end
	work      chan collection
	questions chan inquiry   // capacity maxQuestions
	learns    time.Time      // until when it may learn from members of runs that it has lost
	receivers sync.WaitGroup // goroutines that outlive their handler, until its stream is closed

	mu       sync.Mutex // guards what follows
	core     *core
	sessions map[uint64]*session
	last     uint64        // session made
	failure  error         // of the journal: the coordinator must end
	failed   chan struct{} // closed with failure
}

// tickEvery is how often time passes for core.
const tickEvery = 50 * time.Millisecond

// New opens the directory and the port, so that Addr is known and nobody else uses either. Run must follow; it closes both.
func New(cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Timing == (Timing{}) {
		cfg.Timing = DefaultTiming()
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure coordinator: %w", err)
	}
	if err := os.MkdirAll(cfg.Home, 0o755); err != nil {
		return nil, fmt.Errorf("make home: %w", err)
	}
	j, b, err := openJournal(cfg.Home, cfg.World != nil && cfg.World.NoSync)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, log: cfg.Log, journal: j, store: files.Under(cfg.Home),
		calls: newCalls(), serving: make(chan struct{}), ending: make(chan struct{}), work: make(chan collection, 16), // a place for each run that could finish at once
		sessions: map[uint64]*session{}, failed: make(chan struct{}),
		settled: make(chan struct{}), claims: make(chan claim, 1), comes: make(chan struct{}), questions: make(chan inquiry, maxQuestions),
	}
	s.newcomer = sync.OnceFunc(func() { close(s.comes) })
	if err := s.begin(b); err != nil {
		return nil, errors.Join(err, j.close())
	}
	if err := s.listen(); err != nil {
		return nil, errors.Join(err, j.close())
	}
	return s, nil
}

// begin makes this coordinator the next incarnation and takes up what the last one left.
func (s *Server) begin(b *book) error {
	now := s.now()
	var cmds []command
	if b.cluster == "" && s.cfg.Member == "" && (s.cfg.Nodes > 0 || s.cfg.Timing.Found == 0) { // its nodes are yet to be started
		cmds = append(cmds, command{Kind: founded, At: now.UnixNano(), Cluster: randomHex(8)})
	}
	if b.cluster == "" && len(cmds) == 0 {
		s.learns = now.Add(4 * s.cfg.Timing.Found)
	}
	cmds = append(cmds, command{Kind: started, At: now.UnixNano()})
	for _, cmd := range cmds {
		if err := b.apply(cmd); err != nil {
			return err
		}
	}
	if err := s.journal.append(cmds...); err != nil {
		return err
	}
	s.cluster, s.core = b.cluster, newCore(s.cfg.Timing, b)
	s.core.known = s.cfg.Nodes
	for _, r := range s.core.runs {
		if r.waiting() {
			missing, err := s.missing(r.spec)
			if err != nil {
				return err
			}
			r.missing = missing
			r.offered = now
		}
	}
	return nil
}

// Addr is the host:port under which others reach the coordinator.
func (s *Server) Addr() string { return s.addr }

// Run serves until ctx is done, and returns when everything it started has ended. It must be called once.
func (s *Server) Run(ctx context.Context) error {
	if s.cluster != "" {
		if err := s.openGossip(); err != nil {
			return errors.Join(err, s.listener.Close(), s.journal.close())
		}
		if err := s.reunite(ctx); err != nil {
			return errors.Join(err, s.gossip.Close(), s.listener.Close(), s.journal.close())
		}
		close(s.settled)
	}
	server := cluster.NewServer(s.guards()...)
	s.register(server)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return cluster.Serve(ctx, server, append(s.locals(), s.listener)...) })
	g.Go(func() error { return s.converse(ctx) })
	g.Go(func() error { return s.tick(ctx) })
	g.Go(func() error { return s.collect(ctx) })
	g.Go(func() error { return s.ask(ctx) })
	g.Go(func() error {
		defer close(s.ending)
		select {
		case <-ctx.Done():
			return nil
		case <-s.failed:
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.failure
		}
	})
	close(s.serving)
	s.log.Info("coordinator serves", "addr", s.addr, "cluster", s.known(), "home", s.cfg.Home, "incarnation", s.incarnation())
	err := g.Wait()
	s.receivers.Wait()
	if s.known() == "" {
		return errors.Join(err, s.journal.close())
	}
	if left := s.gossip.Leave(time.Second); left != nil {
		s.log.Debug("left the gossip without a word", "err", left)
	}
	return errors.Join(err, s.gossip.Close(), s.journal.close())
}

// converse takes part in the gossip, once it is known of which cluster, until ctx is done.
func (s *Server) converse(ctx context.Context) error {
	if s.cluster == "" {
		if err := s.found(ctx); err != nil || s.known() == "" {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.gossip.Run(ctx) })
	g.Go(func() error { s.rejoin(ctx); return nil })
	g.Go(func() error { return s.keepTrust(ctx) })
	g.Go(func() error { return s.listenToGossip(ctx) })
	return g.Wait()
}

// register adds all services but health, which cluster.Serve adds.
func (s *Server) register(server *grpc.Server) {
	pb.RegisterControlServer(server, s)
	pb.RegisterCheckpointsServer(server, vault{server: s})
	s.registerTrust(server)
}

func (s *Server) openGossip() error {
	host, _, err := net.SplitHostPort(s.addr)
	if err != nil {
		return err
	}
	bind, _, err := net.SplitHostPort(s.listener.Addr().String())
	if err != nil {
		return err
	}
	open := cluster.OpenGossip
	if s.cfg.World != nil {
		open = s.cfg.World.Gossip
	}
	s.gossip, err = open(cluster.GossipConfig{
		Cluster: s.cluster, Keys: s.gossipKeys(), Log: s.log, Bind: net.JoinHostPort(bind, "0"), Advertise: host,
		Self: cluster.Peer{
			Node: view.NodeID{Name: self, Boot: s.incarnation()}, Role: cluster.Coordinator, Addr: s.addr,
		},
	})
	return err
}

// incarnation is the coordinator's; what it learns from members may raise it.
func (s *Server) incarnation() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.core.incarnation
}

func (s *Server) listenToGossip(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-s.gossip.Events():
			s.log.Debug("gossip", "peer", e.Peer.Node, "role", e.Peer.Role, "kind", e.Kind)
			s.do(func(*core, time.Time) { s.core.heard(e) })
			s.keepPeers(e)
		}
	}
}

func (s *Server) tick(ctx context.Context) error {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			s.do(func(c *core, now time.Time) { c.tick(now) })
		}
	}
}

// do lets f change core and carries out what follows from it.
func (s *Server) do(f func(c *core, now time.Time)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s.core, s.now())
	s.carryOut(s.core.take())
}

// carryOut does what core wants, in order. The caller holds mu.
func (s *Server) carryOut(effects []effect) {
	for _, e := range effects {
		if s.failure != nil {
			return // nothing may happen that the journal does not have
		}
		switch e := e.(type) {
		case record:
			if err := s.journal.append(e.command); err != nil {
				s.log.Error("journal cannot be written, coordinator ends", "err", err)
				s.failure = err
				close(s.failed)
			}
		case order:
			s.post(e)
		case line:
			s.write(e)
		case chapter:
			s.writeHistory(e)
		case inquiry:
			select {
			case s.questions <- e:
			default: // it is asked again
			}
		case collection:
			select {
			case s.work <- e:
			default:
				s.core.collected(s.now(), e.run, fmt.Errorf("%w: too many runs finish at once", errUnkept))
				s.carryOut(s.core.take())
			}
		}
	}
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
