package control

import (
	"testing"
	"time"

	"github.com/torctrain/torc/internal/pb"
)

func totalsAt(step uint64) *pb.Totals {
	return &pb.Totals{Step: step, LossFirst: 4, LossLast: 4 / float64(step), Tokens: int64(10 * step), Seconds: float64(step) / 2}
}

func stepsOf(first, last uint64) []*pb.StepReport {
	var all []*pb.StepReport
	for s := first; s <= last; s++ {
		all = append(all, &pb.StepReport{Step: s, Seconds: 0.5, Tokens: 10})
	}
	return all
}

// Whoever tells what, in whatever order and how often: every step, refresh and validation counts once, and the sums are those
// of the member that is furthest.
func TestProgressCountsEverythingOnce(t *testing.T) {
	var p progress
	p.steps.max = tailSteps
	now := time.Unix(1e9, 0)
	for i, c := range []struct {
		beat *pb.Beat
		made bool   // steps are news
		step uint64 // afterwards
		seen int    // single steps
	}{
		{&pb.Beat{}, false, 0, 0},
		{&pb.Beat{Totals: totalsAt(2), Steps: stepsOf(1, 2)}, true, 2, 2},
		{&pb.Beat{Totals: totalsAt(2)}, false, 2, 2},                       // another member, level with it
		{&pb.Beat{Totals: totalsAt(3)}, true, 3, 2},                        // another, further; it tells no single steps
		{&pb.Beat{Totals: totalsAt(2), Steps: stepsOf(1, 2)}, false, 3, 2}, // all once more after a broken session
		{&pb.Beat{Totals: totalsAt(4), Steps: stepsOf(1, 4)}, true, 4, 4},  // rank 0 is another member now and tells from the beginning
		{&pb.Beat{Totals: totalsAt(1)}, false, 4, 4},                       // a joiner that catches up
		{&pb.Beat{Totals: totalsAt(9), Steps: stepsOf(8, 9)}, true, 9, 6},  // some were lost with a member
		{&pb.Beat{Steps: stepsOf(10, 10)}, false, 9, 7},                    // without sums
	} {
		c.beat.Refreshes = []*pb.RefreshReport{{Step: 1}, {Step: 3}}
		c.beat.Validations = []*pb.ValidationReport{{Step: 2}, {Step: 4}}
		if made := p.add(now, c.beat); made != c.made || p.step != c.step || p.steps.end() != c.seen {
			t.Errorf("beat %d: news %v, step %d, %d single steps; want %v, %d, %d", i, made, p.step, p.steps.end(), c.made, c.step, c.seen)
		}
	}
	if len(p.refreshes) != 2 || len(p.validations) != 2 {
		t.Errorf("%d refreshes and %d validations are known, want 2 and 2", len(p.refreshes), len(p.validations))
	}
	if p.lossFirst != 4 || p.lossLast != 4./9 || p.tokens != 90 || p.tokensPerSecond() != 20 {
		t.Errorf("sums are %v, %v, %v, %v", p.lossFirst, p.lossLast, p.tokens, p.tokensPerSecond())
	}
	if left := p.left(19); left != 5 {
		t.Errorf("10 steps of 0.5 s take %v s", left)
	}
	if p.left(9) != 0 || (&progress{}).left(9) != 0 || (&progress{}).tokensPerSecond() != 0 {
		t.Error("a run without steps, or without any left, has a pace")
	}
}

func TestTailKeepsTheLast(t *testing.T) {
	l := tail[int]{max: 10}
	for i := range 1000 {
		l.add(i)
		kept := l.from(0)
		if len(kept) > 2*l.max || len(kept) < min(i+1, l.max) || kept[len(kept)-1] != i || l.end() != i+1 {
			t.Fatalf("after %d: keeps %v, end %d", i, kept, l.end())
		}
		if last := l.from(i); len(last) != 1 || last[0] != i || len(l.from(i+1)) != 0 {
			t.Fatalf("after %d: from %d are %v", i, i, last)
		}
	}
}

// Whether a run stands still is measured by its own steps.
func TestARunStandsStillAfterTenUsualSteps(t *testing.T) {
	start := time.Unix(1e9, 0)
	for _, c := range []struct {
		seconds float64
		idle    time.Duration
		still   bool
	}{
		{0.1, 4 * time.Second, false}, // at least five seconds
		{0.1, 5 * time.Second, true},
		{3, 29 * time.Second, false},
		{3, 30 * time.Second, true},
	} {
		var p progress
		p.steps.max = tailSteps
		if _, still := p.still(start.Add(time.Hour)); still {
			t.Error("a run that has made no step stands still")
		}
		p.add(start, &pb.Beat{Totals: totalsAt(3), Steps: []*pb.StepReport{{Step: 1, Seconds: c.seconds}, {Step: 2, Seconds: 50}, {Step: 3, Seconds: c.seconds}}})
		if n, want := p.lag(), 2+uint64(1.5/c.seconds); n != want {
			t.Errorf("steps of %v s: who is not heard may be %d steps behind, want %d", c.seconds, n, want)
		}
		usual, still := p.still(start.Add(c.idle))
		if still != c.still || usual != c.seconds {
			t.Errorf("steps of %v s, none for %v: still %v, usual %v", c.seconds, c.idle, still, usual)
		}
	}
}

func TestNodesAreToldOfWithTheirRelease(t *testing.T) {
	p := newPlay(t)
	b := &pb.Beat{Node: &pb.NodeID{Name: "ada", Boot: 1}, Addr: "h:1", Class: "cpu-1", Version: "v1.2.3"}
	if _, err := p.core.attend(p.now, 1, b); err != nil {
		t.Fatal(err)
	}
	if all := p.core.nodeInfos(p.now); len(all) != 1 || all[0].Version != "v1.2.3" {
		t.Errorf("nodes are %v", all)
	}
}
