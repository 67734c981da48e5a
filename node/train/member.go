package train

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
	"github.com/torctrain/torc/model"
)

// Config is what a member needs of its node.
type Config struct {
	Node    view.NodeID
	Addr    string // host:port under which others reach this node's gRPC server
	Labels  map[string]string
	Version string
	Home    string // caches of files and tokens live below it
	Class   string // arithmetic class
	Kernels model.Kernels
	Workers []model.Kernels // see Job.Workers
	Threads int
	Memory  uint64 // bytes a run may use; 0: no limit
	Log     *slog.Logger

	Links *allreduce.Server // where ring links of neighbours arrive
	// DialRing connects to a neighbour for ring frames, Dial to the coordinator.
	DialRing func(ctx context.Context, addr string) (*grpc.ClientConn, error)
	Dial     func(addr string) (*grpc.ClientConn, error)
	// Coordinator returns the present address of the coordinator; it may change while the member runs.
	Coordinator func() string
	// Probe says whether it is certain that nobody listens at addr. Nil: it never is.
	Probe func(ctx context.Context, addr string) bool
	// Cluster and Gossip are the cluster's id and the address of this node's gossip, for a coordinator that lost both.
	Cluster, Gossip string
	// Disk is where checkpoints are kept. Default: the machine's file system.
	Disk checkpoints.FS
	// Drain is how long a node that is asked to end waits for the run to go on without it. Default 30s.
	Drain time.Duration
}

// Member attends to the coordinator and works for one run at a time.
type Member struct {
	pb.UnimplementedPeerServer
	cfg Config

	mu       sync.Mutex // guards work and draining
	work     *work      // nil while free
	draining bool
	said     lines // for the next beat

	vault vault // stores of checkpoints

	works sync.WaitGroup // the goroutines of runs; Run waits for them

	wake   chan struct{} // capacity 1: something is worth a beat now
	idle   chan struct{} // capacity 1: a work is over
	leave  func()        // closes leaves
	leaves chan struct{} // closed when the node was asked to leave
}

// NewMember returns a member that starts nothing before Run.
func NewMember(cfg Config) *Member {
	if cfg.Drain == 0 {
		cfg.Drain = 30 * time.Second
	}
	if cfg.Disk == nil {
		cfg.Disk = checkpoints.Disk{}
	}
	m := &Member{cfg: cfg, wake: make(chan struct{}, 1), idle: make(chan struct{}, 1), leaves: make(chan struct{})}
	m.leave = sync.OnceFunc(func() { close(m.leaves) })
	m.cfg.Log = slog.New(&forward{Handler: cfg.Log.Handler(), to: &m.said, node: cfg.Node.Name})
	return m
}

// Register adds the services that coordinator and members call.
func (m *Member) Register(s *grpc.Server) {
	pb.RegisterPeerServer(s, m)
	pb.RegisterPiecesServer(s, pieces{member: m})
}

// Leave asks Run to end as soon as the node's run goes on without it, for which it waits as long as Config.Drain allows.
func (m *Member) Leave() { m.leave() }

