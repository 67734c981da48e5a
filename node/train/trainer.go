package train

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/pb"
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
	Begin    string   // file with the State of another run with which this one begins; empty: it begins with its model
	// Calibration is the number of steps at whose samples a methods.Probe looks.
	Calibration int
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
	Validated(ValidationReport)
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
	WireBytes       int64  // written by this member
	View            uint64 // number of the view that made it, also where it was learnt from others
	State           uint64 // quick hash of State, every 10 steps
	Totals          Totals // of the run, this step included
}

// RefreshReport is one recomputation of the index sets.
type RefreshReport struct {
	Step    uint64  // before which
	Seconds float64 // that the step waited
	Churn   float64 // share of the indices that are new
	Weights []RefreshedWeight
	Shares  []RefreshShare // of the work, by rank
}

// RefreshedWeight is what became of one weight's set.
type RefreshedWeight struct {
	Name     string
	Rank     int     // of the member that selected it
	Selected int     // indices in the set
	Churn    float64 // share of them that are new
	Overlap  float64 // see methods.MagnitudeOverlap
}

// RefreshShare is what one member selected.
type RefreshShare struct {
	Member  string
	Weights int
	Seconds float64 // of one processor
}

// ValidationReport is the mean loss over the validation data after a step.
type ValidationReport struct {
	Step    uint64
	Loss    float64
	Counted int64
}

// Totals are sums over the committed steps of a run.
type Totals struct {
	Step                uint64 // the last of them
	LossFirst, LossLast float64
	Tokens              int64
	Seconds             float64
}

// Trainer makes the steps of a run on one member. It is used by one goroutine; Stop, Yield, busy and what keep has may be
// used by any.
type Trainer struct {
	job        *Job
	log        *slog.Logger
	observer   Observer
	lanes      int               // L
	selector   methods.Selector  // the method, if it is one; else nil
	refresher  methods.Refresher // likewise
	leader     methods.Leader    // likewise
	prober     methods.Prober    // likewise
	lead       lead
	aged       *methods.Aged // nil unless the run counts ages
	lane       *lane
	keep       *keeper
	busy       atomic.Int32 // see works
	stopAsked  atomic.Bool
	yieldAsked atomic.Bool
	save       func()       // begins a checkpoint; nil: none is taken
	saveAsked  *atomic.Bool // somebody wants one at the next step; nil as save

	// The State that all members share bit for bit.
	step        uint64 // last committed
	theta, m, v []float32
	scales      allreduce.Scales
	sets        uint64    // hash of the index sets
	copied      bool      // State was fetched from other members, and those of the view have not all been found to have it
	pending     []float32 // θ when the selection under way began; nil when there is none
	ages        []uint16  // steps since each trained value entered its set; nil unless the run counts them

	// How far the step after it has come; see place.
	stage     stage
	try       uint32
	nonFinite bool // the try before had lanes that were not finite
	ended     bool // all members agreed to stop after step
	totals    Totals
	validated ValidationReport
	began     time.Time // of the step

	// The view at work.
	view     *view.View
	viewHash uint64
	rank     int
	ring     Reducer

	own, total  []int32
	side        *allreduce.Side // of the lanes computed so far; after a sum the totals
	todo        []int           // lanes still to compute for this try
	picked      map[int]pick
	scores      map[int][]float32 // of lanes, for the choice of channels
	laneSeconds float64           // mean over this member's lanes at the last try
	sent        int64             // by the ring when the step began
}

// recordBudget is how many bytes of records a member keeps for joiners.
const recordBudget = 1 << 30

