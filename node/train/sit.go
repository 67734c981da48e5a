package train

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
)

// yieldTry marks the position at which members tell each other of the view that waits.
const yieldTry = 1<<31 + 4

const (
	// rebuild is how long members whose ring broke try to agree on another one by themselves.
	rebuild = 5 * time.Second
	// pause is how long they wait between two rings.
	pause = 50 * time.Millisecond
	// idleFirst and idleMost are how long a member waits that has given up, or has the last State, before it tries again.
	idleFirst, idleMost = time.Second, 30 * time.Second
	// gathering is how long a ring may take to come about before who asks for a copy of State goes first.
	gathering = time.Second
)

// errNewerRing ends a ring because other members have gone on to the next.
var errNewerRing = errors.New("the other members are at a later ring")

// errCopyFirst ends a ring that has not come about: its members may be waiting for the very node that asks for a copy of State.
var errCopyFirst = errors.New("somebody asks for a copy of State, and no ring comes about")

// sit works in one view, ring after ring, until a later view waits.
func (w *work) sit(ctx context.Context, v *view.View, rank int) error {
	names := make([]string, len(v.Members))
	for i, m := range v.Members {
		names[i] = m.Node.Name
	}
	seat := w.member.cfg.Links.Sit(w.id, v.Hash(), names)
	defer seat.Leave()
	ctx, pass := context.WithCancelCause(ctx)
	defer pass(nil)
	t := w.trainer
	w.set(func() {
		w.phase, w.seated, w.pass = pb.Phase_PHASE_TRAINING, true, pass
		t.yieldAsked.Store(w.next != nil)
		w.retell = true
		w.made.again()
		w.steps.again()
		w.refreshes.again()
		w.validations.again()
	})
	defer func() {
		w.set(func() { w.seated, w.pass, w.lostPeer, w.lostWhy = false, nil, "", pb.Loss_LOSS_NONE })
		w.log.Debug("left view", "number", v.Number)
	}()
	w.log.Info("entered view", "number", v.Number, "members", len(v.Members), "rank", rank, "lanes", len(v.Lanes(rank)))

	var broken time.Time // since when no ring has come about
	idle := idleFirst
	for faults := 0; ; {
		began := t.place()
		number, newer := seat.Next()
		err := w.turn(ctx, v, rank, number, newer)
		switch {
		case ctx.Err() != nil:
			return nil // the work itself is over, or the view is
		case errors.Is(err, ErrYield):
			if w.awaitView(ctx) {
				return nil
			}
			t.yieldAsked.Store(false) // whoever knew of a later view is gone: this one goes on
			continue
		case strayed(err, rank):
			return err
		case errors.Is(err, errCopyFirst):
			t.copyState()
			continue
		case err != nil && w.waiting() && ringError(err):
			return nil
		}
		if t.place() != began {
			broken, faults, idle = time.Time{}, 0, idleFirst
		}
		switch {
		case err == nil || errors.Is(err, ErrStopped):
			if err := w.finish(t); err != nil {
				return err
			}
		case errors.Is(err, allreduce.ErrOverlap) || errors.Is(err, allreduce.ErrProof):
			if faults++; faults > 2 {
				return fatal{fmt.Errorf("%w, three times: please report", err)}
			}
			t.forget()
		case !ringError(err):
			return err
		}
		if !w.finished() {
			if broken.IsZero() {
				broken = time.Now()
			}
			w.accuse(ctx, v, err)
			if since := time.Since(broken); since < rebuild {
				if since >= gathering && t.keep.due(t.step) { // the view may lack the very node that asks
					t.copyState()
				}
				sleep(ctx, pause)
				continue
			}
			w.log.Warn("waits for another view: no ring comes about", "err", err, "tries again in", idle)
		}
		// Of two members, one calls the other: who missed the end, or was away, may not be able to call this one.
		if err := w.wait(ctx, newer, idle); err != nil || w.waiting() {
			return nil
		}
		idle = min(2*idle, idleMost)
	}
}

// finished says whether this member has the last State.
func (w *work) finished() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.phase == pb.Phase_PHASE_FINISHED
}

// yieldPatience is how long members that have left a ring for a later view wait to hear of it.
const yieldPatience = 2 * time.Second

// awaitView waits until a later view is known, for a while, and says whether it is.
func (w *work) awaitView(ctx context.Context) bool {
	for end := time.Now().Add(yieldPatience); !w.waiting() && ctx.Err() == nil && time.Now().Before(end); {
		sleep(ctx, pause)
	}
	return ctx.Err() != nil || w.waiting()
}

// waiting says whether there is a view to enter.
func (w *work) waiting() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.next != nil
}

// strayed says whether err found that this member cannot go on with the others as it is.
func strayed(err error, rank int) bool {
	var stray *StrayError
	return errors.As(err, &stray) && stray.has(rank)
}

// ringError says whether err ended a ring, and no more than that.
func ringError(err error) bool {
	var peer *allreduce.PeerError
	var stray *StrayError
	return errors.As(err, &peer) || errors.Is(err, allreduce.ErrOver) || errors.Is(err, allreduce.ErrFenced) ||
		errors.Is(err, errNewerRing) || errors.As(err, &stray)
}

