package train

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
)

// work is a member's part in one run, from the assignment to the release.
type work struct {
	member *Member
	id     string // of the run
	log    *slog.Logger
	ctx    context.Context // ends with the node or by the coordinator's release
	cancel context.CancelCauseFunc
	views  chan *view.View // capacity 1: the newest view not yet entered

	mu          sync.Mutex // guards what follows
	trainer     *Trainer   // nil while preparing
	phase       pb.Phase
	problem     string
	lostPeer    string
	view        uint64
	rank        int
	step        uint64
	ring        *allreduce.Ring
	digest      []byte
	snapshot    []byte // canonical State at the end
	stopped     bool
	stopEarly   bool // stop was ordered before the trainer existed
	bytesSent   int64
	laneSeconds []float64 // of the last steps
	steps       []*pb.StepReport
	refreshes   []*pb.RefreshReport
	validations []*pb.ValidationReport
}

// newWork returns the work for a run; it lasts as long as ctx, the node's, or until it is cancelled.
func newWork(ctx context.Context, m *Member, run string) *work {
	ctx, cancel := context.WithCancelCause(ctx)
	return &work{
		member: m, id: run, log: m.cfg.Log.With("run", run), ctx: ctx, cancel: cancel,
		views: make(chan *view.View, 1), phase: pb.Phase_PHASE_PREPARING,
	}
}

// run prepares, trains and stays until the coordinator releases the node, so that its outcome can be seen and fetched.
func (w *work) run(a *pb.Assignment) {
	defer w.cancel(nil)
	if err := w.do(w.ctx, a); err != nil && w.ctx.Err() == nil {
		w.fail(err)
	}
	<-w.ctx.Done()
}

func (w *work) do(ctx context.Context, a *pb.Assignment) error {
	job, err := w.member.prepare(ctx, a)
	if err != nil {
		return err
	}
	t := NewTrainer(job, w, w.log)
	w.set(func() {
		w.trainer, w.phase = t, pb.Phase_PHASE_READY
		if w.stopEarly {
			t.Stop()
		}
	})
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case v := <-w.views:
			rank := v.Rank(w.member.cfg.Node)
			if rank < 0 {
				continue // a spare: ready, without a seat
			}
			if err := w.train(ctx, t, v, rank); err != nil {
				return err
			}
		}
	}
}

// train works in one view until the run is over.
func (w *work) train(ctx context.Context, t *Trainer, v *view.View, rank int) error {
	addrs := make([]string, len(v.Members))
	for i, m := range v.Members {
		addrs[i] = m.Addr
	}
	id := allreduce.Identity{Run: w.id, View: v.Hash(), Rank: rank, Members: len(v.Members), Order: v.Ring}
	ring := allreduce.NewRing(id, w.member.cfg.Links.Mesh(id, addrs, w.member.cfg.DialRing), t.job.Spec.Reduce)
	defer ring.Close()
	w.set(func() { w.phase, w.view, w.rank, w.ring = pb.Phase_PHASE_TRAINING, v.Hash(), rank, ring })
	w.log.Info("entered view", "number", v.Number, "members", len(v.Members), "rank", rank, "lanes", len(v.Lanes(rank)))

	err := t.Run(ctx, v, rank, ring)
	w.set(func() { w.bytesSent, w.ring = ring.BytesSent(), nil })
	if err != nil && !errors.Is(err, ErrStopped) {
		var lost *allreduce.PeerError
		if errors.As(err, &lost) {
			name := v.Members[lost.Rank].Node.Name
			w.set(func() { w.lostPeer = name })
			err = fmt.Errorf("lost member %s at step %d: %w", name, t.step+1, err)
		}
		return err
	}
	return w.finish(t, errors.Is(err, ErrStopped))
}

// finish keeps the last State for whoever asks.
func (w *work) finish(t *Trainer, stopped bool) error {
	var snapshot bytes.Buffer
	if _, err := t.State().WriteTo(&snapshot); err != nil {
		return fmt.Errorf("keep the last State: %w", err)
	}
	digest := sha256.Sum256(snapshot.Bytes())
	w.set(func() {
		w.phase, w.digest, w.snapshot, w.stopped = pb.Phase_PHASE_FINISHED, digest[:], snapshot.Bytes(), stopped
	})
	w.log.Info("finished", "step", t.step, "digest", fmt.Sprintf("%x", digest))
	return nil
}

func (w *work) fail(err error) {
	w.log.Error("run failed here", "err", err)
	w.set(func() { w.phase, w.problem = pb.Phase_PHASE_FAILED, err.Error() })
}

// set changes what is reported and reports it.
func (w *work) set(change func()) {
	w.mu.Lock()
	change()
	w.mu.Unlock()
	w.member.nudge()
}

// enter gives the work a newer view; only the newest counts. The one it is in may come again, after a reconnect.
func (w *work) enter(v *view.View) {
	w.mu.Lock()
	in := w.view
	w.mu.Unlock()
	if v.Hash() == in {
		return
	}
	select {
	case <-w.views:
	default:
	}
	w.views <- v
}

func (w *work) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopEarly = true
	if w.trainer != nil {
		w.trainer.Stop()
	}
}

// report adds what the coordinator wants to know of this run to a beat.
func (w *work) report(b *pb.Beat) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b.Run, b.Phase, b.Error, b.LostPeer = w.id, w.phase, w.problem, w.lostPeer
	b.View, b.Step, b.Digest, b.Stopped = w.view, w.step, w.digest, w.stopped
	if w.trainer != nil {
		b.Trained = int64(w.trainer.job.Method.Len())
	}
	b.BytesSent = uint64(w.bytesSent)
	if w.ring != nil {
		b.BytesSent = uint64(w.ring.BytesSent())
	}
	if n := len(w.laneSeconds); n > 0 {
		b.LaneSeconds = slices.Sorted(slices.Values(w.laneSeconds))[n/2]
	}
	b.Steps, b.Refreshes, b.Validations = w.steps, w.refreshes, w.validations
	w.steps, w.refreshes, w.validations = nil, nil, nil
}

// unsent takes back what a beat that did not leave would have reported.
func (w *work) unsent(b *pb.Beat) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.steps = append(b.Steps, w.steps...)
	w.refreshes = append(b.Refreshes, w.refreshes...)
	w.validations = append(b.Validations, w.validations...)
}

// Stepped implements Observer.
func (w *work) Stepped(r StepReport) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.step = r.Step
	if r.LaneSeconds > 0 {
		w.laneSeconds = append(w.laneSeconds, r.LaneSeconds)
		w.laneSeconds = w.laneSeconds[max(0, len(w.laneSeconds)-21):]
	}
	if w.rank != 0 {
		return // one report is enough: all members have the same
	}
	w.steps = append(w.steps, &pb.StepReport{
		Step: r.Step, Loss: r.Loss, Tokens: r.Tokens, Counted: r.Counted, Seconds: r.Seconds, Rate: r.Rate,
		GradNorm: r.GradNorm, Tries: r.Tries, WireBytes: r.WireBytes,
	})
}

// Refreshed implements Observer.
func (w *work) Refreshed(r RefreshReport) {
	w.log.Debug("refreshed index sets", "step", r.Step, "seconds", r.Seconds, "churn", r.Churn)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rank == 0 {
		w.refreshes = append(w.refreshes, &pb.RefreshReport{Step: r.Step, Seconds: r.Seconds, Churn: r.Churn})
	}
}

// Validated implements Observer.
func (w *work) Validated(step uint64, loss float64, counted int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rank == 0 {
		w.validations = append(w.validations, &pb.ValidationReport{Step: step, Loss: loss, Counted: counted})
	}
}
