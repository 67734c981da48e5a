package train

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/internal/view"
)

// Which State counts where members at one place have different ones: the majority's. Members that have just fetched theirs
// make no majority, but one member alone does not prevail against them.
func TestTheMajorityOfWitnessesTellsWhichStateIsRight(t *testing.T) {
	for _, c := range []struct {
		hellos string // STEP:STATE of each rank, with + where it is a copy
		want   string // ranks that diverged; or tie
	}{
		{"5:a", "[]"},
		{"5:a 5:a", "[]"},
		{"5:a 5:b", "tie"},
		{"5:a 5:b 5:a", "[1]"},
		{"5:b 5:a 5:a", "[0]"},
		{"5:a 5:b 5:c", "tie"},
		{"5:a 5:b 5:a 5:b", "tie"},
		{"5:a 5:b 5:a 5:b 5:a", "[1 3]"},
		{"5:a 4:b", "[]"}, // who is behind has another one by right
		{"5:a 4:b 4:b", "[]"},
		{"5:a 5:a+", "[]"},
		{"5:a+", "[]"},
		{"5:a+ 5:a+", "[]"},
		{"5:a+ 5:b+", "tie"},
		{"5:a+ 5:a+ 5:b+", "[2]"},
		{"5:a 5:b+", "tie"},            // the copy was made before the member went astray, or went astray itself
		{"5:a 5:a 5:b+", "[2]"},        // of a member that was wrong
		{"5:a 5:a 5:b+ 5:b+", "[2 3]"}, // the same
		{"5:a 5:b 5:b+", "tie"},        // a copy of one of two is no witness
		{"5:a 5:a 5:b 5:b+", "[2 3]"},
		{"5:a 4:b 5:b+", "tie"},
	} {
		var hellos []hello
		for _, h := range strings.Fields(c.hellos) {
			step, state, _ := strings.Cut(h, ":")
			own, copied := strings.CutSuffix(state, "+")
			hellos = append(hellos, hello{place: place{Step: uint64(step[0] - '0'), Stage: computing}, State: uint64(own[0]), Copied: copied, Lanes: []uint64{0}})
		}
		a, err := agree(hellos, make([]int, 4))
		got := "tie"
		if err == nil {
			got = fmt.Sprint(a.diverged)
		} else if !errors.Is(err, ErrTie) {
			t.Errorf("%s: %v", c.hellos, err)
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.hellos, got, c.want)
		}
	}
}

// Hellos arrive as they were sent.
func TestHellosKeepWhatTheySay(t *testing.T) {
	for _, h := range []hello{
		{place: place{Step: 7, Stage: selecting, Try: 2}, State: 0x1234, Oldest: 5, NonFinite: true, Lanes: []uint64{3, 1}},
		{place: place{Step: 8, Stage: computing}, State: 1, Oldest: 8, Copied: true, Lanes: []uint64{0, 0}},
	} {
		b := h.encode()
		got, err := decodeHello(b, 70)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(h) {
			t.Errorf("got %+v, %v, want %+v", got, err, h)
		}
		b[9] |= 4
		if _, err := decodeHello(b, 70); err == nil {
			t.Error("took a hello with a flag that does not exist")
		}
	}
}

// protocol.md I1: a member that fetched its State from one that had gone astray does not outvote the one that is right.
func TestAJoinerWithAWrongCopyDoesNotOutvote(t *testing.T) {
	c := liftToy()
	p := c.troupe(t)
	for _, err := range p.act(deal(2, c.lanes), func(net *allreduce.Net) { net.ResetAfter(1, 12) }, "a", "b") {
		if !ringError(err) {
			t.Fatal(err)
		}
	}
	p.members["a"].theta[3] += 1
	p.joins("c", "a")
	for rank, err := range p.act(deal(3, c.lanes), nil, "a", "b", "c") {
		if !errors.Is(err, ErrTie) {
			t.Errorf("rank %d got %v, want a tie", rank, err)
		}
	}
}

// protocol.md I1: nor does it where the one that is right was a step behind when they met, and so could not object: it makes that
// step from its record, and then has another State than the two.
func TestAJoinerWithAWrongCopyDoesNotOutvoteOneThatWasBehind(t *testing.T) {
	c := liftToy()
	p := c.troupe(t)
	step := func(names ...string) { // one step
		t.Helper()
		p.member(names[0]).yieldAsked.Store(true)
		for _, err := range p.act(deal(len(names), c.lanes), nil, names...) {
			if !errors.Is(err, ErrYield) {
				t.Fatal(err)
			}
		}
		p.member(names[0]).yieldAsked.Store(false)
	}
	step("a", "b")
	step("b")
	p.members["b"].theta[3] += 1
	p.joins("c", "b")
	for rank, err := range p.act(deal(3, c.lanes), nil, "a", "b", "c") {
		if !ringError(err) || errors.As(err, new(*StrayError)) {
			t.Errorf("rank %d got %v, want the end of a ring whose members have different States", rank, err)
		}
	}
	if a, b := p.members["a"].step, p.members["b"].step; a != 2 || b != 2 {
		t.Errorf("a has made %d steps, b %d, want 2", a, b)
	}
	for rank, err := range p.act(deal(3, c.lanes), nil, "a", "b", "c") {
		if !errors.Is(err, ErrTie) {
			t.Errorf("rank %d got %v, want a tie", rank, err)
		}
	}
}

