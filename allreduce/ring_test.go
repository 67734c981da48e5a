package allreduce

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/torctrain/torc/internal/view"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testView = 0x1234

func at(step uint64) view.Position { return view.Position{View: testView, Step: step} }

func identity(rank int, order []int) Identity {
	return Identity{Run: "r", View: testView, Rank: rank, Members: len(order), Order: order}
}

func natural(n int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	return order
}

// members are the rings of all members of a view, in one process.
type members []*Ring

func memMembers(net *Net, order []int, c Config) members {
	rings := make(members, len(order))
	for rank := range order {
		id := identity(rank, order)
		rings[rank] = NewRing(id, net.Mesh(id), c)
	}
	return rings
}

func (m members) each(f func(rank int, r *Ring) error) []error {
	errs := make([]error, len(m))
	var wg sync.WaitGroup
	for rank, r := range m {
		wg.Go(func() { errs[rank] = f(rank, r) })
	}
	wg.Wait()
	return errs
}

func (m members) close() {
	m.each(func(_ int, r *Ring) error { r.Close(); return nil })
}

// world is the work of one step: what each lane contributes, and which member computes it.
type world struct {
	lanes   [][]int32
	owner   []int
	want    []int32 // the oracle, in int64 and then wrapped
	maxima  [][]uint32
	wantMax []uint32
}

func newWorld(rng *rand.Rand, members, lanes, length int) *world {
	w := &world{want: make([]int32, length), wantMax: make([]uint32, 3)}
	sum := make([]int64, length)
	for range lanes {
		v, maxima := make([]int32, length), make([]uint32, 3)
		bits := rng.IntN(32)
		for i := range v {
			v[i] = int32(rng.Uint32()) >> (31 - bits)
			sum[i] += int64(v[i])
		}
		for j := range maxima {
			maxima[j] = rng.Uint32() >> 1
			w.wantMax[j] = max(w.wantMax[j], maxima[j])
		}
		w.lanes, w.maxima = append(w.lanes, v), append(w.maxima, maxima)
		w.owner = append(w.owner, rng.IntN(members))
	}
	for i, x := range sum {
		w.want[i] = int32(x)
	}
	return w
}

// part is what one member brings to the sum.
func (w *world) part(rank int, step uint64) ([]int32, *Side) {
	own, side := make([]int32, len(w.want)), NewSide(3, len(w.lanes))
	for l, v := range w.lanes {
		if w.owner[l] != rank {
			continue
		}
		for i, x := range v {
			own[i] += x
		}
		for j, m := range w.maxima[l] {
			side.Max[j] = max(side.Max[j], m)
		}
		side.Add(step, l)
		side.Loss += int64(l) + 1
		side.Tokens += 10
		side.Counted += 7
	}
	return own, side
}

func (w *world) check(total []int32, side *Side, step uint64) error {
	lanes := int64(len(w.lanes))
	switch {
	case !slices.Equal(total, w.want):
		return errors.New("total differs from the oracle")
	case !slices.Equal(side.Max, w.wantMax):
		return fmt.Errorf("maxima are %v, want %v", side.Max, w.wantMax)
	case side.Loss != lanes*(lanes+1)/2 || side.Tokens != 10*lanes || side.Counted != 7*lanes:
		return fmt.Errorf("side is %+v", side)
	}
	return side.Prove(step, len(w.lanes))
}

// sumAll lets every member sum its part and checks the totals on each.
func (m members) sumAll(ctx context.Context, w *world, step uint64) []error {
	return m.each(func(rank int, r *Ring) error {
		own, side := w.part(rank, step)
		before, total := slices.Clone(own), make([]int32, len(own))
		if err := r.Sum(ctx, at(step), Fence{1, 2}, own, total, side, nil); err != nil {
			return err
		}
		if !slices.Equal(own, before) {
			return errors.New("own was changed")
		}
		return w.check(total, side, step)
	})
}

