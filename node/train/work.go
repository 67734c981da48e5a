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
	"time"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
)

// work is a member's part in one run, from the assignment to the release.
//
//	prepare → join (fetch State) ─┐
//	   └───────────→ ready ⇄ follow the records of others
//	                   ⇅
//	                 seated in a view: ring after ring (seat.go)
type work struct {
	member *Member
	id     string // of the run
	log    *slog.Logger
	ctx    context.Context // ends with the node or by the coordinator's release
	cancel context.CancelCauseFunc
	order  *pb.Assignment
	saver  *saver // nil if the run takes no checkpoints

	mu          sync.Mutex     // guards what follows
	resumption  *pb.Resumption // where the run goes on from; nil: from the beginning
	trainer     *Trainer       // nil while preparing
	phase       pb.Phase
	problem     string
	fatal       bool
	tie         *TieError // nil: none was found
	lostPeer    string
	lostWhy     pb.Loss
	view        *view.View // at work or, without a seat, the last one heard of
	seated      bool
	standing    bool            // the members of the ring at work have come together
	next        *view.View      // the newest view not yet entered
	pass        func(why error) // ends what the work does now, for the sake of next; nil: it will look by itself
	arrived     chan struct{}   // room for one: next was set
	step        uint64
	ring        interface{ BytesSent() int64 } // at work; nil without
	digest      []byte
	snapshot    []byte // canonical State at the end
	stopped     bool
	stopEarly   bool      // stop was ordered before the trainer existed
	bytesSent   int64     // by rings that are over
	laneSeconds []float64 // of the last steps
	selections  uint64    // sets that this member selected and that were adopted
	selecting   float64   // seconds of one processor that they took
	totals      Totals
	made        reports[*pb.FirstStep] // the views behind State, in order; of a checkpoint: since then
	steps       reports[*pb.StepReport]
	refreshes   reports[*pb.RefreshReport]
	validations reports[*pb.ValidationReport]
	retell      bool // the next beat has all that is at hand, whoever's duty it is to tell
}

// newWork returns the work for a run; it lasts as long as ctx, the node's, or until it is cancelled.
func newWork(ctx context.Context, m *Member, a *pb.Assignment) *work {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &work{
		member: m, id: a.Run, order: a, log: m.cfg.Log.With("run", a.Run), ctx: ctx, cancel: cancel,
		arrived: make(chan struct{}, 1), phase: pb.Phase_PHASE_PREPARING, resumption: a.From,
	}
	w.saver = w.newSaver()
	return w
}

// run prepares, trains and stays until the coordinator releases the node, so that its outcome can be seen and fetched.
func (w *work) run() {
	if w.saver != nil {
		var saving sync.WaitGroup
		defer saving.Wait()
		saving.Go(func() { w.saver.serve(w.ctx) })
		saving.Go(func() { w.tend(w.ctx) })
	}
	defer w.cancel(nil)
	if err := w.do(w.ctx); err != nil && w.ctx.Err() == nil {
		w.fail(err)
	}
	<-w.ctx.Done()
}

