package train

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/spec"
)

// save begins a checkpoint of the step that t has just made, in the view at work.
func (w *work) save(t *Trainer) {
	w.mu.Lock()
	seated := w.seated
	w.mu.Unlock()
	if w.saver == nil || !seated || t.view == nil {
		return
	}
	w.saver.asked.Store(false)
	indices, err := w.saver.place(t.view, t.rank)
	if err != nil {
		w.log.Error("a checkpoint is not saved here", "step", t.step, "err", err)
		return
	}
	w.saver.take(w.ctx, t.State(), t.totals, indices)
}

// newSaver returns the saver of a run as ordered; nil if it takes no checkpoints. A spec that cannot be read is reported
// when the run is prepared.
func (w *work) newSaver() *saver {
	r, err := spec.FromJSON(w.order.Spec)
	if err != nil || r.Checkpoint.Every == 0 {
		return nil
	}
	s := newSaver(&w.member.cfg, w.id, r.Hash(), r.Checkpoint, w.log, w.member.nudge)
	s.open = func() (*checkpoints.Store, error) { return w.member.vault.at(s) }
	s.text, s.lead = w.order.Spec, r.Method.Lead > 0
	return s
}

// from is where the run goes on from, as last ordered.
func (w *work) from() *pb.Resumption {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.resumption
}

// reorder takes a newer form of the same assignment: the nodes that have pieces change.
func (w *work) reorder(a *pb.Assignment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a.From != nil && w.trainer == nil {
		w.resumption = a.From
	}
}

// start makes a trainer where the run begins: at step 0 with its model, or with another run's State.
func (w *work) start(job *Job) (*Trainer, error) {
	if job.Begin == "" {
		return NewTrainer(job, nil, w, w.log)
	}
	f, err := os.Open(job.Begin)
	if err != nil {
		return nil, fmt.Errorf("begin with another run's State: %w", err)
	}
	defer f.Close()
	s, err := checkpoints.ReadState(f)
	if err != nil {
		return nil, fmt.Errorf("begin with another run's State: %w", err)
	}
	if s.Step != job.Spec.After {
		return nil, fmt.Errorf("begin with another run's State: it is of step %d, the spec says %d: launch again", s.Step, job.Spec.After)
	}
	s.Spec = job.SpecHash // what it is of from here on
	t, err := NewTrainer(job, s, w, w.log)
	if err == nil {
		t.totals.Step = s.Step
	}
	return t, err
}

// missingRetry is how long a member waits that has found too few pieces.
const missingRetry = time.Second

// resume makes a trainer with the State of a checkpoint. With too few pieces it waits for those who have the others.
func (w *work) resume(ctx context.Context, job *Job) (*Trainer, error) {
	for said := ""; ; {
		from := w.from()
		m, err := checkpoints.ParseManifest(from.Manifest)
		if err != nil {
			return nil, fmt.Errorf("go on from a checkpoint: %w", err)
		}
		if m.Spec != job.SpecHash {
			return nil, fmt.Errorf("go on from the checkpoint of step %d: it is of the spec with hash %x, this run's is %x: the spec of run %s differs in its result part", m.Step, m.Spec[:6], job.SpecHash[:6], m.Run)
		}
		began := time.Now()
		s, err := checkpoints.Load(ctx, m, w.sources(job.Spec, from))
		if err == nil {
			t, err := NewTrainer(job, s, w, w.log)
			if err != nil {
				return nil, err
			}
			t.totals = Totals{Step: m.Step, LossFirst: from.LossFirst, LossLast: from.LossLast, Tokens: from.Tokens, Seconds: from.Seconds}
			w.set(func() { w.problem = "" })
			w.log.Info("goes on from a checkpoint", "step", m.Step, "bytes", m.Size, "took", time.Since(began))
			return t, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		var missing *checkpoints.MissingError
		if !errors.As(err, &missing) {
			return nil, err
		}
		if text := err.Error(); text != said {
			said = text
			w.log.Error("waits for pieces of a checkpoint", "err", err)
			w.set(func() { w.problem = text })
		}
		sleep(ctx, missingRetry)
	}
}

// sources is where pieces may be: here, at the nodes that were named, in the mirror.
func (w *work) sources(r *spec.Resolved, from *pb.Resumption) checkpoints.PieceSource {
	all := checkpoints.Sources{local{w.member}, w.member.remote(from.Holders)}
	if mirror := r.Checkpoint.Mirror; mirror != "" {
		all = append(all, checkpoints.Dir(w.member.cfg.Disk, filepath.Join(mirror, w.id)))
	}
	return all
}
