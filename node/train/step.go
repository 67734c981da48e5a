package train

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/internal/view"
	"github.com/torctrain/torc/methods"
)

// ErrStopped ends a run early at a step on which all members agreed, because one of them was asked to stop.
var ErrStopped = errors.New("train: run stopped")

// step makes one optimizer update, trying until it commits: refresh, gradient, sum and update happen together or not at
// all. It returns ErrStopped, after committing, when the members agreed to end.
func (t *Trainer) makeStep(ctx context.Context) (StepReport, error) {
	start, step := time.Now(), t.step+1
	if t.refresher != nil && t.refresher.Due(step) {
		if err := t.refresh(ctx, step); err != nil {
			return StepReport{}, fmt.Errorf("refresh before step %d: %w", step, err)
		}
	}
	sent := t.ring.BytesSent()
	tries, skipped, err := t.sum(ctx, step)
	if err != nil {
		return StepReport{}, err
	}
	report := StepReport{
		Step: step, Tokens: t.side.Tokens, Counted: t.side.Counted, Tries: tries,
		WireBytes: t.ring.BytesSent() - sent, LaneSeconds: t.laneSeconds,
	}
	report.Loss = meanLoss(t.side)
	if skipped {
		t.log.Warn("skipped a step: gradients are not finite, twice", "step", step, "lanes", nameLanes(t.side.NonFinite))
	} else {
		report.Rate, report.GradNorm = t.update(step)
	}
	t.step = step
	report.Seconds = time.Since(start).Seconds()
	if t.side.Flags&allreduce.StopAsked != 0 {
		return report, ErrStopped
	}
	return report, nil
}

// sum computes this member's lanes and sums them with everyone's, again with better scales when the totals could have
// overflowed. Afterwards t.total and t.side hold the totals of a step that may commit, or skipped says to leave θ alone.
func (t *Trainer) sum(ctx context.Context, step uint64) (tries uint32, skipped bool, err error) {
	lanes := t.view.Lanes(t.rank)
	nonFinite := false
	for try := uint32(0); ; try++ {
		at := view.Position{View: t.viewHash, Step: step, Try: try}
		if err := t.gradient(ctx, at, lanes); err != nil {
			return 0, false, err
		}
		if bad := nameLanes(t.side.NonFinite); bad != "" {
			if nonFinite && t.job.Spec.Reduce.OnNonFinite != "skip" {
				return 0, false, t.nonFiniteError(step, bad)
			}
			if nonFinite {
				return try + 1, true, nil
			}
			nonFinite = true
			continue
		}
		next, commit, err := t.scales.Judge(t.side, step, t.lanes, t.job.Spec.Reduce.Bits)
		if err != nil {
			return 0, false, fmt.Errorf("step %d: %w", step, err)
		}
		if commit {
			return try + 1, false, nil
		}
		if try >= maxTries {
			return 0, false, fmt.Errorf("step %d: no scales fit after %d tries: gradients change between tries, which they must not: please report", step, try+1)
		}
		t.scales = next
	}
}

// maxTries bounds the tries of a step. One more than the first suffices for scales, one for a non-finite lane.
const maxTries = 4

// gradient fills own with this member's lanes and leaves the totals over all members in t.total and t.side. The sum starts
// with the last lane: what backward has finished travels while lower layers still run.
func (t *Trainer) gradient(ctx context.Context, at view.Position, lanes []int) error {
	clear(t.own)
	t.side.Reset()
	if t.stopping() {
		t.side.Flags |= allreduce.StopAsked
	}
	start, fence, ready := time.Now(), t.fence(), allreduce.NewWatermark()
	var sum errgroup.Group
	begin := func() {
		sum.Go(func() error { return t.ring.Sum(ctx, at, fence, t.own, t.total, t.side, ready) })
	}
	for i, l := range lanes {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		examples, err := t.job.Train.Examples(at.Step, l)
		if err != nil {
			return fmt.Errorf("read samples of lane %d at step %d: %w", l, at.Step, err)
		}
		var done func(int)
		if i == len(lanes)-1 {
			begin()
			done = func(n int) { ready.Raise(min(n, len(t.own)-1)) } // the side values are not final yet
		}
		t.lane.add(l, at.Step, examples, t.own, t.side, t.scales, done)
	}
	t.laneSeconds = time.Since(start).Seconds() / float64(max(1, len(lanes)))
	if len(lanes) == 0 {
		begin()
	}
	ready.Raise(len(t.own))
	return sum.Wait()
}

// update applies the sum: divide by the counted tokens, clip, penalty, AdamW, push (protocol.md §2).
func (t *Trainer) update(step uint64) (rate, norm float64) {
	opt := t.job.Spec.Optimizer
	rate = opt.Rate(step, t.job.Steps)
	if t.side.Counted == 0 {
		return rate, 0
	}
	norm = t.norm()
	factor := methods.ClipFactor(norm, opt.Clip)
	adamw := opt.Step(step, rate)
	t.eachWeight(func(s span, off, n int) {
		g := t.dequantise(s, t.lane.scratch[:n])
		if factor != 1 {
			for i, x := range g {
				g[i] = x * factor
			}
		}
		t.job.Method.Penalty(t.lane.tensors[s.from].Weight, t.theta[off:off+n], g)
		t.job.Kernels.AdamW(t.theta[off:off+n], t.m[off:off+n], t.v[off:off+n], g, adamw)
	})
	t.job.Method.Push(t.theta, t.job.Weights)
	t.scales = t.scales.After(t.side, t.lanes, t.job.Spec.Reduce.Bits)
	return rate, norm
}

// norm is the Euclidean norm of the mean gradient.
func (t *Trainer) norm() float64 {
	var n methods.Norm
	t.eachWeight(func(s span, off, count int) { n.Add(t.dequantise(s, t.lane.scratch[:count])) })
	return n.Value()
}

// meanLoss is the mean loss per answer token in nats, 0 without any.
func meanLoss(s *allreduce.Side) float64 {
	return float64(s.Loss) / (1 << 20) / float64(max(1, s.Counted))
}