func wantAll(t testing.TB, errs []error) {
	t.Helper()
	for rank, err := range errs {
		if err != nil {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// protocol.md §2: sums over lanes are exact, so their grouping onto members, the ring's order and the framing cannot matter.
func TestSumEqualsTheOracleForAnyGrouping(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		n := rapid.IntRange(1, 9).Draw(t, "members")
		c := Default()
		c.Pack = rapid.Bool().Draw(t, "pack")
		c.FrameBytes = 256 * rapid.IntRange(4, 40).Draw(t, "frame")
		c.DirectBytes = rapid.SampledFrom([]int{0, 1024}).Draw(t, "direct")
		rings := memMembers(MemNet(n), rng.Perm(n), c)
		defer rings.close()
		for step := range uint64(3) {
			w := newWorld(rng, n, rapid.IntRange(1, 12).Draw(t, "lanes"), rapid.IntRange(0, 60_000/n).Draw(t, "length"))
			for rank, err := range rings.sumAll(context.Background(), w, step) {
				if err != nil {
					t.Fatalf("step %d rank %d: %v", step, rank, err)
				}
			}
		}
	})
}

func TestSumBesideTheBackwardPass(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5} {
		for _, length := range []int{300, 40_000} {
			rng := rand.New(rand.NewPCG(uint64(n), 1))
			rings := memMembers(MemNet(n), natural(n), small())
			w := newWorld(rng, n, 7, length)
			wantAll(t, rings.each(func(rank int, r *Ring) error {
				full, finalSide := w.part(rank, 1)
				own, total, side := make([]int32, length), make([]int32, length), NewSide(3, 7)
				ready := NewWatermark()
				var wg sync.WaitGroup
				defer wg.Wait()
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(uint64(rank), 2))
					for done := 0; done < length; {
						next := min(length, done+1+rng.IntN(length/20))
						copy(own[done:next], full[done:next])
						done = next
						if done == length {
							side.CopyFrom(finalSide)
						}
						ready.Raise(done)
					}
				})
				if err := r.Sum(t.Context(), at(1), Fence{}, own, total, side, ready); err != nil {
					return err
				}
				return w.check(total, side, 1)
			}))
			rings.close()
		}
	}
}

func TestGatherGivesEveryBlobToAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		n := rapid.IntRange(1, 7).Draw(t, "members")
		c := Default()
		c.FrameBytes = 1024
		rings := memMembers(MemNet(n), rng.Perm(n), c)
		defer rings.close()
		for step := range uint64(2) {
			blobs := make([][]byte, n)
			for i := range blobs {
				blobs[i] = make([]byte, rapid.SampledFrom([]int{0, 1, 1024, 5000, 20_000}).Draw(t, "size"))
				for j := range blobs[i] {
					blobs[i][j] = byte(rng.Uint32())
				}
			}
			for rank, err := range rings.each(func(rank int, r *Ring) error {
				got, err := r.Gather(context.Background(), at(step), Fence{}, blobs[rank])
				if err != nil {
					return err
				}
				for i := range blobs {
					if !slices.Equal(got[i], blobs[i]) {
						return fmt.Errorf("blob of rank %d differs", i)
					}
				}
				return nil
			}) {
				if err != nil {
					t.Fatalf("rank %d: %v", rank, err)
				}
			}
		}
	})
}

// protocol.md I10: a lane counted twice never passes, and every member sees it.
func TestOverlappingLanesAreReportedByAll(t *testing.T) {
	for _, direct := range []int{0, 4096} {
		c := Default()
		c.DirectBytes = direct
		rings := memMembers(MemNet(3), natural(3), c)
		for rank, err := range rings.each(func(rank int, r *Ring) error {
			side := NewSide(1, 8)
			side.Add(1, rank)
			if rank == 2 {
				side.Add(1, 0)
			}
			return r.Sum(t.Context(), at(1), Fence{}, make([]int32, 500), make([]int32, 500), side, nil)
		}) {
			if !errors.Is(err, ErrOverlap) {
				t.Errorf("direct %d rank %d: %v, want ErrOverlap", direct, rank, err)
			}
		}
		w := newWorld(rand.New(rand.NewPCG(1, 1)), 3, 5, 900)
		wantAll(t, rings.sumAll(t.Context(), w, 2)) // the ring goes on
		rings.close()
	}
}

