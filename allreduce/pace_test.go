package allreduce

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// repeat is the same gap in each of n windows.
func repeat(n int, gap time.Duration) []time.Duration { return slices.Repeat([]time.Duration{gap}, n) }

// protocol.md §3: hop timeouts adapt.
func TestTheTimeoutFollowsTheGaps(t *testing.T) {
	const hop = 2 * time.Second
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for _, c := range []struct {
		name        string
		gaps        []time.Duration
		least, most time.Duration
	}{
		{"nothing is known", nil, hop, hop},
		{"progress frames of an idle link", repeat(100, ms(375)), hop, hop},
		{"half a second now and then", slices.Repeat(append(repeat(9, ms(375)), ms(800)), 20), hop, hop},
		{"one bad moment just now", append(repeat(100, ms(375)), ms(1900)), hop, ms(2200)},
		{"one bad moment a while ago", append(append(repeat(100, ms(375)), ms(1900)), repeat(10, ms(375))...), hop, hop},
		{"gaps that come close, and then one above", slices.Repeat(append(repeat(4, ms(375)), ms(1800)), 10), ms(2500), ms(4500)},
		{"a steady slow link", repeat(100, ms(2500)), ms(2500), ms(3500)},
		{"a jittery one", slices.Repeat([]time.Duration{ms(500), ms(1900), ms(1100)}, 30), ms(2600), ms(4500)},
		{"steady, but slower than can be borne", repeat(200, time.Minute), 4 * hop, 4 * hop},
		{"quick again for a minute and a half", append(repeat(50, ms(1900)), repeat(90, ms(375))...), hop, hop},
	} {
		var p pace
		for _, gap := range c.gaps {
			p.learn(gap, hop)
		}
		if got := p.timeout(time.Time{}, hop); got < c.least || got > c.most {
			t.Errorf("%s: timeout is %v, want %v to %v", c.name, got, c.least, c.most)
		}
	}
}

// Whatever came before, the timeout is at least HopTimeout and at most four times that, and what grows slowly enough is
// never above it.
func TestTheTimeoutHasBoundsAndLeadsASlowRise(t *testing.T) {
	const hop = time.Second
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var p pace
		for range 300 {
			p.learn(time.Duration(rng.ExpFloat64()*float64(time.Second)), hop)
			if got := p.timeout(time.Time{}, hop); got < hop || got > 4*hop {
				t.Fatalf("timeout is %v of a HopTimeout of %v", got, hop)
			}
		}
	}
	var p pace
	for gap := 100 * time.Millisecond; gap < 3*hop; gap += gap / 10 {
		if limit := p.timeout(time.Time{}, hop); gap > limit {
			t.Fatalf("a gap of %v exceeds the timeout of %v though the ones before came close", gap, limit)
		}
		p.learn(gap, hop)
	}
}

func TestAMistakeDoublesTheTimeoutForAWhile(t *testing.T) {
	const hop, view, other = 2 * time.Second, 7, 8
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	type event struct {
		after       time.Duration
		accused     uint64 // view in which the peer is accused, or
		met         uint64 // in which a link to it is made
		want        time.Duration
		description string
	}
	var p pace
	for _, e := range []event{
		{0, 0, view, hop, "met for the first time"},
		{time.Second, view, 0, hop, "accused"},
		{time.Second, 0, other, hop, "met in another view: it was lost in the first"},
		{time.Second, 0, view, hop, "and is not accused any more"},
		{time.Second, view, 0, hop, "accused again"},
		{time.Second, 0, view, 2 * hop, "met in the same view: it was there all the time"},
		{0, 0, view, 2 * hop, "counted once"},
		{forgiven - time.Second, 0, 0, 2 * hop, "not forgiven yet"},
		{2 * time.Second, 0, 0, hop, "forgiven"},
		{0, view, 0, hop, ""},
		{0, 0, view, 2 * hop, ""},
		{0, view, 0, 2 * hop, ""},
		{0, 0, view, 4 * hop, "a second mistake"},
		{0, view, 0, 4 * hop, ""},
		{0, 0, view, 4 * hop, "a third changes nothing"},
		{forgiven, 0, 0, 2 * hop, "forgiven one by one"},
		{forgiven, 0, 0, hop, ""},
		{time.Hour, 0, 0, hop, ""},
	} {
		now = now.Add(e.after)
		if e.accused != 0 {
			p.accuse(e.accused)
		}
		if e.met != 0 {
			p.meet(e.met, now)
		}
		if got := p.timeout(now, hop); got != e.want {
			t.Fatalf("%s: %+v: timeout is %v, want %v", e.description, e, got, e.want)
		}
	}
}

