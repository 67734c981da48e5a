package train

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/internal/view"
	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
)

// Positions of the two sums of a probe, which precede the first try of its step.
const (
	measureTry = 1<<31 + 5
	scoreTry   = 1<<31 + 6
)

// scoreBits is the size to which summed scores are scaled: as large as can be, since there is no next step for which to leave
// room.
const scoreBits = 30

// calibration is how many steps' samples a probe looks at: those of a hundredth of an epoch, as in the paper, of at least one
// step and of 32 at the most.
func calibration(stepsPerEpoch int) int { return min(max(1, (stepsPerEpoch+99)/100), 32) }

// probe chooses what is trained by what a slice of the data shows, before the step being made: each lane's scores are rounded
// to integers and summed exactly, like gradients, so that all members choose the same. Scores are kept until then.
func (t *Trainer) probe(ctx context.Context) error {
	start, step := time.Now(), t.step+1
	p, lanes := t.prober.Probe(), t.view.Lanes(t.rank)
	for _, l := range lanes {
		if t.scores[l] != nil {
			continue
		}
		scores, err := t.score(ctx, p, l)
		if err != nil {
			return fmt.Errorf("choose before step %d what is trained: lane %d: %w", step, l, err)
		}
		if t.scores == nil {
			t.scores = map[int][]float32{}
		}
		t.scores[l] = scores
	}
	totals, err := t.sumScores(ctx, p, lanes)
	if err != nil {
		return fmt.Errorf("choose before step %d what is trained: %w", step, err)
	}
	sets, err := p.Choose(totals)
	if err == nil {
		err = t.adopt(sets)
	}
	if err != nil {
		return fmt.Errorf("choose before step %d what is trained: %w", step, err)
	}
	t.settle(computing)
	t.observer.Refreshed(RefreshReport{Step: step, Seconds: time.Since(start).Seconds(), Churn: 1})
	return nil
}

// score is what p sees in the samples of a lane, one by one, those of the first steps.
func (t *Trainer) score(ctx context.Context, p methods.Probe, lane int) ([]float32, error) {
	defer t.works()()
	look := &looker{probe: p, at: map[model.WeightID]methods.Tensor{}, scratch: make([]float32, p.Len()), sums: make([]float64, p.Len())}
	for _, x := range p.Tensors() {
		look.at[x.Weight] = x
	}
	if !p.Forward() {
		t.lane.model.Train(p.Wants)
		defer t.lane.model.Train(t.job.Method.Wants)
	}
	var batch model.Batch
	for s := range t.job.Calibration {
		examples, err := t.job.Train.Examples(uint64(s)+1, lane)
		if err != nil {
			return nil, fmt.Errorf("read its samples at step %d: %w", s+1, err)
		}
		for i := range examples {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if fill(&batch, examples[i:i+1]); p.Forward() {
				t.lane.model.Watch(batch, look.input)
			} else {
				t.lane.model.Gradient(batch, look)
			}
		}
	}
	scores := make([]float32, p.Len())
	for i, s := range look.sums {
		scores[i] = float32(s)
	}
	return scores, nil
}

// looker adds up what a probe sees, in float64 and in the order of the samples.
type looker struct {
	probe   methods.Probe
	at      map[model.WeightID]methods.Tensor // where a weight's scores lie
	scratch []float32
	sums    []float64
}

func (l *looker) add(id model.WeightID, fill func(scores []float32)) {
	x, looks := l.at[id]
	if !looks {
		return
	}
	scores := l.scratch[x.Off : x.Off+x.Len]
	fill(scores)
	for i, s := range scores {
		l.sums[x.Off+i] += float64(s)
	}
}

func (l *looker) input(id model.WeightID, x []float32, T int) {
	l.add(id, func(scores []float32) { l.probe.Input(id, x, T, scores) })
}

// Outer takes the gradient of a linear weight from the backward pass (model.GradSink).
func (l *looker) Outer(id model.WeightID, o *model.Outer) {
	l.add(id, func(scores []float32) { l.probe.Pull(id, o, scores) })
}

// Whole is never called: a probe wants gradients of linear weights alone.
func (l *looker) Whole(id model.WeightID, _ []float32) {
	panic(fmt.Sprintf("train: a probe got the gradient of weight %d, which is not linear", id))
}

// sumScores adds the scores of all lanes, of which this member has those of lanes: first it is found how large they are, then
// they are summed at that scale.
func (t *Trainer) sumScores(ctx context.Context, p methods.Probe, lanes []int) ([]float64, error) {
	tensors, step := p.Tensors(), t.step+1
	side := allreduce.NewSide(len(tensors), t.lanes)
	own, total := make([]int32, p.Len()), make([]int32, p.Len())
	scales := allreduce.NewScales(len(tensors))
	enter := func() {
		side.Reset()
		for _, l := range lanes {
			side.Add(step, l)
			for j, x := range tensors {
				largest, finite := allreduce.Quantise(own[x.Off:x.Off+x.Len], t.scores[l][x.Off:x.Off+x.Len], scales[j])
				side.Max[j] = max(side.Max[j], largest)
				if !finite {
					side.MarkNonFinite(l)
				}
			}
		}
	}
	at, fence := view.Position{View: t.viewHash, Step: step, Try: measureTry}, t.fence()
	enter()
	err := t.ring.Sum(ctx, at, fence, nil, nil, side, nil)
	if err != nil {
		return nil, err
	}
	if bad := nameLanes(side.NonFinite); bad != "" {
		return nil, fatal{fmt.Errorf("what lanes %s show is not finite: look at their samples (coordinator data check), or use method.select: random", bad)}
	}
	if scales, _, err = scales.Judge(side, step, t.lanes, scoreBits); err != nil {
		return nil, err
	}
	enter()
	at.Try = scoreTry
	if err := t.ring.Sum(ctx, at, fence, own, total, side, nil); err != nil {
		return nil, err
	}
	if err := side.Prove(step, t.lanes); err != nil {
		return nil, err
	}
	totals := make([]float64, p.Len())
	for j, x := range tensors {
		if scales[j] == allreduce.NoScale {
			continue // all of its scores are 0
		}
		for i := x.Off; i < x.Off+x.Len; i++ {
			totals[i] = math.Ldexp(float64(total[i]), -int(scales[j]))
		}
	}
	return totals, nil
}