// protocol.md I8: whoever is foremost in step, stage and try tells the others; of several the one that can tell most.
func TestTheForemostMemberTellsTheOthers(t *testing.T) {
	at := func(step uint64, s stage, try uint32, oldest uint64) hello {
		return hello{place: place{step, s, try}, State: step, Oldest: oldest, Lanes: []uint64{0}}
	}
	for name, c := range map[string]struct {
		hellos []hello
		want   string // giver, the first step of the records it gives, and who is behind all of them
	}{
		"all level":             {[]hello{at(5, computing, 1, 5), at(5, computing, 1, 5)}, "-1 0 []"},
		"a step behind":         {[]hello{at(4, computing, 3, 4), at(5, validating, 0, 5)}, "1 5 []"},
		"the stage counts":      {[]hello{at(5, computing, 0, 5), at(5, selecting, 9, 5), at(5, validating, 9, 5)}, "0 6 []"},
		"the try counts":        {[]hello{at(5, computing, 0, 5), at(5, computing, 1, 5)}, "1 6 []"},
		"the longest memory":    {[]hello{at(5, computing, 0, 5), at(5, computing, 0, 3), at(2, computing, 0, 2)}, "1 3 []"},
		"further back than all": {[]hello{at(5, computing, 0, 5), at(3, computing, 0, 1), at(4, computing, 0, 4)}, "0 5 [1]"},
	} {
		a, err := agree(c.hellos, make([]int, 4))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := fmt.Sprint(a.giver, a.from, a.behind); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

// What the foremost member tells may be more than a gather takes: 300 million values are 1.2 GB.
func TestWhatIsToldFitsIntoGathers(t *testing.T) {
	for _, c := range []struct {
		records uint64
		values  int
		parts   int
	}{{0, 1 << 20, 1}, {1, 1 << 20, 1}, {1, 176_000_000, 1}, {1, 300_000_000, 2}, {2, 300_000_000, 3}, {40, 100_000_000, 16}} {
		if got := levelParts(c.records, c.values); got != c.parts {
			t.Errorf("%d records of %d values are told in %d parts, want %d", c.records, c.values, got, c.parts)
		}
		if size := (4*c.records + 2) * uint64(c.values); size/uint64(c.parts) > gatherBytes {
			t.Errorf("a part of %d records of %d values has %d bytes", c.records, c.values, size/uint64(c.parts))
		}
	}
	text := []byte("how the steps ended that others missed")
	for parts := range 6 {
		net := allreduce.MemNet(3)
		var all errgroup.Group
		for rank := range 3 {
			id := allreduce.Identity{Run: "r", View: 1, Rank: rank, Members: 3, Order: []int{0, 1, 2}}
			tr := &Trainer{viewHash: 1, rank: rank, ring: allreduce.NewRing(id, net.Mesh(id), allreduce.Default())}
			all.Go(func() error {
				defer tr.ring.(*allreduce.Ring).Close()
				var own []byte
				if rank == 2 {
					own = text
				}
				told, err := tr.share(t.Context(), 2, own, parts+1)
				if err == nil && string(told) != string(text) {
					err = fmt.Errorf("rank %d hears %q", rank, told)
				}
				return err
			})
		}
		if err := all.Wait(); err != nil {
			t.Errorf("in %d parts: %v", parts+1, err)
		}
	}
}

// sums is a ring that notes where its first sum is.
type sums struct {
	*allreduce.Ring
	first *view.Position
}

func (s *sums) Sum(ctx context.Context, at view.Position, f allreduce.Fence, own, total []int32, side *allreduce.Side, ready *allreduce.Watermark) error {
	if *s.first == (view.Position{}) {
		*s.first = at
	}
	return s.Ring.Sum(ctx, at, f, own, total, side, ready)
}

// protocol.md I8: wherever a ring broke, in the next one nobody sums before all are where the foremost was.
func TestAllAreLevelBeforeTheFirstSum(t *testing.T) {
	c := liftToy()
	apart := 0
	for frames := range 24 {
		p := c.troupe(t)
		for _, err := range p.act(deal(3, c.lanes), func(net *allreduce.Net) { net.ResetAfter(frames%3, frames/2) }, "a", "b", "c") {
			if !ringError(err) {
				t.Fatal(err)
			}
		}
		front := p.member("a").place()
		for _, m := range p.members {
			if m.place() != p.members["a"].place() {
				apart++
			}
			if m.place().compare(front) > 0 {
				front = m.place()
			}
		}
		var firsts [3]view.Position
		p.wrap = func(rank int, r *allreduce.Ring) Reducer { return &sums{r, &firsts[rank]} }
		for rank, err := range p.act(deal(3, c.lanes), nil, "a", "b", "c") {
			if err != nil {
				t.Fatalf("broken after %d frames: rank %d: %v", frames, rank, err)
			}
		}
		for rank, at := range firsts {
			want := front.Step
			if front.Stage != validating {
				want++ // the sum is that of the next step
			}
			if at != firsts[0] || at.Step < want || at.Step > front.Step+1 {
				t.Errorf("broken after %d frames, the foremost at %+v: rank %d sums at %v first, rank 0 at %v", frames, front, rank, at, firsts[0])
			}
		}
	}
	if apart == 0 {
		t.Error("the members were at one place whenever a ring broke")
	}
}