// protocol.md I6: a frame of another (ring, step, try, space, State) is never added.
func TestForeignFrameIsRefused(t *testing.T) {
	for _, direct := range []int{0, 4096} {
		for name, change := range map[string]func(*view.Position, *Fence){
			"step":  func(p *view.Position, _ *Fence) { p.Step++ },
			"try":   func(p *view.Position, _ *Fence) { p.Try++ },
			"space": func(_ *view.Position, f *Fence) { f.Space++ },
			"state": func(_ *view.Position, f *Fence) { f.State++ },
		} {
			c := Default()
			c.DirectBytes = direct
			rings := memMembers(MemNet(3), natural(3), c)
			fenced := 0
			for rank, err := range rings.each(func(rank int, r *Ring) error {
				p, f := at(5), Fence{3, 4}
				if rank == 1 {
					change(&p, &f)
				}
				total := make([]int32, 400)
				return r.Sum(t.Context(), p, f, make([]int32, 400), total, nil, nil)
			}) {
				if err == nil {
					t.Errorf("%s, direct %d: rank %d committed", name, direct, rank)
				}
				if errors.Is(err, ErrFenced) {
					fenced++
				}
			}
			if fenced == 0 {
				t.Errorf("%s, direct %d: nobody reports ErrFenced", name, direct)
			}
			rings.close()
		}
	}
}

// faulty runs one sum on a network with a fault, under the fake clock, and returns what each member got and how long
// it took.
func faulty(t *testing.T, n, length int, c Config, order func(*Net) *Net, check func(errs []error, took time.Duration)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		rings := memMembers(order(MemNet(n)), natural(n), c)
		start := time.Now()
		errs := rings.sumAll(t.Context(), newWorld(rand.New(rand.NewPCG(1, 2)), n, 6, length), 1)
		check(errs, time.Since(start))
		rings.close()
	})
}

// small is a configuration under which sums above 4 KiB take many frames round the ring.
func small() Config {
	c := Default()
	c.FrameBytes, c.DirectBytes = 1024, 4096
	return c
}

func TestSilentMemberIsNamedByAll(t *testing.T) {
	c := small()
	for _, length := range []int{500, 30_000} {
		for _, hop := range []int{0, 1, 2} {
			if length == 500 && hop > 0 {
				continue // direct exchange has one round
			}
			faulty(t, 4, length, c, func(n *Net) *Net { return n.Silence(2, hop) }, func(errs []error, took time.Duration) {
				if took > c.HopTimeout*5/4+2*grace {
					t.Errorf("length %d hop %d: took %v", length, hop, took)
				}
				for rank, err := range errs {
					pe := (*PeerError)(nil)
					if rank != 2 && (!errors.As(err, &pe) || pe.Rank != 2) {
						t.Errorf("length %d hop %d: rank %d got %v, want PeerError of rank 2", length, hop, rank, err)
					}
					if err == nil && rank != 2 { // who heard everybody may commit
						t.Errorf("length %d hop %d: rank %d committed", length, hop, rank)
					}
				}
			})
		}
	}
}

func TestBrokenLinkIsKnownAtOnce(t *testing.T) {
	c := small()
	faulty(t, 4, 30_000, c, func(n *Net) *Net { return n.Reset(1, 2) }, func(errs []error, took time.Duration) {
		if took > c.HopTimeout/2 {
			t.Errorf("took %v, want less than half the timeout", took)
		}
		for rank, err := range errs {
			pe := (*PeerError)(nil)
			if !errors.As(err, &pe) || pe.Rank != 1 && pe.Rank != 2 {
				t.Errorf("rank %d got %v, want PeerError of one end of the broken link", rank, err)
			}
		}
	})
}

func TestDamagedFrameEndsTheRing(t *testing.T) {
	for _, c := range []Config{{DirectBytes: 4096}, {DirectBytes: 0}} {
		d := Default()
		d.DirectBytes = c.DirectBytes
		faulty(t, 3, 700, d, func(n *Net) *Net { return n.Corrupt(0, 0) }, func(errs []error, _ time.Duration) {
			damaged := false
			for rank, err := range errs {
				damaged = damaged || errors.Is(err, errCorrupt)
				if err == nil && rank == 1 && d.DirectBytes == 0 {
					t.Errorf("rank %d committed", rank)
				}
			}
			if !damaged {
				t.Errorf("direct %d: nobody saw the damage: %v", d.DirectBytes, errs)
			}
		})
	}
}

func TestDuplicateFrameIsNeverAddedTwice(t *testing.T) {
	c := small()
	faulty(t, 3, 30_000, c, func(n *Net) *Net { return n.Duplicate(1, 1) }, func(errs []error, _ time.Duration) {
		if errs[2] == nil {
			t.Error("rank 2 took a frame twice")
		}
	})
}

