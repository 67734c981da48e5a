package train

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/internal/view"
	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/sharding"
)

// stage of a play: members that outlive their rings, and a network for each ring.
type troupe struct {
	t       *testing.T
	toy     toy
	members map[string]*Trainer
	heard   map[string]*heard
	number  uint64
	wrap    func(rank int, r *allreduce.Ring) Reducer // nil: the ring as it is
	sent    []int64                                   // by each member in the last view, by its rank
}

func (c toy) troupe(t *testing.T) *troupe {
	return &troupe{t: t, toy: c, members: map[string]*Trainer{}, heard: map[string]*heard{}}
}

func (p *troupe) member(name string) *Trainer {
	if p.members[name] == nil {
		p.heard[name] = &heard{}
		t, err := NewTrainer(p.toy.job(p.t, 1), nil, p.heard[name], slog.New(slog.DiscardHandler))
		if err != nil {
			p.t.Fatal(err)
		}
		p.members[name] = t
	}
	return p.members[name]
}

// joins makes name a member with the State that from has, as a joiner gets it.
func (p *troupe) joins(name, from string) {
	p.t.Helper()
	p.members[from].copyState()
	c := p.members[from].keep.copy
	data, _, err := c.bytes()
	if err != nil {
		p.t.Fatal(err)
	}
	s, err := checkpoints.ReadState(bytes.NewReader(data))
	if err != nil {
		p.t.Fatal(err)
	}
	p.heard[name] = &heard{}
	if p.members[name], err = NewTrainer(p.toy.job(p.t, 1), s, p.heard[name], slog.New(slog.DiscardHandler)); err != nil {
		p.t.Fatal(err)
	}
	p.members[name].copied = true
	p.members[name].advance(&pb.StateCopy{Ahead: c.ahead, NonFinite: c.tried, Validation: validationToPB(c.valid)})
}

// act runs one view of the named members on a network that fault spoils, and returns what each Run returned.
func (p *troupe) act(owner []int, fault func(*allreduce.Net), names ...string) []error {
	p.number++
	v := &view.View{Run: "toy", Incarnation: 1, Number: p.number, Owner: owner}
	for i, n := range names {
		v.Members = append(v.Members, view.Member{Node: view.NodeID{Name: n}})
		v.Ring = append(v.Ring, i)
	}
	net := allreduce.MemNet(len(names))
	if fault != nil {
		fault(net)
	}
	errs := make([]error, len(names))
	p.sent = make([]int64, len(names))
	var g errgroup.Group
	for rank, n := range names {
		t := p.member(n)
		g.Go(func() error {
			id := allreduce.Identity{Run: v.Run, View: v.Hash(), Rank: rank, Members: len(names), Order: v.Ring}
			ring := allreduce.NewRing(id, net.Mesh(id), t.job.Spec.Reduce)
			var reducer Reducer = ring
			if p.wrap != nil {
				reducer = p.wrap(rank, ring)
			}
			errs[rank] = t.Run(context.Background(), v, rank, reducer)
			ring.Close()
			p.sent[rank] = ring.BytesSent()
			return nil
		})
	}
	_ = g.Wait()
	return errs
}

func (p *troupe) digest(name string) string {
	d := p.members[name].State().Digest()
	return fmt.Sprintf("%x", d[:6])
}

// agedToy refreshes, so that coordinates of all ages are there.
func agedToy() toy {
	c := liftToy()
	c.method.Age = true
	return c
}

func liftToy() toy {
	lift := methods.Default("lift")
	lift.Rank, lift.Filter, lift.Refresh = 2, 2, 3
	return toy{method: lift, dtype: model.BF16, lanes: 7, steps: 7, edit: func(r *spec.Resolved) { r.Validate.Every = 2 }}
}