// NewTrainer prepares a run: at step 0, or where state, which it takes over, says. On an error the job's weights are of no
// use any more.
func NewTrainer(job *Job, state *checkpoints.State, observer Observer, log *slog.Logger) (*Trainer, error) {
	k, tensors, lanes := job.Method.Len(), len(job.Method.Tensors()), job.Spec.Batch.Lanes
	llama := model.New(job.Weights, job.Kernels)
	llama.Train(job.Method.Wants)
	t := &Trainer{
		job: job, log: log, observer: observer, lanes: lanes, rank: -1,
		lane: newLane(llama, job.Method, job.Spec.Seed),
		m:    make([]float32, k), v: make([]float32, k),
		scales: allreduce.NewScales(tensors),
		own:    make([]int32, k), total: make([]int32, k),
		side: allreduce.NewSide(tensors, lanes),
	}
	t.selector, _ = job.Method.(methods.Selector)
	t.refresher, _ = job.Method.(methods.Refresher)
	t.prober, _ = job.Method.(methods.Prober)
	t.leader, _ = job.Method.(methods.Leader)
	if job.Spec.Method.Age {
		t.ages, t.aged = make([]uint16, k), methods.NewAged(job.Spec.Optimizer, len(job.Workers))
	}
	if state == nil {
		t.theta = job.Method.Start(job.Weights)
	} else if err := t.restore(state); err != nil {
		return nil, err
	}
	t.keep = newKeeper(t.step, recordBudget)
	t.settle(validating)
	return t, nil
}

// restore takes over a State of this run.
func (t *Trainer) restore(s *checkpoints.State) error {
	switch {
	case s.Spec != t.job.SpecHash:
		return fmt.Errorf("restore State after step %d: it belongs to the spec with hash %.6x, this run's is %.6x: ask for a State of this run", s.Step, s.Spec, t.job.SpecHash)
	case len(s.Scales) != len(t.scales) || s.Step > t.job.Steps:
		return fmt.Errorf("restore State after step %d with %d scales: the run has %d steps and %d trained tensors", s.Step, len(s.Scales), t.job.Steps, len(t.scales))
	case len(s.Ages) != len(t.ages):
		return fmt.Errorf("restore State after step %d with ages of %d values: the run counts %d: ask for a State of this run", s.Step, len(s.Ages), len(t.ages))
	case len(s.Pending) > 0 && t.leader == nil:
		return fmt.Errorf("restore State after step %d: a selection is under way, the run's method makes none: ask for a State of this run", s.Step)
	}
	if err := s.Apply(t.job.Method, t.job.Weights); err != nil {
		return err
	}
	t.step, t.theta, t.m, t.v, t.scales = s.Step, s.Theta, s.M, s.V, s.Scales
	if len(s.Sets) > 0 {
		t.sets = hashSets(s.Sets)
	}
	if len(s.Pending) > 0 {
		t.pending = s.Pending
	}
	if t.ages != nil {
		t.ages = s.Ages
	}
	return nil
}

// settle makes the earliest stage that is due after step, and not before from, the present one, with nothing computed.
func (t *Trainer) settle(from stage) {
	t.stage, t.try, t.nonFinite = from, 0, false
	if t.stage == validating && !t.validationDue() {
		t.stage = selecting
	}
	if t.stage == selecting && !t.selectionDue() {
		t.stage = computing
	}
	t.forget()
}

// forget empties what was computed for the present stage and try.
func (t *Trainer) forget() {
	clear(t.own)
	t.side.Reset()
	t.picked, t.scores = nil, nil
	t.todo = t.todo[:0]
	if t.view != nil && t.rank >= 0 {
		t.todo = append(t.todo, t.view.Lanes(t.rank)...)
	}
}

func (t *Trainer) validationDue() bool {
	every := uint64(t.job.Spec.Validate.Every)
	return t.job.Valid != nil && t.step > 0 && (t.step == t.job.Steps || every > 0 && t.step%every == 0)
}

func (t *Trainer) selectionDue() bool { return t.selector != nil && t.selector.Due(t.step+1) }

func (t *Trainer) place() place { return place{t.step, t.stage, t.try} }

// over says whether the last step is made.
func (t *Trainer) over() bool { return t.ended || t.step >= t.job.Steps }