// A member that is busy far longer than HopTimeout is not silent: its ring says so.
func TestBusyMemberIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Default()
		rings := memMembers(MemNet(3), natural(3), c)
		w := newWorld(rand.New(rand.NewPCG(1, 2)), 3, 6, 200_000)
		wantAll(t, rings.sumAll(t.Context(), w, 1))
		wantAll(t, rings.each(func(rank int, r *Ring) error {
			if rank == 1 {
				time.Sleep(20 * c.HopTimeout)
			}
			own, side := w.part(rank, 2)
			total := make([]int32, len(own))
			if err := r.Sum(t.Context(), at(2), Fence{}, own, total, side, nil); err != nil {
				return err
			}
			return w.check(total, side, 2)
		}))
		rings.close()
	})
}

func TestSlowLinkOnlyTakesLonger(t *testing.T) {
	c := small()
	faulty(t, 4, 60_000, c, func(n *Net) *Net { return n.Delay(1, 30*time.Millisecond) }, func(errs []error, _ time.Duration) {
		wantAll(t, errs)
	})
}

func TestCancelledSumEndsOnAllMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rings := memMembers(MemNet(3), natural(3), Default())
		over := errors.New("view over")
		errs := rings.each(func(rank int, r *Ring) error {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			ready := NewWatermark()
			if rank == 0 {
				ready = nil
			}
			if rank == 1 {
				time.AfterFunc(time.Second, func() { cancel(over) })
			}
			return r.Sum(ctx, at(1), Fence{}, make([]int32, 1<<18), make([]int32, 1<<18), nil, ready)
		})
		if !errors.Is(errs[1], over) {
			t.Errorf("rank 1 got %v, want its own cause", errs[1])
		}
		for _, rank := range []int{0, 2} {
			if pe := (*PeerError)(nil); !errors.Is(errs[rank], ErrOver) || errors.As(errs[rank], &pe) {
				t.Errorf("rank %d got %v, want ErrOver that accuses nobody", rank, errs[rank])
			}
		}
		if err := rings[0].Sum(t.Context(), at(2), Fence{}, nil, nil, nil, nil); err == nil {
			t.Error("an ended ring summed")
		}
		rings.close()
	})
}

// protocol.md §3: a member that has its totals may leave while others still receive theirs.
func TestLeavingAfterTheLastSumHarmsNobody(t *testing.T) {
	for range 20 {
		c := small()
		rings := memMembers(MemNet(4), natural(4), c)
		w := newWorld(rand.New(rand.NewPCG(1, 2)), 4, 6, 20_000)
		wantAll(t, rings.each(func(rank int, r *Ring) error {
			defer r.Close()
			own, side := w.part(rank, 1)
			total := make([]int32, len(own))
			if err := r.Sum(t.Context(), at(1), Fence{}, own, total, side, nil); err != nil {
				return err
			}
			return w.check(total, side, 1)
		}))
	}
}

// Who waits for a link that does not come learns from the members it has links to when there is nothing to wait for any more:
// one of them leaves the ring, or falls silent.
func TestAMissingLinkIsNotAwaitedWhenAnotherMemberIsGone(t *testing.T) {
	for name, goes := range map[string]func(net *Net, leaver *Ring){
		"leaves":       func(_ *Net, leaver *Ring) { leaver.Close() },
		"falls silent": func(net *Net, _ *Ring) { net.faults[0].silent.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, net := Default(), MemNet(5)
				rings := memMembers(net, natural(5), c)
				wantAll(t, rings.each(func(_ int, r *Ring) error { // a link to each neighbour on the ring
					_, err := r.Gather(t.Context(), at(0), Fence{}, nil)
					return err
				}))
				const stay = time.Minute
				start := time.Now()
				errs := rings.each(func(rank int, r *Ring) error {
					switch rank {
					case 0:
						time.Sleep(stay)
						goes(net, r)
						return nil
					case 3, 4: // they do not come
						return nil
					}
					return r.Sum(t.Context(), at(1), Fence{}, make([]int32, 8), make([]int32, 8), nil, nil)
				})
				took := time.Since(start)
				if took < stay || took > stay+2*c.HopTimeout {
					t.Errorf("took %v, want %v and little more", took, stay)
				}
				for _, rank := range []int{1, 2} {
					if errs[rank] == nil {
						t.Errorf("rank %d summed without two members", rank)
					}
				}
				rings.close()
			})
		})
	}
}
