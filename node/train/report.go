package train

import (
	"cmp"
	"slices"
	"time"

	"github.com/torctrain/torc/internal/pb"
)

// reports are news on their way to the coordinator. The last ones stay at hand: when another member had been telling them
// and is gone, this one tells them again, and the coordinator knows what it has heard already.
type reports[T any] struct {
	last []T
	sent int // of last
	most int // are at hand; 0: maxReports
}

const (
	// maxReports is how many are at hand: more than steps are made between two beats.
	maxReports = 256
	// maxMade is for views: far more than a run has, and less than a message may hold.
	maxMade = 1 << 14
)

func (r *reports[T]) add(x T) {
	r.last = append(r.last, x)
	if drop := len(r.last) - cmp.Or(r.most, maxReports); drop > 0 {
		r.last = slices.Delete(r.last, 0, drop)
		r.sent = max(0, r.sent-drop)
	}
}

// take returns those not yet sent.
func (r *reports[T]) take() []T {
	news := slices.Clone(r.last[r.sent:])
	r.sent = len(r.last)
	return news
}

// again lets all that is at hand be sent once more.
func (r *reports[T]) again() { r.sent = 0 }

// report adds what the coordinator wants to know of this run to a beat.
func (w *work) report(b *pb.Beat) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b.Run, b.Phase, b.Error, b.Fatal = w.id, w.phase, carried(w.problem), w.fatal
	b.LostPeer, b.LostWhy = w.lostPeer, w.lostWhy
	if w.tie != nil {
		b.Tie = &pb.Tie{Step: w.tie.Step}
	}
	b.Step, b.Digest, b.Stopped, b.Totals = w.step, w.digest, w.stopped, totalsToPB(w.totals)
	if w.view != nil && w.seated {
		b.View, b.ViewNumber, b.ViewIncarnation = w.view.Hash(), w.view.Number, w.view.Incarnation
	}
	b.Busy = w.trainer == nil || w.trainer.busy.Load() > 0
	if w.trainer != nil {
		b.Trained = int64(w.trainer.job.Method.Len())
	}
	b.BytesSent = uint64(w.bytesSent)
	if w.ring != nil {
		b.BytesSent += uint64(w.ring.BytesSent())
	}
	b.Selections, b.SelectionSeconds = w.selections, w.selecting
	if n := len(w.laneSeconds); n > 0 {
		b.LaneSeconds = slices.Sorted(slices.Values(w.laneSeconds))[n/2]
	}
	if w.saver != nil {
		w.saver.report(b)
	}
	if w.seated { // all tell it: nothing else says who made a step whose makers are gone
		b.Made = w.made.take()
	}
	if w.tells() || w.seated && w.retell {
		w.retell = false
		b.Steps, b.Refreshes, b.Validations = w.steps.take(), w.refreshes.take(), w.validations.take()
	}
}

// tells says whether this member tells the news of the run: one is enough, since all have the same. At the beginning of a
// view and of a session all tell what they have at hand: whose duty it is may have come too late for it. The caller holds mu.
func (w *work) tells() bool {
	return w.seated && w.view.Rank(w.member.cfg.Node) == 0
}

// unsent takes back what a beat that did not leave would have reported.
func (w *work) unsent() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.retell = true
	w.made.again()
	w.steps.again()
	w.refreshes.again()
	w.validations.again()
	if w.saver != nil {
		w.saver.again()
	}
}

// Stepped implements Observer.
func (w *work) Stepped(r StepReport) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.step, w.totals = r.Step, r.Totals
	if n := len(w.made.last); n == 0 || w.made.last[n-1].View != r.View {
		w.made.add(&pb.FirstStep{View: r.View, Step: r.Step})
	}
	if r.LaneSeconds > 0 {
		w.laneSeconds = append(w.laneSeconds, r.LaneSeconds)
		w.laneSeconds = w.laneSeconds[max(0, len(w.laneSeconds)-21):]
	}
	w.steps.add(&pb.StepReport{
		Step: r.Step, Loss: r.Loss, Tokens: r.Tokens, Counted: r.Counted, Seconds: r.Seconds, Rate: r.Rate,
		GradNorm: r.GradNorm, Tries: r.Tries, WireBytes: r.WireBytes, View: r.View,
		UnixNano: time.Now().UnixNano(), State: r.State,
	})
}

// Refreshed implements Observer.
func (w *work) Refreshed(r RefreshReport) {
	w.log.Debug("refreshed index sets", "step", r.Step, "seconds", r.Seconds, "churn", r.Churn)
	if w.saver != nil {
		w.saver.reserve(w.trainer.State()) // sets and retired values have other lengths
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range r.Shares {
		if s.Member == w.member.cfg.Node.Name {
			w.selections, w.selecting = w.selections+uint64(s.Weights), w.selecting+s.Seconds
		}
	}
	if n := len(w.refreshes.last); n > 0 { // weights are many, and those of the last refresh enough
		old := w.refreshes.last[n-1]
		w.refreshes.last[n-1] = &pb.RefreshReport{Step: old.Step, Seconds: old.Seconds, Churn: old.Churn, Shares: old.Shares}
	}
	w.refreshes.add(refreshToPB(r))
}

// Validated implements Observer.
func (w *work) Validated(v ValidationReport) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.validations.add(validationToPB(v))
}

// madeUntil are the views that made the steps up to step, each with its first one, as far as this member knows.
func (w *work) madeUntil(step uint64) []*pb.FirstStep {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*pb.FirstStep
	for _, v := range w.made.last {
		if v.Step <= step {
			all = append(all, v)
		}
	}
	return all
}