// do works until ctx is over or an error ends this member's part.
func (w *work) do(ctx context.Context) error {
	if err := w.begin(ctx, w.order.Join); err != nil {
		return err
	}
	for {
		v := w.enter()
		var err error
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case v != nil && v.Rank(w.member.cfg.Node) >= 0:
			err = w.sit(ctx, v, v.Rank(w.member.cfg.Node))
		case w.order.Join || v != nil:
			err = w.follow(ctx)
		default:
			err = w.wait(ctx, nil, 0)
		}
		var stray *StrayError
		if errors.As(err, &stray) || errors.Is(err, errGone) {
			w.log.Warn("starts over from a State of others", "why", err)
			w.set(func() { w.phase, w.lostWhy = pb.Phase_PHASE_JOINING, strayedHow(err, w.member.cfg.Node, v) })
			err = w.begin(ctx, true)
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// strayedHow is what err, which a member starts over for, means for it.
func strayedHow(err error, self view.NodeID, v *view.View) pb.Loss {
	var stray *StrayError
	if errors.As(err, &stray) && v != nil && slices.Contains(stray.Diverged, v.Rank(self)) {
		return pb.Loss_LOSS_DIVERGED
	}
	return pb.Loss_LOSS_BEHIND
}

// begin prepares the run and makes the trainer: where the spec says, or with a State of the other members.
func (w *work) begin(ctx context.Context, join bool) error {
	w.set(func() {
		w.phase, w.trainer, w.made = pb.Phase_PHASE_PREPARING, nil, reports[*pb.FirstStep]{most: maxMade}
		if join {
			w.phase = pb.Phase_PHASE_JOINING
		}
	})
	job, err := w.member.prepare(ctx, w.order, w.peers())
	if err != nil {
		return err
	}
	var t *Trainer
	switch {
	case join:
		t, err = w.join(ctx, job)
	case w.from() != nil:
		t, err = w.resume(ctx, job)
	default:
		t, err = w.start(job)
	}
	if err != nil {
		return err
	}
	if w.saver != nil {
		t.save, t.saveAsked = func() { w.save(t) }, &w.saver.asked
		w.saver.reserve(t.State())
	}
	w.set(func() {
		w.trainer, w.step, w.lostWhy = t, t.step, pb.Loss_LOSS_NONE
		if w.phase == pb.Phase_PHASE_PREPARING {
			w.phase = pb.Phase_PHASE_READY
		}
		if w.stopEarly {
			t.Stop()
		}
	})
	return nil
}

// wait does nothing but serve copies of State until there is a view to enter, until again is closed, for as long as most if
// that is above 0, or until ctx is over.
func (w *work) wait(ctx context.Context, again <-chan struct{}, most time.Duration) error {
	var enough <-chan time.Time
	if most > 0 {
		timer := time.NewTimer(most)
		defer timer.Stop()
		enough = timer.C
	}
	for {
		if t := w.trainer; t.keep.due(t.step) {
			t.copyState()
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-w.arrived:
			return nil
		case <-again:
			return nil
		case <-enough:
			return nil
		case <-w.trainer.keep.asks:
		}
	}
}

// finish keeps the last State for whoever asks.
func (w *work) finish(t *Trainer) error {
	defer t.works()()
	var snapshot bytes.Buffer
	if _, err := t.State().WriteTo(&snapshot); err != nil {
		return fmt.Errorf("keep the last State: %w", err)
	}
	if w.saver != nil && t.ended {
		w.saver.settle(w.ctx) // the run may be resumed from here
	}
	digest := sha256.Sum256(snapshot.Bytes())
	if bytes.Equal(w.digest, digest[:]) { // only this goroutine writes it
		w.set(func() { w.phase = pb.Phase_PHASE_FINISHED })
		return nil
	}
	w.set(func() {
		w.phase, w.digest, w.snapshot, w.stopped = pb.Phase_PHASE_FINISHED, digest[:], snapshot.Bytes(), t.ended && t.step < t.job.Steps
	})
	w.log.Info("finished", "step", t.step, "digest", fmt.Sprintf("%x", digest))
	return nil
}

func (w *work) fail(err error) {
	w.log.Error("run failed here", "err", err)
	var f fatal
	var tie *TieError
	w.set(func() {
		w.phase, w.problem, w.fatal = pb.Phase_PHASE_FAILED, err.Error(), errors.As(err, &f)
		if errors.As(err, &tie) {
			w.tie = tie
		}
	})
}

// set changes what is reported and reports it.
func (w *work) set(change func()) {
	w.mu.Lock()
	change()
	w.mu.Unlock()
	w.member.nudge()
}

// errViewOver ends what a member does in a view because a later one waits.
var errViewOver = errors.New("a later view waits")

// hear takes note of a view: the newest counts. With now the present one is left at once, else at the end of a step.
func (w *work) hear(v *view.View, now bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !newer(v, w.view) || w.next != nil && !newer(v, w.next) && !now {
		return
	}
	if w.next == nil || newer(v, w.next) {
		w.next = v
	}
	select {
	case w.arrived <- struct{}{}:
	default:
	}
	switch {
	case w.pass == nil:
	case now || !w.standing:
		w.pass(errViewOver)
	default:
		w.trainer.Yield()
	}
}

// newer says whether v was decided after u: by a later incarnation of the coordinator, or by a higher number.
func newer(v, u *view.View) bool {
	return u == nil || v.Incarnation > u.Incarnation || v.Incarnation == u.Incarnation && v.Number > u.Number
}

// enter makes the newest view the present one and returns it.
func (w *work) enter() *view.View {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next != nil {
		w.view, w.next = w.next, nil
		select {
		case <-w.arrived:
		default:
		}
	}
	return w.view
}

// peers are the addresses of nodes that may have files and State of the run: the members of the last view, else those that
// the coordinator named.
func (w *work) peers() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := w.view
	if w.next != nil {
		v = w.next
	}
	var addrs []string
	if v != nil {
		for _, m := range v.Members {
			if m.Addr != w.member.cfg.Addr { // also not this node's former self
				addrs = append(addrs, m.Addr)
			}
		}
	}
	for _, a := range w.order.Peers {
		if !slices.Contains(addrs, a) && a != w.member.cfg.Addr {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

func (w *work) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopEarly = true
	if w.trainer != nil {
		w.trainer.Stop()
	}
}
