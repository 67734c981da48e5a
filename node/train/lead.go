package train

import (
	"context"
	"slices"
	"sync"

	"github.com/torctrain/torc/model"
)

// lead selects for a refresh to come, beside the steps: on the weights as they were when θ became pending, which every member
// can tell at any time until the sets are adopted. So it does not matter when it runs, how far it gets, and on which member:
// what it lacks when the sets are due is selected then.
type lead struct {
	weights sync.Mutex   // held while the weights change, and while one is copied
	picked  map[int]pick // as Trainer.picked; of the goroutine while it runs
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// begin starts to select this member's share, with the kernels of one worker, unless there is nothing to select or it has begun
// already.
func (l *lead) begin(ctx context.Context, t *Trainer) {
	if t.pending == nil || l.cancel != nil {
		return
	}
	ctx, l.cancel = context.WithCancel(ctx)
	if l.picked == nil {
		l.picked = map[int]pick{}
	}
	pending, selected := t.pending, t.refresher.Selected()
	owner := owners(selected, len(t.view.Members))
	l.running.Go(func() {
		for i, s := range selected {
			if _, has := l.picked[i]; has || owner[i] != t.rank {
				continue
			}
			if ctx.Err() != nil {
				return
			}
			l.weights.Lock()
			w := t.leader.AsOf(s.Weight, pending, t.job.Weights)
			l.weights.Unlock()
			x, err := t.choose(t.job.Workers[0], s.Weight, w)
			if err != nil {
				return // whoever selects when it is due meets it again
			}
			l.picked[i] = x
		}
	})
}

// end waits for the weight that is being selected and begins no other. What is selected stays.
func (l *lead) end() {
	if l.cancel == nil {
		return
	}
	l.cancel()
	l.running.Wait()
	l.cancel = nil
}

// pend makes θ of now pending if the selection of a refresh begins before the next step.
func (t *Trainer) pend() {
	if t.leader != nil && t.leader.Begins(t.step+1) {
		t.pending = slices.Clone(t.theta)
	}
}

// seen is weight id as the selection that is due looks at it: as it is, or as it was when the selection began.
func (t *Trainer) seen(id model.WeightID) *model.Matrix {
	if t.pending != nil {
		return t.leader.AsOf(id, t.pending, t.job.Weights)
	}
	return t.job.Weights.Params[id].Matrix
}
