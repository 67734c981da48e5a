package control

import (
	"context"
	"crypto/sha256"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/spec"
)

// fakeMember attends and goes through the phases of a run without computing anything: its State is a text.
type fakeMember struct {
	pb.UnimplementedPeerServer
	t       *testing.T
	name    string
	boot    uint64
	state   string // what it reports the digest of
	sends   string // what it sends as State
	cluster string // that it belongs to, for a coordinator that lost it

	hold chan struct{} // closed: steps may be made beyond the first

	moved    atomic.Pointer[string] // where the coordinator is now; nil: where it was
	released chan string            // capacity 16: reasons

	mu       sync.Mutex // guards what follows
	beat     *pb.Beat
	assigned *pb.Assignment
	view     *pb.View
	wake     chan struct{} // capacity 1

	steps     uint64        // of the run it works for
	stop, out chan struct{} // closed when it is to stop, and when it is not in the view any more
}

func newFake(t *testing.T, name string) *fakeMember {
	f := &fakeMember{t: t, name: name, boot: 1, state: "the last State", sends: "the last State", hold: make(chan struct{}), wake: make(chan struct{}, 1), released: make(chan string, 16)}
	close(f.hold)
	return f
}

// change changes what f reports, and reports it.
func (f *fakeMember) change(do func(b *pb.Beat)) {
	f.mu.Lock()
	do(f.beat)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run attends until ctx ends.
func (f *fakeMember) run(ctx context.Context, coordinator string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := cluster.NewServer()
	pb.RegisterPeerServer(server, f)
	f.beat = &pb.Beat{Node: &pb.NodeID{Name: f.name, Boot: f.boot}, Addr: l.Addr().String(), Class: "cpu-1", Cluster: f.cluster, Protocol: pb.Protocol}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return cluster.Serve(ctx, server, l) })
	g.Go(func() error {
		var works sync.WaitGroup
		defer works.Wait()
		retry := time.NewTicker(20 * time.Millisecond)
		defer retry.Stop()
		for {
			if to := f.moved.Load(); to != nil {
				coordinator = *to
			}
			if err := f.attend(ctx, coordinator, &works); ctx.Err() != nil || status.Code(err) != codes.Unavailable {
				return err
			}
			select {
			case <-ctx.Done():
			case <-retry.C:
			}
		}
	})
	if err := g.Wait(); ctx.Err() == nil {
		return err
	}
	return nil
}

// attend is one session. What f works at goes on when it breaks.
func (f *fakeMember) attend(ctx context.Context, coordinator string, works *sync.WaitGroup) error {
	conn, err := cluster.Dial(coordinator)
	if err != nil {
		return err
	}
	defer conn.Close()
	g, session := errgroup.WithContext(ctx)
	stream, err := pb.NewControlClient(conn).Attend(session)
	if err != nil {
		return err
	}
	g.Go(func() error { return f.report(session, stream) })
	g.Go(func() error { return f.obey(ctx, stream, works) })
	return g.Wait()
}

func (f *fakeMember) report(ctx context.Context, stream pb.Control_AttendClient) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		f.mu.Lock()
		err := stream.Send(f.beat)
		f.beat.Steps, f.beat.Logs = nil, nil
		f.mu.Unlock()
		if err != nil {
			return nil // obey knows why
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-f.wake:
		}
	}
}

func (f *fakeMember) obey(ctx context.Context, stream pb.Control_AttendClient, works *sync.WaitGroup) error {
	for {
		o, err := stream.Recv()
		if err != nil {
			return err
		}
		switch o := o.Kind.(type) {
		case *pb.Order_Assign:
			r, err := spec.FromJSON(o.Assign.Spec)
			if err != nil {
				return err
			}
			if r.Class != "cpu-1" {
				return errors.New("assigned to a run of class " + r.Class)
			}
			f.mu.Lock()
			f.assigned = o.Assign
			f.mu.Unlock()
			f.steps, f.stop, f.out = uint64(r.Steps), make(chan struct{}), make(chan struct{})
			f.change(func(b *pb.Beat) { b.Run, b.Phase, b.Trained = o.Assign.Run, pb.Phase_PHASE_READY, 1234 })
		case *pb.Order_View:
			f.enter(ctx, o.View, works)
		case *pb.Order_Stop:
			close(f.stop)
		case *pb.Order_Leave:
			f.change(func(b *pb.Beat) { b.Draining = true })
		case *pb.Order_Release:
			f.released <- o.Release.Why
			f.change(func(b *pb.Beat) {
				*b = pb.Beat{Node: b.Node, Addr: b.Addr, Class: b.Class, Cluster: b.Cluster, Protocol: b.Protocol, Draining: b.Draining} //nolint:govet // a beat begins anew
			})
		}
	}
}

