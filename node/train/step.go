package train

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/internal/view"
	"github.com/torctrain/torc/methods"
)

// fatal marks an error that ends the run wherever it goes on, since every member would come to it.
type fatal struct{ error }

func (f fatal) Unwrap() error { return f.error }

// maxTries bounds the tries of a step. One more than the first suffices for scales, one for a non-finite lane.
const maxTries = 4

// attempt is one try at the step being made: it ends with a commit, or with what the next try goes by. Until then nothing
// has changed; afterwards everything has, on every member that got the sum.
func (t *Trainer) attempt(ctx context.Context) error {
	if err := t.gradient(ctx); err != nil {
		return err
	}
	step := t.step + 1
	if bad := nameLanes(t.side.NonFinite); bad != "" {
		switch {
		case !t.nonFinite:
			t.nonFinite = true
			t.again(t.scales)
			return nil
		case t.job.Spec.Reduce.OnNonFinite != "skip":
			return fatal{t.nonFiniteError(step, bad)}
		}
		t.log.Warn("skipped a step: gradients are not finite, twice", "step", step, "lanes", bad)
		return t.commit(true)
	}
	next, commit, err := t.scales.Judge(t.side, step, t.lanes, t.job.Spec.Reduce.Bits)
	switch {
	case err != nil:
		return fmt.Errorf("step %d: %w", step, err)
	case commit:
		return t.commit(false)
	case t.try >= maxTries:
		return fatal{fmt.Errorf("step %d: no scales fit after %d tries: gradients change between tries, which they must not: please report", step, t.try+1)}
	}
	t.again(next)
	return nil
}

// again begins the next try.
func (t *Trainer) again(scales allreduce.Scales) {
	t.scales = scales
	t.try++
	t.forget()
}

// gradient fills own with this member's lanes, as far as they are not there yet, and leaves the totals over all members in
// t.total and t.side. The sum starts with the last lane: what backward has finished travels while lower layers still run.
// A lane that has begun is finished, whatever happens to the sum.
func (t *Trainer) gradient(ctx context.Context) error {
	at := view.Position{View: t.viewHash, Step: t.step + 1, Try: t.try}
	start, fence, ready := time.Now(), t.fence(), allreduce.NewWatermark()
	var sum errgroup.Group
	begin := func() {
		t.side.Flags = t.flags() // not those of a sum that came to nothing
		sum.Go(func() error { return t.ring.Sum(ctx, at, fence, t.own, t.total, t.side, ready) })
	}
	count, done := len(t.todo), t.works()
	defer done()
	for len(t.todo) > 0 {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		l := t.todo[0]
		examples, err := t.job.Train.Examples(at.Step, l)
		if err != nil {
			return fmt.Errorf("read samples of lane %d at step %d: %w", l, at.Step, err)
		}
		var finished func(int)
		if len(t.todo) == 1 {
			begin()
			finished = func(n int) { ready.Raise(min(n, len(t.own)-1)) } // the side values are not final yet
		}
		t.lane.add(l, at.Step, examples, t.own, t.side, t.scales, finished)
		t.todo = t.todo[1:]
	}
	if count > 0 {
		t.laneSeconds = time.Since(start).Seconds() / float64(count)
	} else {
		begin()
	}
	ready.Raise(len(t.own))
	done()
	return sum.Wait()
}

// commit makes the step: the sum is done and may be used. It returns ErrYield when the members agreed to leave the view.
func (t *Trainer) commit(skipped bool) error {
	r := &record{
		step: t.step + 1, scales: slices.Clone(t.scales), side: t.side.Append(nil), sum: t.total, skipped: skipped, tries: t.try + 1,
		view: t.view.Number, seconds: time.Since(t.began).Seconds(),
	}
	if t.selectionDue() {
		r.sets = t.selector.Sets()
	}
	t.copied = false // no sum comes about among members with different States
	report := t.conclude(r)
	sent := t.ring.BytesSent()
	report.LaneSeconds, report.WireBytes = t.laneSeconds, sent-t.sent
	t.sent, t.began = sent, time.Now()
	flags := t.side.Flags
	t.observer.Stepped(report)
	t.settle(validating)
	if flags&allreduce.CopyAsked != 0 {
		t.copyState()
	}
	if flags&allreduce.ViewAsked != 0 && !t.over() {
		return ErrYield
	}
	return nil
}