// protocol.md I1, I2, I3: a link that breaks anywhere, in a hello, a refresh, a sum or a validation, ends its ring and nothing
// else; the members go on in the next one, whoever takes part in it, and end with the digest of the undisturbed run.
func TestDigestSurvivesBrokenRings(t *testing.T) {
	c := liftToy()
	alone := c.run(t, 1, make([]int, c.lanes))[0]
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			p := c.troupe(t)
			names := []string{"a", "b", "c"}
			for _, name := range names {
				p.member(name)
			}
			for range 40 {
				r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
				n := 1 + r.IntN(len(names))
				some := append([]string(nil), names[:n]...)
				// Whoever is a whole step behind all others may only sit with one who has the record.
				front := ""
				for _, name := range names {
					if front == "" || p.members[name].step > p.members[front].step {
						front = name
					}
				}
				if !slices.Contains(some, front) {
					some[0] = front
				}
				for _, name := range some {
					if p.members[name].step+1 < p.members[front].keep.oldest() {
						p.joins(name, front)
					}
				}
				errs := p.act(deal(len(some), c.lanes), func(net *allreduce.Net) {
					if victim := r.IntN(len(some)); r.IntN(4) > 0 {
						net.ResetAfter(victim, r.IntN(60))
					}
				}, some...)
				done := true
				for _, err := range errs {
					var stray *StrayError
					if err != nil && !ringError(err) || errors.As(err, &stray) {
						t.Fatalf("seed %d: %v", seed, err)
					}
					done = done && err == nil
				}
				if done {
					for _, name := range some {
						if got := p.digest(name); got != alone.digest[:12] {
							t.Errorf("seed %d: %s has digest %s, undisturbed %.12s", seed, name, got, alone.digest)
						}
					}
					return
				}
			}
			t.Errorf("seed %d: not done after 40 views", seed)
		})
	}
}

// A member that has changed by itself is found by the majority before its values are added; alone against one other, nobody
// can tell who is right.
func TestDivergedMembersAreFound(t *testing.T) {
	c := liftToy()
	p := c.troupe(t)
	for _, err := range p.act(deal(3, c.lanes), func(net *allreduce.Net) { net.ResetAfter(1, 12) }, "a", "b", "c") {
		if !ringError(err) {
			t.Fatal(err)
		}
	}
	p.members["b"].theta[3] += 1
	for rank, err := range p.act(deal(3, c.lanes), nil, "a", "b", "c") {
		var stray *StrayError
		if !errors.As(err, &stray) || fmt.Sprint(stray.Diverged) != "[1]" {
			t.Errorf("rank %d got %v, want that rank 1 diverged", rank, err)
		}
	}
	for rank, err := range p.act(deal(2, c.lanes), nil, "a", "b") {
		var tie *TieError
		if !errors.As(err, &tie) || tie.Step != p.members["a"].step || ringError(err) {
			t.Errorf("rank %d got %v, want a tie after step %d that ends more than the ring", rank, err, p.members["a"].step)
		}
	}
	p.joins("b", "a")
	for rank, err := range p.act(deal(3, c.lanes), nil, "a", "b", "c") {
		if err != nil {
			t.Errorf("rank %d got %v after rank 1 took over a State", rank, err)
		}
	}
	if alone := c.run(t, 1, make([]int, c.lanes))[0]; p.digest("b") != alone.digest[:12] {
		t.Errorf("healed member has digest %s, undisturbed %.12s", p.digest("b"), alone.digest)
	}
}

// A member asked to yield leaves at the end of a step, and all others with it.
func TestMembersLeaveAViewTogether(t *testing.T) {
	c := liftToy()
	p := c.troupe(t)
	p.member("a").Yield()
	for rank, err := range p.act(deal(3, c.lanes), nil, "a", "b", "c") {
		if !errors.Is(err, ErrYield) {
			t.Errorf("rank %d got %v, want ErrYield", rank, err)
		}
	}
	for name, m := range p.members {
		if m.step != 1 {
			t.Errorf("%s left after step %d, want 1", name, m.step)
		}
	}
}

// Joiners replay records across refreshes, tries and validations.
func TestJoinersReplayRecords(t *testing.T) {
	for name, c := range map[string]toy{
		"lift": liftToy(),
		"aged": agedToy(),
		"s2ft": probeToy("smallest-gradient"),
		"lora": {method: methods.Default("lora"), dtype: model.BF16, lanes: 7, steps: 5},
		"full": {method: methods.Default("full"), dtype: model.F32, lanes: 7, steps: 5},
	} {
		t.Run(name, func(t *testing.T) {
			p := c.troupe(t)
			p.member("a").copyState()
			p.joins("late", "a")
			if err := p.act(make([]int, c.lanes), nil, "a")[0]; err != nil {
				t.Fatal(err)
			}
			late, a := p.members["late"], p.members["a"]
			for s := uint64(1); s <= a.step; s++ {
				r, _, err := a.keep.record(s, a.began)
				if err != nil {
					t.Fatal(err)
				}
				got, err := late.record(r.toPB())
				if err != nil {
					t.Fatal(err)
				}
				if err := late.apply(got); err != nil {
					t.Fatal(err)
				}
			}
			if p.digest("late") != p.digest("a") {
				t.Errorf("joiner has digest %s, want %s", p.digest("late"), p.digest("a"))
			}
		})
	}
}

