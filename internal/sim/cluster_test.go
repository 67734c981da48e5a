package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/coordinator/control"
	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
	"github.com/torctrain/torc/node/train"
)

// simulation is one cluster and what happens to it.
type simulation struct {
	t     *testing.T
	world *world
	plan  *plan
	net   *network
	dir   string
	check *checker
	log   *journalist
	wg    sync.WaitGroup // of everything but the test's own goroutine

	mu        sync.Mutex // guards what follows
	processes map[string]*process
	doubles   []*process // of the same names
	boots     uint64
	moves     int             // of the coordinator, from machine to machine
	server    *control.Server // nil while the coordinator is down
	endServer func()          // kills it, and waits
	launched  string          // the run
	skew      time.Duration   // of the coordinator's clock
	ending    bool
	happened  []kind
}

// journalist keeps what was said, in memory.
type journalist struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (j *journalist) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(b)
}

func (j *journalist) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

func (j *journalist) logger(who string) *slog.Logger {
	level := slog.LevelInfo
	if *trace {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.String("t", fmt.Sprintf("%.3f", a.Value.Time().Sub(epoch).Seconds()))
		}
		return a
	}})).With("at", who)
}

// note writes down what the simulation does.
func (c *simulation) note(format string, args ...any) {
	c.log.logger("FATE").Warn(fmt.Sprintf(format, args...))
}

// epoch is when every bubble begins.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// where is the machine of the coordinator.
func (c *simulation) where() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf("10.0.0.%d", 1+c.moves)
}

// small keeps the buffers of a connection small: a schedule makes hundreds.
func small(opts ...grpc.DialOption) []grpc.DialOption {
	return append(opts, grpc.WithReadBufferSize(8<<10), grpc.WithWriteBufferSize(8<<10))
}

// dialer makes gRPC connections from a machine.
func (h *host) dialer(kind string) grpc.DialOption {
	return grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
		c, err := h.dial(ctx, kind, addr)
		if err != nil {
			return nil, err
		}
		return c, nil
	})
}

func (h *host) call(addr string) (*grpc.ClientConn, error) {
	return cluster.Dial(addr, small(h.dialer(call))...)
}

func (h *host) openGossip(g cluster.GossipConfig) (*cluster.Gossip, error) {
	p := h.gossip()
	g.Transport = p
	open, err := cluster.OpenGossip(g)
	if err != nil {
		return nil, errors.Join(err, p.Shutdown())
	}
	return open, nil
}

// coordinate starts the coordinator, with the journal of the one before.
func (c *simulation) coordinate() {
	h := c.net.plug(c.where())
	s, err := control.New(control.Config{
		Home: filepath.Join(c.dir, "coordinator"), Version: "sim", Log: c.log.logger("coordinator"),
		World: &control.World{Listener: h.listen(), Gossip: h.openGossip, Dial: h.call, NoSync: true, Now: func() time.Time {
			c.mu.Lock()
			defer c.mu.Unlock()
			return time.Now().Add(c.skew)
		}},
	})
	if err != nil {
		c.t.Errorf("start coordinator: %v", err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	c.wg.Go(func() {
		defer close(done)
		if err := s.Run(ctx); err != nil {
			c.t.Errorf("coordinator ended: %v", err)
		}
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.server = s
	c.endServer = func() { h.kill(); cancel(); <-done }
}

// uncoordinate kills the coordinator.
func (c *simulation) uncoordinate() {
	c.mu.Lock()
	end := c.endServer
	c.server, c.endServer = nil, nil
	c.mu.Unlock()
	if end != nil {
		end()
	}
}

// process is one incarnation of a node.
type process struct {
	c      *simulation
	name   string
	id     view.NodeID
	host   *host
	member *train.Member
	pace   time.Duration // of a lane
	cancel context.CancelFunc
	done   chan struct{}

	flip      atomic.Bool   // a bit of θ at the next update
	glitch    atomic.Bool   // the next lane's gradient
	deaf      atomic.Bool   // it does not get the coordinator's views
	ready     atomic.Bool   // a lane was computed
	committed atomic.Uint64 // the last step that was made
	at        place         // of the update, by the goroutine that trains
	part      int
	rank      int64 // in the last view that it entered; by the goroutine that works
}

// start starts a node, in the place of its former self.
func (c *simulation) start(name string) {
	c.launch(name, fmt.Sprintf("10.0.1.%d", 1+name[0]-'a'), func(p *process) { c.processes[name] = p })
}

// double starts a node on a machine of its own, with a name that is another's.
func (c *simulation) double(name string) {
	c.launch(name, fmt.Sprintf("10.0.2.%d", 1+name[0]-'a'), func(p *process) { c.doubles = append(c.doubles, p) })
}

// launch starts a node on a machine; known notes it and is called with mu held.
func (c *simulation) launch(name, ip string, known func(*process)) {
	c.mu.Lock()
	c.boots++
	p := &process{
		c: c, name: name, id: view.NodeID{Name: name, Boot: c.boots}, pace: c.plan.pace(name),
		host: c.net.plug(ip), done: make(chan struct{}),
	}
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(context.Background())
	known(p)
	ending := c.ending
	c.mu.Unlock()
	if ending {
		p.cancel()
	}
	c.wg.Go(func() {
		defer close(p.done)
		err := p.run(ctx)
		c.note("node %s ended: %v", p.id, err)
		if err != nil && ctx.Err() == nil && !c.isDouble(err) {
			c.check.wrong("I3: node %s ended by itself: %v", name, err)
		}
	})
}

// isDouble says whether a node ended because another has its name.
func (c *simulation) isDouble(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.doubles) > 0 && status.Code(err) == codes.PermissionDenied && strings.Contains(err.Error(), "attends already")
}

// run is what `node join` does.
func (p *process) run(ctx context.Context) error {
	log := slog.New(ear{p.c.log.logger(p.name).Handler(), p.overheard})
	listener := p.host.listen()
	main, worker := p.c.world.kernels(p.c.t), p.c.world.kernels(p.c.t)
	defer func() { p.c.world.giveBack(main, worker) }()
	node := &pb.NodeID{Name: p.id.Name, Boot: p.id.Boot}
	reply, err := p.admitted(ctx, &pb.JoinRequest{Node: node, Addr: p.host.addr(), Version: "sim", Protocol: pb.Protocol})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	gossip, err := p.host.openGossip(cluster.GossipConfig{
		Cluster: reply.Cluster, Self: cluster.Peer{Node: p.id, Role: cluster.Node, Addr: p.host.addr()}, Log: log,
	})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	if err := gossip.Join(ctx, reply.GossipSeeds); err != nil {
		p.c.note("node %s: %v", p.name, err) // the program would end; here it is left to itself, and found by its session
	}
	var coordinator atomic.Pointer[string]
	coordinator.Store(&reply.Coordinator)
	links := allreduce.NewServer()
	links.Far = true
	home := filepath.Join(p.c.dir, p.host.ip) // its disk outlives it
	p.member = train.NewMember(train.Config{
		Node: p.id, Addr: p.host.addr(), Version: "sim", Home: home, Class: class,
		Kernels: p.watch(main, false), Workers: []model.Kernels{p.watch(worker, true)}, Threads: 1, Log: log, Links: links,
		Dial: func(addr string) (*grpc.ClientConn, error) {
			return cluster.Dial(addr, small(p.host.dialer(call), grpc.WithStreamInterceptor(p.listens))...)
		},
		DialRing: func(_ context.Context, addr string) (*grpc.ClientConn, error) {
			return cluster.Dial(addr, small(append(allreduce.DialOptions(), p.host.dialer(ringLink))...)...)
		},
		Coordinator: func() string { return *coordinator.Load() }, Probe: p.host.refuses,
		Cluster: reply.Cluster, Gossip: gossip.Addr(),
	})
	server := cluster.NewServer(append(allreduce.ServerOptions(), grpc.ReadBufferSize(8<<10), grpc.WriteBufferSize(8<<10))...)
	links.Register(server)
	p.member.Register(server)
	ctx, end := context.WithCancel(ctx)
	defer end()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return cluster.Serve(ctx, server, listener) })
	g.Go(func() error { return gossip.Run(ctx) })
	g.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case e := <-gossip.Events():
				if e.Peer.Role == cluster.Coordinator && (e.Kind == cluster.Joined || e.Kind == cluster.Changed) {
					coordinator.Store(&e.Peer.Addr)
				}
			}
		}
	})
	g.Go(func() error {
		defer end()
		return p.member.Run(ctx)
	})
	err = g.Wait()
	_ = gossip.Leave(time.Second)
	return errors.Join(err, gossip.Close())
}