// conclude makes the step that r describes. The member is where the sum of r was made: t.total and t.side hold r's, and its
// sets are adopted.
func (t *Trainer) conclude(r *record) StepReport {
	defer t.works()()
	report := StepReport{Step: r.step, Tokens: t.side.Tokens, Counted: t.side.Counted, Tries: r.tries, Seconds: r.seconds, Loss: t.side.MeanLoss(), View: r.view}
	if !r.skipped {
		report.Rate, report.GradNorm = t.update(r.step)
	}
	t.step, t.ended = r.step, t.ended || t.side.Flags&allreduce.StopAsked != 0
	t.pend()
	t.totals.add(&report, t.job.Spec.After+1)
	report.Totals = t.totals
	if r.step%tellState == 0 {
		report.State = t.State().Fence()
	}
	t.total = t.keep.add(r, time.Now())
	if t.save != nil && (t.job.Spec.Checkpoint.Due(t.step) || t.side.Flags&(allreduce.SaveAsked|allreduce.StopAsked) != 0) {
		t.save()
	}
	return report
}

// tellState is the interval of steps at which State's hash is told, so that runs can be compared before they end.
const tellState = 10

// add counts a step of a run whose first one is first.
func (t *Totals) add(r *StepReport, first uint64) {
	if r.Step == first {
		t.LossFirst = r.Loss
	}
	t.Step, t.LossLast = r.Step, r.Loss
	t.Tokens += r.Tokens
	t.Seconds += r.Seconds
}

// apply makes the next step as others made it. It needs no peers.
func (t *Trainer) apply(r *record) error {
	if r.step != t.step+1 {
		return fmt.Errorf("apply the record of step %d after step %d", r.step, t.step)
	}
	if len(r.sum) != len(t.total) || len(r.scales) != len(t.scales) {
		return fmt.Errorf("apply the record of step %d: %d values and %d scales, this run has %d and %d", r.step, len(r.sum), len(r.scales), len(t.total), len(t.scales))
	}
	if err := t.side.Decode(r.side); err != nil {
		return fmt.Errorf("apply the record of step %d: %w", r.step, err)
	}
	if r.sets != nil {
		if err := t.adopt(r.sets); err != nil {
			return fmt.Errorf("apply the record of step %d: %w", r.step, err)
		}
	}
	t.scales, t.total = slices.Clone(r.scales), r.sum
	t.observer.Stepped(t.conclude(r))
	t.settle(validating)
	return nil
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
	if t.aged != nil {
		t.aged.SetRate(rate)
	}
	t.eachWeight(func(s span, off, n int) {
		g := t.dequantise(s, t.lane.scratch[:n])
		if factor != 1 {
			for i, x := range g {
				g[i] = x * factor
			}
		}
		t.job.Method.Penalty(t.lane.tensors[s.from].Weight, t.theta[off:off+n], g)
		if t.aged != nil {
			t.aged.AdamW(t.theta[off:off+n], t.m[off:off+n], t.v[off:off+n], g, t.ages[off:off+n], adamw)
			return
		}
		t.job.Kernels.AdamW(t.theta[off:off+n], t.m[off:off+n], t.v[off:off+n], g, adamw)
	})
	t.lead.weights.Lock()
	t.job.Method.Push(t.theta, t.job.Weights)
	t.lead.weights.Unlock()
	t.scales = t.scales.After(t.side, t.lanes, t.job.Spec.Reduce.Bits)
	return rate, norm
}

// norm is the Euclidean norm of the mean gradient.
func (t *Trainer) norm() float64 {
	var n methods.Norm
	t.eachWeight(func(s span, off, count int) { n.Add(t.dequantise(s, t.lane.scratch[:count])) })
	return n.Value()
}
