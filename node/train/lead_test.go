package train

import (
	"context"
	"fmt"
	"testing"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
)

// leadToy refreshes before steps 1, 4 and 8; the selections for the last two begin before steps 2 and 6.
func leadToy() toy {
	lift := methods.Default("lift")
	lift.Rank, lift.Filter, lift.Refresh, lift.Lead = 2, 2, 4, 2
	return toy{method: lift, dtype: model.BF16, lanes: 7, steps: 9}
}

// protocol.md I1: selections that begin ahead, on one member or several, change the result in one way.
func TestDigestWithLeadDoesNotDependOnMembers(t *testing.T) {
	c := leadToy()
	alone := c.run(t, 1, make([]int, c.lanes))[0]
	if alone.err != nil {
		t.Fatal(alone.err)
	}
	for _, members := range []int{2, 3} {
		for rank, o := range c.run(t, members, deal(members, c.lanes)) {
			if o.err != nil || o.digest != alone.digest {
				t.Errorf("%d members: rank %d has digest %.12s (%v), alone %.12s", members, rank, o.digest, o.err, alone.digest)
			}
		}
	}
	without := leadToy()
	without.method.Lead = 0
	if o := without.run(t, 1, make([]int, c.lanes))[0]; o.err != nil || o.digest == alone.digest {
		t.Errorf("selecting when it is due has digest %.12s (%v), ahead %.12s: the weights have moved in between", o.digest, o.err, alone.digest)
	}
}

// Between begin and due a member crashes, another joins with a State of that time, and a third goes on from a checkpoint.
func TestPendingSelectionsSurviveWhoBeganThem(t *testing.T) {
	c := leadToy()
	alone := c.run(t, 1, make([]int, c.lanes))[0]
	until := func(p *troupe, step uint64, names ...string) {
		t.Helper()
		for p.member(names[0]).step < step {
			for _, n := range names {
				p.member(n).Yield() // at the end of each step
			}
			for _, err := range p.act(deal(len(names), c.lanes), nil, names...) {
				if err != nil && err != ErrYield {
					t.Fatal(err)
				}
			}
		}
		for _, n := range names {
			p.members[n].yieldAsked.Store(false)
		}
	}
	for step := uint64(1); step <= 7; step++ {
		t.Run(fmt.Sprint("after step ", step), func(t *testing.T) {
			p := c.troupe(t)
			until(p, step, "a", "b", "c")
			pending := step == 1 || step == 2 || step == 3 || step >= 5
			if got := p.members["a"].pending != nil; got != pending {
				t.Fatalf("a selection is under way: %v, want %v", got, pending)
			}
			// The crash: b breaks in the middle of a step, and never comes back.
			for _, err := range p.act(deal(3, c.lanes), func(net *allreduce.Net) { net.ResetAfter(1, 2) }, "a", "b", "c") {
				if !ringError(err) {
					t.Fatalf("got %v, want a ring that breaks", err)
				}
			}
			p.joins("late", "a")
			for rank, err := range p.act(deal(3, c.lanes), nil, "a", "c", "late") {
				if err != nil {
					t.Errorf("rank %d got %v", rank, err)
				}
			}
			for _, name := range []string{"a", "c", "late"} {
				if got := p.digest(name); got != alone.digest[:12] {
					t.Errorf("%s has digest %s, undisturbed %.12s", name, got, alone.digest)
				}
			}
		})
	}
}

// A selection that began is over, with what it has kept, before its Run returns or the sets are adopted.
func TestLeadSelectsWhatIsItsMembers(t *testing.T) {
	c := leadToy()
	p := c.troupe(t)
	a := p.member("a")
	a.Yield()
	if err := p.act(make([]int, c.lanes), nil, "a")[0]; err != ErrYield || a.step != 1 {
		t.Fatalf("left after step %d with %v", a.step, err)
	}
	a.lead.begin(context.Background(), a)
	a.lead.running.Wait() // it has no more to do
	a.lead.end()
	if got, want := len(a.lead.picked), len(a.refresher.Selected()); got != want {
		t.Errorf("selected %d sets, want all %d", got, want)
	}
	for i, s := range a.refresher.Selected() {
		set, err := a.refresher.Select(a.job.Workers[0], s.Weight, a.seen(s.Weight))
		if err != nil || hashSets([][]uint32{set}) != hashSets([][]uint32{a.lead.picked[i].set}) {
			t.Errorf("set %d is not that of the weights of its beginning (%v)", i, err)
		}
	}
}