// turn makes steps on one ring.
func (w *work) turn(ctx context.Context, v *view.View, rank int, number uint32, newer <-chan struct{}) error {
	addrs := make([]string, len(v.Members))
	for i, m := range v.Members {
		addrs[i] = m.Addr
	}
	t := w.trainer
	id := allreduce.Identity{Run: w.id, View: v.Hash(), Ring: number, Rank: rank, Members: len(v.Members), Order: v.Ring}
	c := t.job.Spec.Reduce
	if v.Relay {
		c.DirectBytes = 0
	}
	ring := allreduce.NewRing(id, w.member.cfg.Links.Mesh(id, addrs, w.member.cfg.DialRing), c)
	defer ring.Close()
	w.set(func() { w.ring = ring })
	defer w.set(func() { w.ring, w.standing, w.bytesSent = nil, false, w.bytesSent+ring.BytesSent() })

	ctx, cancel := context.WithCancelCause(ctx)
	watched, step := make(chan struct{}), t.step
	go func() {
		defer close(watched)
		w.guard(ctx, step, newer, cancel)
	}()
	defer func() { cancel(nil); <-watched }()

	err := t.Run(ctx, v, rank, &greeted{ring, w})
	var stray *StrayError
	switch {
	case errors.Is(err, ErrYield):
		if told := w.tell(ctx, ring, t, v); told != nil {
			w.log.Debug("could not tell the others of the next view", "err", told)
		}
	case errors.As(err, &stray) && !stray.has(rank):
		return fmt.Errorf("%w: %w", allreduce.ErrOver, err) // the others start over and will be in a later view
	}
	return err
}

// guard ends a ring, which begins after step, when the others are at a later one, or when somebody asks for a copy of State
// and it does not come about.
func (w *work) guard(ctx context.Context, step uint64, newer <-chan struct{}, end func(error)) {
	late := time.NewTimer(gathering)
	defer late.Stop()
	var asks <-chan struct{}
	for {
		select {
		case <-newer:
			end(errNewerRing)
			return
		case <-late.C:
			asks = w.trainer.keep.asks // who asked before, of a ring that is over, may wait still
		case <-asks:
		case <-ctx.Done():
			return
		}
		w.mu.Lock()
		standing := w.standing // the next sum takes care of it
		w.mu.Unlock()
		if !standing && w.trainer.keep.due(step) {
			end(errCopyFirst)
			return
		}
	}
}

// greeted is a ring that notes when its members have come together.
type greeted struct {
	*allreduce.Ring
	work *work
}

// Gather implements Reducer. The first thing that a ring does is a gather; when it is done, the ring stands.
func (g *greeted) Gather(ctx context.Context, at view.Position, f allreduce.Fence, own []byte) ([][]byte, error) {
	parts, err := g.Ring.Gather(ctx, at, f, own)
	if err == nil && g.work != nil {
		w := g.work
		g.work = nil
		w.set(func() {
			w.standing, w.lostPeer, w.lostWhy = true, "", pb.Loss_LOSS_NONE
			if w.next != nil {
				w.trainer.Yield()
			}
			if w.phase == pb.Phase_PHASE_FINISHED && !w.trainer.over() {
				w.phase = pb.Phase_PHASE_TRAINING
			}
		})
	}
	return parts, err
}

// tell lets the members of a view that ends tell each other which view comes next, so that it is enough when one of them
// has heard of it.
func (w *work) tell(ctx context.Context, ring *allreduce.Ring, t *Trainer, v *view.View) error {
	w.mu.Lock()
	next := w.next
	w.mu.Unlock()
	var own []byte
	if next != nil {
		var err error
		if own, err = proto.Marshal(pb.OfView(next)); err != nil {
			return err
		}
	}
	parts, err := ring.Gather(ctx, view.Position{View: v.Hash(), Step: t.step, Try: yieldTry}, allreduce.Fence{}, own)
	if err != nil {
		return err
	}
	for _, b := range parts {
		if len(b) == 0 {
			continue
		}
		next, err := toldView(v, b)
		if err != nil {
			w.log.Warn("heard of a view that cannot be", "err", err)
			continue
		}
		w.hear(next, true)
	}
	return nil
}

// accuse reports what err says about another member, if this member noticed it by itself.
func (w *work) accuse(ctx context.Context, v *view.View, err error) {
	var lost *allreduce.PeerError
	if !errors.As(err, &lost) || errors.Is(err, allreduce.ErrOver) {
		w.log.Debug("ring ended", "err", err)
		return
	}
	m, why := v.Members[lost.Rank], pb.Loss_LOSS_BROKEN
	switch {
	case errors.Is(err, allreduce.ErrSilent):
		why = pb.Loss_LOSS_SILENT
	case w.member.cfg.Probe != nil && w.member.cfg.Probe(ctx, m.Addr):
		why = pb.Loss_LOSS_REFUSED
	}
	w.mu.Lock()
	known := w.lostPeer == m.Node.Name && w.lostWhy == why
	w.lostPeer, w.lostWhy = m.Node.Name, why
	w.mu.Unlock()
	if !known {
		w.log.Warn("lost the link to a member", "member", m.Node.Name, "step", w.trainer.step+1, "err", err)
		w.member.nudge()
	}
}

// sleep waits for d or until ctx is over.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
