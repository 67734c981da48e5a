package control

import (
	"math"
	"slices"
	"time"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/spec"
)

// progress is how far a run has come and how fast: sums as any member has them, single steps as rank 0 tells them.
type progress struct {
	began       time.Time // of the first view
	at          time.Time // of the last report
	made        time.Time // when the last step became known, or a later view began; zero before the first step heard of
	step        uint64
	reported    uint64 // the last step of steps
	lossFirst   float64
	lossLast    float64
	tokens      int64   // of all steps
	seconds     float64 // wall time of all steps
	recent      []float64
	validations []*pb.ValidationReport
	refreshes   []*pb.RefreshReport
	steps       tail[*pb.StepReport]
}

const (
	recentSteps = 20      // over which the time left is estimated
	maxReports  = 1 << 14 // refreshes and validations kept of one run
	tailSteps   = 1 << 12 // steps and lines kept for those who follow
	tailLines   = 1 << 10
)

// newProgress is that of a run that has made no step of its own; steps are those that it tells people of.
func newProgress(s *spec.Resolved, steps tail[*pb.StepReport]) progress {
	return progress{step: s.After, reported: s.After, steps: steps}
}

func (p *progress) begin(now time.Time) {
	p.began, p.at = now, now
}

// add takes the news of a beat and says whether steps were made.
func (p *progress) add(now time.Time, b *pb.Beat) bool {
	before := p.step
	for _, s := range b.Steps {
		if s.Step <= p.reported {
			continue // repeated after a broken session, or by another member
		}
		p.reported = s.Step
		if p.recent = append(p.recent, s.Seconds); len(p.recent) > recentSteps {
			p.recent = slices.Delete(p.recent, 0, 1)
		}
		p.steps.add(s)
	}
	for _, v := range b.Validations {
		if n := len(p.validations); n < maxReports && (n == 0 || p.validations[n-1].Step < v.Step) {
			p.validations = append(p.validations, v)
		}
	}
	for _, f := range b.Refreshes {
		if n := len(p.refreshes); n < maxReports && (n == 0 || p.refreshes[n-1].Step < f.Step) {
			if n > 0 { // weights are many, and those of the last refresh enough
				old := p.refreshes[n-1]
				p.refreshes[n-1] = &pb.RefreshReport{Step: old.Step, Seconds: old.Seconds, Churn: old.Churn, Shares: old.Shares}
			}
			p.refreshes = append(p.refreshes, f)
		}
	}
	if t := b.Totals; t.GetStep() > p.step {
		p.step, p.lossFirst, p.lossLast, p.tokens, p.seconds = t.Step, finite(t.LossFirst), finite(t.LossLast), t.Tokens, finite(t.Seconds)
	}
	p.at = now
	if p.step > before {
		p.made = now
	}
	return p.step > before
}

// finite is x, or 0 if it is none: a member may say anything, and neither the journal nor a result can hold a NaN.
func finite(x float64) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return 0
	}
	return x
}

// A run stands still when it makes no step for idleSteps times as long as steps take, and for idleLeast.
const (
	idleSteps = 10
	idleLeast = 5 * time.Second
)

// wait gives a view that begins the time to make a step.
func (p *progress) wait(now time.Time) {
	if !p.made.IsZero() {
		p.made = now
	}
}

// still says whether no step was made for far longer than steps take, and how long they take in seconds.
func (p *progress) still(now time.Time) (usual float64, yes bool) {
	if p.made.IsZero() || len(p.recent) == 0 {
		return 0, false
	}
	return p.usual(), now.Sub(p.made) >= max(idleLeast, p.patience())
}

// usual is how many seconds steps take, by the last ones; 0 before the first.
func (p *progress) usual() float64 {
	if len(p.recent) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(p.recent))[len(p.recent)/2]
}

// lag is how many steps may be made while somebody is not heard: in a second and a half, three beats, and two that are on their
// way. While it is not known how long steps take, there is no limit.
func (p *progress) lag() uint64 {
	usual := p.usual()
	if usual <= 0 {
		return math.MaxUint64
	}
	return 2 + uint64(1.5/usual)
}

// patience is idleSteps times as long as steps take.
func (p *progress) patience() time.Duration {
	return time.Duration(idleSteps * p.usual() * float64(time.Second))
}

// tokensPerSecond counts all tokens over the steps' wall time.
func (p *progress) tokensPerSecond() float64 {
	if p.seconds <= 0 {
		return 0
	}
	return float64(p.tokens) / p.seconds
}

// left is the time that the remaining steps take at the pace of the last ones.
func (p *progress) left(steps uint64) float64 {
	if len(p.recent) == 0 || p.step >= steps {
		return 0
	}
	sum := 0.0
	for _, s := range p.recent {
		sum += s
	}
	return sum / float64(len(p.recent)) * float64(steps-p.step)
}

// tail keeps the last max of a growing list, numbered from 0.
type tail[T any] struct {
	max   int
	first int // number of kept[0]
	kept  []T
}

func (t *tail[T]) add(x T) {
	t.kept = append(t.kept, x)
	if drop := len(t.kept) - t.max; drop >= t.max { // now and then, so that adding costs little
		t.kept = append([]T(nil), t.kept[drop:]...)
		t.first += drop
	}
}

// end is the number that the next one gets.
func (t *tail[T]) end() int { return t.first + len(t.kept) }

// from returns those numbered from n on that are still kept.
func (t *tail[T]) from(n int) []T {
	return t.kept[min(max(n-t.first, 0), len(t.kept)):]
}