// enter begins to train in the first view, and in later ones goes on if it has a seat.
func (f *fakeMember) enter(ctx context.Context, v *pb.View, works *sync.WaitGroup) {
	f.mu.Lock()
	known := f.beat.ViewNumber
	f.view = v
	f.mu.Unlock()
	seated := slices.ContainsFunc(v.Members, func(m *pb.Member) bool { return m.Node.Name == f.name && m.Node.Boot == f.boot })
	switch {
	case known >= v.Number: // said again
	case known == 0 && seated:
		steps, stop, out := f.steps, f.stop, f.out
		f.change(func(b *pb.Beat) { b.ViewNumber = v.Number })
		works.Go(func() { f.train(ctx, v, steps, stop, out) })
	case seated:
		f.change(func(b *pb.Beat) { b.View, b.ViewNumber = 7, v.Number })
	case known > 0:
		close(f.out)
		f.change(func(b *pb.Beat) { b.View, b.ViewNumber, b.Phase = 0, 0, pb.Phase_PHASE_JOINING })
	}
}

// train makes the steps of a run.
func (f *fakeMember) train(ctx context.Context, v *pb.View, steps uint64, stop, out chan struct{}) {
	for step := uint64(1); step <= steps; step++ {
		if step > 1 {
			select {
			case <-f.hold:
			case <-stop:
			case <-out:
				return
			case <-ctx.Done():
				return
			}
		}
		stopped := false
		select {
		case <-stop:
			stopped = true
		default:
		}
		f.change(func(b *pb.Beat) {
			b.Phase, b.View, b.Step, b.BytesSent = pb.Phase_PHASE_TRAINING, 7, step, 1000*step
			b.ViewNumber = max(b.ViewNumber, v.Number)
			b.Totals = &pb.Totals{Step: step, LossFirst: 1, LossLast: 1 / float64(step), Tokens: int64(10 * step), Seconds: 0.01 * float64(step)}
			if v.Members[0].Node.Name == f.name {
				b.Steps = append(b.Steps, &pb.StepReport{Step: step, Loss: 1 / float64(step), Tokens: 10, Counted: 5, Seconds: 0.01, View: b.ViewNumber})
				b.Made = append(b.Made, &pb.FirstStep{View: b.ViewNumber, Step: step}) // the first one counts
			}
			if step == 1 {
				b.Logs = append(b.Logs, &pb.LogLine{UnixNano: time.Now().UnixNano(), Level: "INFO", Text: "entered view"})
			}
		})
		if stopped {
			f.finish(true)
			return
		}
	}
	f.finish(false)
}

func (f *fakeMember) finish(stopped bool) {
	digest := sha256.Sum256([]byte(f.state))
	f.change(func(b *pb.Beat) { b.Phase, b.Digest, b.Stopped = pb.Phase_PHASE_FINISHED, digest[:], stopped })
}

// Describe tells what it works for (pb.Peer).
func (f *fakeMember) Describe(context.Context, *pb.DescribeRequest) (*pb.Description, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &pb.Description{Cluster: f.cluster, Assignment: f.assigned, View: f.view}, nil
}

// State sends the text in two chunks (pb.Peer).
func (f *fakeMember) State(_ *pb.StateRequest, stream grpc.ServerStreamingServer[pb.Chunk]) error {
	half := len(f.sends) / 2
	for _, part := range []string{f.sends[:half], f.sends[half:]} {
		if err := stream.Send(&pb.Chunk{Data: []byte(part)}); err != nil {
			return err
		}
	}
	return nil
}
