package control

import (
	"context"
	"crypto/sha256"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/spec"
)

// fakeMember attends and goes through the phases of a run without computing anything: its State is a text.
type fakeMember struct {
	pb.UnimplementedPeerServer
	t     *testing.T
	name  string
	boot  uint64
	state string // what it reports the digest of
	sends string // what it sends as State

	hold chan struct{} // closed: steps may be made beyond the first

	mu   sync.Mutex // guards beat
	beat *pb.Beat
	wake chan struct{} // capacity 1
}

func newFake(t *testing.T, name string) *fakeMember {
	f := &fakeMember{t: t, name: name, boot: 1, state: "the last State", sends: "the last State", hold: make(chan struct{}), wake: make(chan struct{}, 1)}
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
	conn, err := cluster.Dial(coordinator)
	if err != nil {
		return err
	}
	f.beat = &pb.Beat{Node: &pb.NodeID{Name: f.name, Boot: f.boot}, Addr: l.Addr().String(), Class: "cpu-1"}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return cluster.Serve(ctx, server, l) })
	g.Go(func() error {
		defer conn.Close()
		g, ctx := errgroup.WithContext(ctx)
		stream, err := pb.NewControlClient(conn).Attend(ctx)
		if err != nil {
			return err
		}
		g.Go(func() error { return f.report(ctx, stream) })
		g.Go(func() error { return f.obey(ctx, stream) })
		return g.Wait()
	})
	if err := g.Wait(); ctx.Err() == nil {
		return err
	}
	return nil
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
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-f.wake:
		}
	}
}

func (f *fakeMember) obey(ctx context.Context, stream pb.Control_AttendClient) error {
	var g sync.WaitGroup
	defer g.Wait()
	var steps uint64
	stop := make(chan struct{})
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
			steps, stop = uint64(r.Steps), make(chan struct{})
			f.change(func(b *pb.Beat) { b.Run, b.Phase, b.Trained = o.Assign.Run, pb.Phase_PHASE_READY, 1234 })
		case *pb.Order_View:
			g.Go(func() { f.train(ctx, o.View, steps, stop) })
		case *pb.Order_Stop:
			close(stop)
		case *pb.Order_Release:
			f.change(func(b *pb.Beat) {
				*b = pb.Beat{Node: b.Node, Addr: b.Addr, Class: b.Class} //nolint:govet // a beat begins anew
			})
		}
	}
}

// train makes the steps of a run.
func (f *fakeMember) train(ctx context.Context, v *pb.View, steps uint64, stop chan struct{}) {
	for step := uint64(1); step <= steps; step++ {
		if step > 1 {
			select {
			case <-f.hold:
			case <-stop:
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
			if v.Members[0].Node.Name == f.name {
				b.Steps = append(b.Steps, &pb.StepReport{Step: step, Loss: 1 / float64(step), Tokens: 10, Counted: 5, Seconds: 0.01})
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