// Run attends until ctx ends or the node has left (Leave, or an order of the coordinator). A lost coordinator is looked for
// again and again; a run at work goes on meanwhile.
func (m *Member) Run(ctx context.Context) error {
	defer m.works.Wait()
	ctx, end := context.WithCancel(ctx)
	left := make(chan struct{})
	go func() {
		defer close(left)
		select {
		case <-m.leaves:
			m.drain(ctx)
			end()
		case <-ctx.Done():
		}
	}()
	defer func() { end(); <-left }()

	const patience = 200 * time.Millisecond
	said := "" // why the last session ended, as long as none lasts
	for wait := patience; ; wait = min(2*wait, 5*patience) {
		began := time.Now()
		err := m.attend(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if status.Code(err) == codes.PermissionDenied && m.working("") == nil {
			return err // another node has this name, or the coordinator another protocol: calling again would not help
		}
		if time.Since(began) > 5*time.Second {
			wait, said = patience, ""
		}
		level := slog.LevelDebug
		if err.Error() != said {
			level, said = slog.LevelWarn, err.Error()
		}
		m.cfg.Log.Log(ctx, level, "lost coordinator, calling again", "coordinator", m.cfg.Coordinator(), "err", err)
		sleep(ctx, wait)
		if ctx.Err() != nil {
			return nil
		}
	}
}

// drain waits until this node has no work, which the coordinator sees to once it knows that the node wants to leave.
func (m *Member) drain(ctx context.Context) {
	m.mu.Lock()
	m.draining = true
	m.mu.Unlock()
	m.nudge()
	timer := time.NewTimer(m.cfg.Drain)
	defer timer.Stop()
	for {
		w := m.working("")
		if w == nil {
			return
		}
		m.cfg.Log.Info("leaves as soon as the run goes on without this node", "run", w.id)
		select {
		case <-m.idle:
		case <-timer.C:
			m.cfg.Log.Warn("leaves in the middle of a run: the others did not go on without it in time", "run", w.id, "waited", m.cfg.Drain)
			return
		case <-ctx.Done():
			return
		}
	}
}

// attend is one session with the coordinator.
func (m *Member) attend(ctx context.Context) error {
	conn, err := m.cfg.Dial(m.cfg.Coordinator())
	if err != nil {
		return err
	}
	defer conn.Close()
	// The session outlives ctx for as long as it takes to say goodbye.
	session, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	g, session := errgroup.WithContext(session)
	stream, err := pb.NewControlClient(conn).Attend(session)
	if err != nil {
		return err
	}
	g.Go(func() error {
		err := m.beat(ctx, session, stream)
		time.AfterFunc(farewell, end) // by then the coordinator has answered the goodbye
		return err
	})
	g.Go(func() error {
		for {
			order, err := stream.Recv()
			if err != nil {
				return err
			}
			m.obey(ctx, order)
		}
	})
	return g.Wait()
}

// BeatEvery is how often a member reports without cause. Detecting a lost member does not wait for it.
const BeatEvery = 500 * time.Millisecond

// farewell is how long the last beat may take to arrive.
const farewell = time.Second

// beat reports until the session breaks, or until ctx ends; then it says that the node leaves.
func (m *Member) beat(ctx, session context.Context, stream pb.Control_AttendClient) error {
	tick := time.NewTicker(BeatEvery)
	defer tick.Stop()
	if w := m.working(""); w != nil {
		w.unsent() // what a broken session swallowed; and another coordinator may listen
	}
	kept := m.kept()
	for {
		b := m.report()
		b.Kept, kept = kept, nil
		err := m.send(stream, b)
		if errors.Is(err, io.EOF) {
			return nil // the session is over: who receives learns why
		}
		if err != nil {
			return fmt.Errorf("report to coordinator: %w", err)
		}
		select {
		case <-ctx.Done():
			b := m.report()
			b.Phase = pb.Phase_PHASE_LEAVING
			return errors.Join(m.send(stream, b), stream.CloseSend())
		case <-session.Done():
			return context.Cause(session)
		case <-tick.C:
		case <-m.wake:
		}
	}
}

// send sends a beat, or keeps what it reports for the next one.
func (m *Member) send(stream pb.Control_AttendClient, b *pb.Beat) error {
	err := stream.Send(b)
	if err == nil {
		return nil
	}
	m.said.unsent(b.Logs)
	if w := m.working(b.Run); w != nil {
		w.unsent()
	}
	return err
}

// nudge asks for a beat now.
func (m *Member) nudge() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// obey carries out an order of the coordinator. It does not block.
func (m *Member) obey(ctx context.Context, o *pb.Order) {
	switch o := o.Kind.(type) {
	case *pb.Order_Assign:
		m.take(ctx, o.Assign)
	case *pb.Order_View:
		if w := m.working(o.View.Run); w != nil {
			w.hear(o.View.Plain(), o.View.Now)
		}
	case *pb.Order_Stop:
		if w := m.working(o.Stop.Run); w != nil {
			w.stop()
		}
	case *pb.Order_Release:
		if w := m.working(o.Release.Run); w != nil {
			w.cancel(fmt.Errorf("released: %s", o.Release.Why))
		}
	case *pb.Order_Save:
		if w := m.working(o.Save.Run); w != nil && w.saver != nil {
			w.saver.obey(o.Save)
		}
	case *pb.Order_Committed:
		if w := m.working(o.Committed.Run); w != nil && w.saver != nil {
			w.saver.committed(o.Committed.Manifest)
		}
	case *pb.Order_Leave:
		m.leave()
	}
}

// take begins to work for a run, unless it already does.
func (m *Member) take(ctx context.Context, a *pb.Assignment) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.work != nil {
		if m.work.id != a.Run {
			m.cfg.Log.Warn("refused a second run", "run", a.Run, "working", m.work.id)
		} else {
			m.work.reorder(a)
		}
		return
	}
	if m.draining {
		return
	}
	w := newWork(ctx, m, a)
	m.work = w
	m.works.Go(func() {
		w.run()
		m.mu.Lock()
		m.work = nil
		m.mu.Unlock()
		select {
		case m.idle <- struct{}{}:
		default:
		}
		m.nudge()
	})
}

// working returns the work for a run, or nil; an empty name stands for any run.
func (m *Member) working(run string) *work {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.work == nil || run != "" && m.work.id != run {
		return nil
	}
	return m.work
}

// report is the next beat. It takes what has been collected since the last one.
func (m *Member) report() *pb.Beat {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := &pb.Beat{
		Node: pb.OfNode(m.cfg.Node), Addr: m.cfg.Addr,
		Labels: m.cfg.Labels, Version: m.cfg.Version, Protocol: pb.Protocol, Class: m.cfg.Class,
		MemoryBytes: m.cfg.Memory, Threads: int32(m.cfg.Threads), Logs: m.said.take(),
		Cluster: m.cfg.Cluster, Draining: m.draining,
	}
	if m.work != nil {
		m.work.report(b)
	}
	return b
}
