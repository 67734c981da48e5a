package train

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
)

// probeToy chooses channels by data before step 1.
func probeToy(by string) toy {
	s2ft := methods.Default("s2ft")
	s2ft.O, s2ft.Down, s2ft.Select = 0.3, 0.1, by
	return toy{method: s2ft, dtype: model.BF16, lanes: 7, steps: 3}
}

// protocol.md I1, I3: a ring that breaks at any frame before the first steps are made, with other members in the next one, does
// not change what is chosen.
func TestChoiceByDataSurvivesBrokenRings(t *testing.T) {
	c := probeToy("smallest-activation")
	alone := c.run(t, 1, make([]int, c.lanes))[0]
	random := c
	random.method.Select = "random"
	if o := random.run(t, 1, make([]int, c.lanes))[0]; o.digest == alone.digest {
		t.Fatal("channels chosen by data and by chance give one digest")
	}
	for frames := 1; frames <= 8; frames++ { // hello, two sums, and those of the steps
		p := c.troupe(t)
		for _, err := range p.act(deal(3, c.lanes), func(net *allreduce.Net) { net.ResetAfter(1, frames) }, "a", "b", "c") {
			if err != nil && !ringError(err) {
				t.Fatalf("%d frames: %v", frames, err)
			}
		}
		for rank, err := range p.act(deal(2, c.lanes), nil, "c", "a") {
			if err != nil {
				t.Fatalf("%d frames: rank %d got %v", frames, rank, err)
			}
		}
		for _, name := range []string{"a", "c"} {
			if got := p.digest(name); got != alone.digest[:12] {
				t.Errorf("%d frames: %s has digest %s, undisturbed %.12s", frames, name, got, alone.digest)
			}
		}
	}
}

// What was chosen is in State: whoever joins or is resumed later has it from there.
func TestStateHasTheChannelsThatDataChose(t *testing.T) {
	c := probeToy("largest-gradient")
	alone := c.run(t, 1, make([]int, c.lanes))[0]
	p := c.troupe(t)
	p.member("a").Yield()
	if err := p.act(make([]int, c.lanes), nil, "a")[0]; err != ErrYield {
		t.Fatal(err)
	}
	if sets := p.members["a"].State().Sets; len(sets) != len(p.members["a"].selector.Selected()) {
		t.Fatalf("State has %d sets", len(sets))
	}
	p.joins("late", "a")
	if err := p.act(make([]int, c.lanes), nil, "late")[0]; err != nil {
		t.Fatal(err)
	}
	if got := p.digest("late"); got != alone.digest[:12] {
		t.Errorf("resumed after step 1 the digest is %s, undisturbed %.12s", got, alone.digest)
	}
}

// A weight that makes activations no numbers ends the run by name, before any step.
func TestChoiceRefusesWhatIsNotFinite(t *testing.T) {
	c := probeToy("smallest-activation")
	p := c.troupe(t)
	m := p.member("a")
	for _, x := range m.job.Weights.Params {
		if x.Module == model.Up {
			x.Set(0, float32(math.NaN()))
		}
	}
	err := p.act(make([]int, c.lanes), nil, "a")[0]
	if err == nil || !strings.Contains(err.Error(), "lanes 0, 1, 2") || !strings.Contains(err.Error(), "method.select: random") {
		t.Errorf("got %v", err)
	}
	if !errors.As(err, new(fatal)) || m.step != 0 {
		t.Errorf("made step %d; the error ends the run: %v", m.step, errors.As(err, new(fatal)))
	}
}

func TestCalibrationIsAHundredthOfAnEpoch(t *testing.T) {
	for steps, want := range map[int]int{0: 1, 1: 1, 100: 1, 101: 2, 234: 3, 100_000: 32} {
		if got := calibration(steps); got != want {
			t.Errorf("of %d steps %d, want %d", steps, got, want)
		}
	}
}
