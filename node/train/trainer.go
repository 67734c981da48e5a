package train

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/zeebo/xxh3"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/internal/view"
	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/sharding"
)

// Job is a run made concrete on one member: everything a step needs besides its peers.
type Job struct {
	Spec     *spec.Resolved
	SpecHash [32]byte
	Steps    uint64
	Kernels  model.Kernels
	Workers  []model.Kernels // of the same arithmetic with one thread each, for work that is spread by weights
	Weights  *model.Weights  // trained in place
	Method   methods.Method
	Train    Examples
	Valid    Examples // the validation lanes, as step 1 of a plan without shuffling; nil without validation data
}

// Examples gives the samples of a lane's micro-batch; none where the lane is idle. They stay the source's and must not
// be changed.
type Examples interface {
	Examples(step uint64, lane int) ([]sharding.Example, error)
}

// Reducer is the exact sum over the members of a view, see allreduce.Ring.
type Reducer interface {
	Sum(ctx context.Context, at view.Position, fence allreduce.Fence, own, total []int32, side *allreduce.Side, ready *allreduce.Watermark) error
	Gather(ctx context.Context, at view.Position, fence allreduce.Fence, own []byte) ([][]byte, error)
	BytesSent() int64
}

// Observer hears what happened; its methods must not block.
type Observer interface {
	Stepped(StepReport)
	Refreshed(RefreshReport)
	Validated(step uint64, loss float64, counted int64)
}

// StepReport is one committed step as a person wants to see it.
type StepReport struct {
	Step            uint64
	Loss            float64 // mean over answer tokens
	Tokens, Counted int64
	Seconds         float64
	LaneSeconds     float64 // mean time of one of this member's lanes; 0 without lanes
	Rate, GradNorm  float64
	Tries           uint32
	WireBytes       int64 // written by this member
}

// RefreshReport is one recomputation of the index sets.
type RefreshReport struct {
	Step    uint64  // before which
	Seconds float64 // of which Select took its share on this member
	Churn   float64 // share of the indices that are new
}

// Trainer makes the steps of a run on one member. It is used by one goroutine; Stop may be called by any.
type Trainer struct {
	job       *Job
	log       *slog.Logger
	observer  Observer
	lanes     int // L
	refresher methods.Refresher
	lane      *lane
	stopAsked atomic.Bool

	// The State that all members share bit for bit.
	step        uint64 // last committed
	theta, m, v []float32
	scales      allreduce.Scales
	sets        uint64 // hash of the index sets

	// The view at work.
	view     *view.View
	viewHash uint64
	rank     int
	ring     Reducer

	own, total  []int32
	side        *allreduce.Side
	laneSeconds float64 // mean over this member's lanes at the last try
}

// NewTrainer prepares a run at step 0.
func NewTrainer(job *Job, observer Observer, log *slog.Logger) *Trainer {
	k, tensors, lanes := job.Method.Len(), len(job.Method.Tensors()), job.Spec.Batch.Lanes
	llama := model.New(job.Weights, job.Kernels)
	llama.Train(job.Method.Wants)
	t := &Trainer{
		job: job, log: log, observer: observer, lanes: lanes,
		lane: newLane(llama, job.Method, job.Spec.Seed),
		m:    make([]float32, k), v: make([]float32, k),
		scales: allreduce.NewScales(tensors),
		own:    make([]int32, k), total: make([]int32, k),
		side: allreduce.NewSide(tensors, lanes),
	}
	t.theta = job.Method.Start(job.Weights)
	t.refresher, _ = job.Method.(methods.Refresher)
	return t
}

// Run makes steps inside one view until the last one, until all members agreed to stop (ErrStopped), or until an error
// ends it. It returns after everything it started. The State stays as the last committed step left it.
func (t *Trainer) Run(ctx context.Context, v *view.View, rank int, ring Reducer) error {
	t.view, t.viewHash, t.rank, t.ring = v, v.Hash(), rank, ring
	data := readAhead(ctx, t.job.Train, v.Lanes(rank), t.log)
	defer data.end()
	for t.step < t.job.Steps {
		data.of(t.step + 1)
		report, err := t.makeStep(ctx)
		if err != nil && !errors.Is(err, ErrStopped) {
			return err
		}
		t.observer.Stepped(report)
		if every := uint64(t.job.Spec.Validate.Every); t.job.Valid != nil && (t.step == t.job.Steps || every > 0 && t.step%every == 0) {
			if err := t.validate(ctx); err != nil {
				return fmt.Errorf("validate after step %d: %w", t.step, err)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Stop asks the members to end the run at the next step on which all agree.
func (t *Trainer) Stop() { t.stopAsked.Store(true) }

func (t *Trainer) stopping() bool { return t.stopAsked.Load() }

// State is the training state after the last committed step. It shares memory with the trainer.
func (t *Trainer) State() *checkpoints.State {
	s := &checkpoints.State{Spec: t.job.SpecHash, Step: t.step, Theta: t.theta, M: t.m, V: t.v, Scales: t.scales}
	if t.refresher != nil {
		s.Sets, s.Retired = t.refresher.Sets(), t.refresher.Retired()
	}
	return s
}

// fence is what a frame must agree on besides its position: the sets and scales by which θ is summed, and the State it is
// summed for. A member that has diverged is refused by it before it can spoil a sum.
func (t *Trainer) fence() allreduce.Fence {
	return allreduce.Fence{Space: t.space(), State: t.State().Fence()}
}

// space is a hash of all sets and scales: what the numbers of a sum mean.
func (t *Trainer) space() uint64 {
	h := xxh3.New()
	put := func(x uint64) { _, _ = h.Write(binary.LittleEndian.AppendUint64(nil, x)) }
	put(t.sets)
	for _, e := range t.scales {
		put(uint64(e))
	}
	return h.Sum64()
}

// hashSets identifies index sets.
func hashSets(sets [][]uint32) uint64 {
	h := xxh3.New()
	var buf []byte
	for _, set := range sets {
		buf = methods.EncodeSet(binary.LittleEndian.AppendUint64(buf[:0], uint64(len(set))), set)
		_, _ = h.Write(buf)
	}
	return h.Sum64()
}

// eachWeight calls f for the tensors of each trained weight, in the order of θ.
func (t *Trainer) eachWeight(f func(s span, off, n int)) {
	tensors := t.lane.tensors
	for from := 0; from < len(tensors); {
		s := t.lane.span[tensors[from].Weight]
		last := tensors[s.to-1]
		f(s, tensors[from].Off, last.Off+last.Len-tensors[from].Off)
		from = s.to
	}
}

// dequantise writes the mean gradient of the tensors s to g.
func (t *Trainer) dequantise(s span, g []float32) []float32 {
	base := t.lane.tensors[s.from].Off
	for j := s.from; j < s.to; j++ {
		x := t.lane.tensors[j]
		part := g[x.Off-base : x.Off-base+x.Len]
		if t.scales[j] == allreduce.NoScale {
			clear(part) // no lane has shown a gradient yet
			continue
		}
		allreduce.Dequantise(part, t.total[x.Off:x.Off+x.Len], t.scales[j], t.side.Counted)
	}
	return g
}

func (t *Trainer) nonFiniteError(step uint64, lanes string) error {
	return fmt.Errorf("step %d: gradients of lanes %s are not finite, twice: lower optimizer.lr, look at their samples (coordinator data check), or set reduce.on_nonfinite: skip", step, lanes)
}