// What a member asked of all with a sum that came to nothing is not asked again: the view that it knew of may be this one.
func TestASumThatFailedAsksForNothing(t *testing.T) {
	c := liftToy()
	p := c.troupe(t)
	breaks := func(frames int) {
		t.Helper()
		for _, err := range p.act(deal(2, c.lanes), func(net *allreduce.Net) { net.ResetAfter(1, frames) }, "a", "b") {
			if !ringError(err) {
				t.Fatalf("got %v, want a ring that breaks", err)
			}
		}
	}
	breaks(4) // one frame each for hello, refresh and the two sums of step 1
	if step := p.members["a"].step; step != 1 {
		t.Fatalf("the first ring broke after step %d, want 1", step)
	}
	p.members["a"].Yield()
	breaks(1) // in the sum of step 2
	p.members["a"].yieldAsked.Store(false)
	for rank, err := range p.act(deal(2, c.lanes), nil, "a", "b") {
		if err != nil {
			t.Errorf("rank %d got %v", rank, err)
		}
	}
}

// Wherever in a step a member copies its State, whoever takes the copy is at its place with it: the two agree at once.
func TestACopyFromTheMiddleOfAStepIsAtItsPlace(t *testing.T) {
	c := liftToy()
	alone := c.run(t, 1, make([]int, c.lanes))[0]
	ahead := 0
	for frames := range 24 {
		p := c.troupe(t)
		for _, err := range p.act(deal(2, c.lanes), func(net *allreduce.Net) { net.ResetAfter(frames%2, frames/2) }, "a", "b") {
			if !ringError(err) {
				t.Fatal(err)
			}
		}
		from := "a"
		if p.member("b").place().compare(p.member("a").place()) > 0 {
			from = "b"
		}
		p.joins("c", from)
		if p.members[from].ahead() > 0 {
			ahead++
		}
		if c, m := p.members["c"], p.members[from]; c.ahead() != m.ahead() || c.State().Fence() != m.State().Fence() {
			t.Errorf("after %d frames: joiner at %+v, the member it copied at %+v", frames, c.place(), m.place())
		}
		for rank, err := range p.act(deal(2, c.lanes), nil, from, "c") {
			if err != nil {
				t.Errorf("after %d frames: rank %d: %v", frames, rank, err)
			}
		}
		if got := p.digest("c"); got != alone.digest[:12] {
			t.Errorf("after %d frames: digest %s, undisturbed %.12s", frames, got, alone.digest)
		}
	}
	if ahead == 0 {
		t.Error("no copy was made in the middle of a step")
	}
}

// samples are examples that count how often a trainer reads them without being busy.
type samples struct {
	from Examples
	of   *Trainer
	idle int
}

func (s *samples) Examples(step uint64, lane int) ([]sharding.Example, error) {
	if s.of.busy.Load() == 0 {
		s.idle++
	}
	return s.from.Examples(step, lane)
}

// gathers is a ring that counts how often a trainer comes to a gather, and comes busy.
type gathers struct {
	*allreduce.Ring
	of        *Trainer
	all, busy int
}

func (g *gathers) Gather(ctx context.Context, at view.Position, f allreduce.Fence, own []byte) ([][]byte, error) {
	if g.all++; g.of.busy.Load() != 0 {
		g.busy++
	}
	return g.Ring.Gather(ctx, at, f, own)
}

// A member is busy while it computes and reads samples, and not while it waits for others.
func TestAMemberIsBusyWhileItComputes(t *testing.T) {
	c := liftToy()
	p := c.troupe(t)
	a := p.member("a")
	train, valid := &samples{from: a.job.Train, of: a}, &samples{from: a.job.Valid, of: a}
	a.job.Train, a.job.Valid = train, valid
	g := &gathers{of: a}
	p.wrap = func(rank int, r *allreduce.Ring) Reducer {
		if rank > 0 {
			return r
		}
		g.Ring = r
		return g
	}
	for rank, err := range p.act(deal(2, c.lanes), nil, "a", "b") {
		if err != nil {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
	if train.idle+valid.idle > 0 || g.all < 3 || g.busy > 0 || a.busy.Load() != 0 {
		t.Errorf("it read samples idly %d and %d times, came to %d gathers, to %d busy, and is %d times busy in the end", train.idle, valid.idle, g.all, g.busy, a.busy.Load())
	}
}