func TestALullIsTheLongestGapOfAWindow(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	l := lull{from: start, last: start}
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	for _, c := range []struct{ ms, want int }{ // 0: the window is not over
		{10, 0},
		{300, 0},
		{500, 0},
		{1001, 501},
		{1002, 0},
		{1003, 0},
		{2100, 1097},
		{2200, 0},
		{-2900, 0},
		{3000, 0},
		{3300, 300}, // negative: nobody listened until then
		{9300, 6000},
	} {
		if c.ms < 0 {
			l.deaf(at(-c.ms))
			continue
		}
		gap, complete := l.heard(at(c.ms), time.Second)
		if want := time.Duration(c.want) * time.Millisecond; gap != want || complete != (want > 0) {
			t.Errorf("at %d ms: gap %v, complete %v, want %v", c.ms, gap, complete, want)
		}
	}
}

// slowly returns members of which rank 0 sends frames that take as long as delay says.
func slowly(delay *atomic.Int64, n int) (*Net, func(ring uint32) members) {
	net := MemNet(n).Delays(0, func() time.Duration { return time.Duration(delay.Load()) })
	return net, func(ring uint32) members {
		rings := make(members, n)
		for rank := range n {
			id := identity(rank, natural(n))
			id.Ring = ring
			rings[rank] = NewRing(id, net.Mesh(id), Default())
		}
		return rings
	}
}

// gathers has all members meet once.
func gathers(t *testing.T, m members, step uint64) []error {
	t.Helper()
	return m.each(func(_ int, r *Ring) error {
		_, err := r.Gather(t.Context(), at(step), Fence{}, []byte("here"))
		return err
	})
}

// A link that gets slower, until its frames come 3 s apart, is followed: nobody is taken for lost.
func TestALinkThatSlowsDownIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var delay atomic.Int64
		_, ring := slowly(&delay, 3)
		rings, step := ring(0), uint64(0)
		defer rings.close()
		for d := 250 * time.Millisecond; d <= 3*time.Second; d += d / 8 {
			delay.Store(int64(d))
			for range 4 {
				step++
				wantAll(t, gathers(t, rings, step))
			}
		}
	})
}

// A link that is suddenly too slow breaks the ring, once: the next one of the same view waits longer.
func TestAMistakenAccusationIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var delay atomic.Int64
		_, ring := slowly(&delay, 2)
		rings := ring(0)
		wantAll(t, gathers(t, rings, 1))
		delay.Store(int64(3500 * time.Millisecond))
		errs := gathers(t, rings, 2)
		if !errors.Is(errs[1], ErrSilent) {
			t.Fatalf("rank 1 got %v, want ErrSilent", errs[1])
		}
		rings.close()

		rings = ring(1)
		defer rings.close()
		for step := uint64(3); step < 6; step++ {
			wantAll(t, gathers(t, rings, step))
		}
	})
}

// silenceIsFound says after which silence of rank 0 rank 1 takes it for lost.
func silenceIsFound(t *testing.T, net *Net, m members) time.Duration {
	t.Helper()
	net.faults[0].silent.Store(true)
	start := time.Now()
	errs := gathers(t, m, 1<<20)
	took := time.Since(start)
	if !errors.Is(errs[1], ErrSilent) {
		t.Errorf("rank 1 got %v, want ErrSilent", errs[1])
	}
	return took
}

// Protocol.md §3: a member that freezes is found after hop_timeout, however long its link was idle or busy before.
func TestAdaptingDoesNotDelayDetectionOnAQuickLink(t *testing.T) {
	for name, busy := range map[string]bool{"idle": false, "busy": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var delay atomic.Int64
				delay.Store(int64(time.Millisecond))
				net, ring := slowly(&delay, 2)
				rings := ring(0)
				defer rings.close()
				wantAll(t, gathers(t, rings, 1))
				for end, step := time.Now().Add(2*time.Minute), uint64(2); time.Now().Before(end); step++ {
					if time.Sleep(10 * time.Millisecond); busy {
						wantAll(t, gathers(t, rings, step))
					}
				}
				hop := Default().HopTimeout
				if took := silenceIsFound(t, net, rings); took > hop*5/4+2*grace {
					t.Errorf("silence was found after %v, hop_timeout is %v", took, hop)
				}
			})
		})
	}
}

// After jitter a silence is borne for longer, and two minutes later no longer than before.
func TestJitterIsForgotten(t *testing.T) {
	for _, c := range []struct {
		calm        time.Duration
		least, most time.Duration
	}{{0, 2500 * time.Millisecond, 8500 * time.Millisecond}, {2 * time.Minute, 1500 * time.Millisecond, 3 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			var delay atomic.Int64
			net, ring := slowly(&delay, 2)
			rings := ring(0)
			defer rings.close()
			for step := range uint64(40) {
				delay.Store(int64(time.Duration(step%4) * 600 * time.Millisecond))
				wantAll(t, gathers(t, rings, step))
			}
			delay.Store(0)
			time.Sleep(c.calm)
			if took := silenceIsFound(t, net, rings); took < c.least || took > c.most {
				t.Errorf("after %v without jitter a silence was found after %v, want %v to %v", c.calm, took, c.least, c.most)
			}
		})
	}
}