// listens opens streams on which no views come while the process is deaf.
func (p *process) listens(ctx context.Context, d *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := open(ctx, d, cc, method, opts...)
	if err != nil {
		return nil, err
	}
	return heard{s, p}, nil
}

type heard struct {
	grpc.ClientStream
	p *process
}

// RecvMsg implements grpc.ClientStream.
func (h heard) RecvMsg(m any) error {
	for {
		err := h.ClientStream.RecvMsg(m)
		if o, order := m.(*pb.Order); err != nil || !order || o.GetView() == nil || !h.p.deaf.Load() {
			return err
		}
	}
}

func (p *process) watch(k *cpu.Kernels, worker bool) model.Kernels {
	return &watched{Kernels: k, p: p, worker: worker}
}

// admitted asks until the coordinator lets the node in, wherever it is, as whoever restarts a program does.
func (p *process) admitted(ctx context.Context, req *pb.JoinRequest) (*pb.JoinReply, error) {
	for {
		reply, err := p.asks(ctx, req)
		if err == nil {
			return reply, nil
		}
		if status.Code(err) == codes.PermissionDenied {
			p.c.check.refuses()
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// asks asks the coordinator once to let the node in.
func (p *process) asks(ctx context.Context, req *pb.JoinRequest) (*pb.JoinReply, error) {
	conn, err := p.host.call(net.JoinHostPort(p.c.where(), fmt.Sprint(port)))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return pb.NewControlClient(conn).Join(ctx, req)
}

// refuses says whether it is certain that nobody listens at addr.
func (h *host) refuses(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	c, err := h.dial(ctx, call, addr)
	if err != nil {
		return strings.Contains(err.Error(), "refused")
	}
	_ = c.Close()
	return false
}

// alive is the process of this name, if it is not gone.
func (c *simulation) alive(name string) *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.processes[name]
	if p == nil {
		return nil
	}
	select {
	case <-p.done:
		return nil
	default:
	}
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if p.host.dead {
		return nil
	}
	return p
}

// end ends everything.
func (c *simulation) end() {
	c.mu.Lock()
	c.ending = true
	all := append(slices.Collect(maps.Values(c.processes)), c.doubles...)
	c.mu.Unlock()
	c.net.change(func() {
		for _, h := range c.net.hosts {
			h.frozen = false
		}
		clear(c.net.cuts)
	})
	for _, p := range all {
		p.cancel()
	}
	for _, p := range all {
		<-p.done
	}
	c.uncoordinate()
	c.wg.Wait()
	time.Sleep(10 * time.Second) // memberlist's last probes
}