// Why Run returned although the run goes on or was ended early.
var (
	// ErrStopped ends a run at a step on which all members agreed, because one of them was asked to stop.
	ErrStopped = errors.New("train: run stopped")
	// ErrYield ends a view at a step on which all members agreed, because one of them knows of a later view.
	ErrYield = errors.New("train: a later view waits")
)

// Run makes steps inside one view until the last one, until all members agreed to stop (ErrStopped) or to change the view
// (ErrYield), or until an error ends it. It returns after everything it started. What is computed by then is kept: the
// next view goes on from there, with the same bits.
func (t *Trainer) Run(ctx context.Context, v *view.View, rank int, ring Reducer) error {
	t.view, t.viewHash, t.rank, t.ring = v, v.Hash(), rank, ring
	t.began, t.sent = time.Now(), ring.BytesSent()
	if err := t.greet(ctx); err != nil {
		return err
	}
	data := readAhead(ctx, t.job.Train, v.Lanes(rank), t.log)
	defer func() {
		defer t.works()()
		t.lead.end()
		data.end()
	}()
	for {
		var err error
		switch {
		case t.stage == validating:
			err = t.validate(ctx)
		case t.ended:
			return ErrStopped
		case t.over():
			return nil
		case t.stage == selecting && t.prober != nil:
			err = t.probe(ctx)
		case t.stage == selecting:
			t.lead.end()
			err = t.refresh(ctx)
		default:
			data.of(t.step + 1)
			t.lead.begin(ctx, t)
			err = t.attempt(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// works marks what this member does by itself and what may take long, until done is called: lanes, selections, samples, updates.
func (t *Trainer) works() (done func()) {
	t.busy.Add(1)
	return sync.OnceFunc(func() { t.busy.Add(-1) })
}

// Stop asks the members to end the run at the next step on which all agree.
func (t *Trainer) Stop() { t.stopAsked.Store(true) }

// Yield asks the members to leave the view at the next step on which all agree.
func (t *Trainer) Yield() { t.yieldAsked.Store(true) }

// flags is what this member asks of all with the next sum.
func (t *Trainer) flags() uint32 {
	var f uint32
	if t.stopAsked.Load() {
		f |= allreduce.StopAsked
	}
	if t.yieldAsked.Load() {
		f |= allreduce.ViewAsked
	}
	if t.keep.asked() {
		f |= allreduce.CopyAsked
	}
	if t.saveAsked != nil && t.saveAsked.Load() {
		f |= allreduce.SaveAsked
	}
	return f
}

// copyState keeps a copy of State as it is, for whoever joins.
func (t *Trainer) copyState() {
	s := &checkpoints.State{}
	s.CopyFrom(t.State())
	c := newStateCopy(s, t.totals)
	c.ahead, c.tried, c.valid = t.ahead(), t.nonFinite, t.validated
	t.keep.put(c, time.Now())
}

// ahead says how far State has gone on after the committed step: 0 not at all; else sets were chosen, or scales for a try.
func (t *Trainer) ahead() uint32 {
	if t.stage == computing && (t.try > 0 || t.selectionDue()) {
		return 1 + t.try
	}
	return 0
}

// advance goes where the member was that copied the State from which t was made, if that was ahead of its step.
func (t *Trainer) advance(c *pb.StateCopy) {
	if c.Ahead == 0 {
		return
	}
	t.validated = validationFromPB(c.Validation)
	t.settle(computing)
	t.try, t.nonFinite = c.Ahead-1, c.NonFinite
}

// State is the training state after the last committed step. It shares memory with the trainer.
func (t *Trainer) State() *checkpoints.State {
	s := &checkpoints.State{Spec: t.job.SpecHash, Step: t.step, Theta: t.theta, M: t.m, V: t.v, Scales: t.scales, Pending: t.pending, Ages: t.ages}
	if t.selector != nil {
		s.Sets, s.Retired = t.selector.Sets(), t.selector.Retired()
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
