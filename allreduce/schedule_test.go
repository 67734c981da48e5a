package allreduce

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The plan, played by hand on sets of contributions: after all hops each position holds every chunk complete, and no
// contribution is in one twice.
func TestScheduleSumsEveryChunkEverywhere(t *testing.T) {
	for _, n := range []int{2, 3, 4, 5, 8, 9, 31, 64} {
		s := newSchedule(n, n*1000, 1<<20)
		held := make([][][]int, n) // position, chunk → contributors
		for p := range held {
			held[p] = make([][]int, n)
			for c := range held[p] {
				held[p][c] = []int{p}
			}
		}
		for h := range s.hops() {
			sent := make([][]int, n)
			for p := range n {
				sent[p] = slices.Clone(held[p][s.sends(p, h)])
			}
			for p := range n {
				c := s.receives(p, h)
				if c != s.sends(mod(p-1, n), h) {
					t.Fatalf("n %d hop %d: position %d awaits chunk %d, its neighbour sends %d", n, h, p, c, s.sends(mod(p-1, n), h))
				}
				if s.adds(h) {
					held[p][c] = append(sent[mod(p-1, n)], p)
				} else {
					held[p][c] = sent[mod(p-1, n)]
				}
			}
		}
		for p := range n {
			for c := range n {
				slices.Sort(held[p][c])
				if len(held[p][c]) != n || len(slices.Compact(held[p][c])) != n {
					t.Fatalf("n %d: position %d holds chunk %d from %v", n, p, c, held[p][c])
				}
			}
		}
	}
}

func TestScheduleCoversTheVectorOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 256).Draw(t, "n")
		length := rapid.IntRange(0, 3_000_000).Draw(t, "length")
		frame := group * rapid.IntRange(1, 4096).Draw(t, "frame")
		s := newSchedule(n, length, frame)
		end := 0
		for seg := range s.segments {
			for c := range n {
				lo, hi := s.bounds(seg, c)
				if lo != end || hi-lo > frame || hi < length && (hi-lo)%group != 0 {
					t.Fatalf("%+v: segment %d chunk %d is [%d,%d) after %d, frame %d", s, seg, c, lo, hi, end, frame)
				}
				end = hi
			}
		}
		if end != length {
			t.Fatalf("%+v covers %d of %d", s, end, length)
		}
		for _, p := range []int{0, 1, n / 2, n - 1} {
			_, received := s.frames(p)
			if sent, _ := s.frames(mod(p-1, n)); sent != received {
				t.Fatalf("%+v: position %d awaits %d frames, its neighbour sends %d", s, p, received, sent)
			}
		}
	})
}

func TestSideValuesReachEveryone(t *testing.T) {
	for n := 2; n <= 12; n++ {
		at, round := 0, make([]bool, n)
		merged := []int{0}
		for h := range 2*n - 2 {
			to := (at + 1) % n
			in1, out1, in2, out2 := sideHops(at, n)
			if h != out1 && h != out2 {
				t.Fatalf("n %d hop %d: position %d does not send, hops %v", n, h, at, []int{in1, out1, in2, out2})
			}
			in1, _, in2, _ = sideHops(to, n)
			switch h {
			case in1:
				merged = append(merged, to)
			case in2:
				round[to] = true
			default:
				t.Fatalf("n %d hop %d: position %d does not receive", n, h, to)
			}
			at = to
		}
		round[n-1] = true
		if len(merged) != n || slices.Contains(round, false) {
			t.Fatalf("n %d: merged %v, told %v", n, merged, round)
		}
	}
}

func TestDirectExchangeIsForShortVectors(t *testing.T) {
	for _, c := range []struct {
		n, bytes int
		want     bool
	}{{2, 4096, true}, {32, 256 << 10, true}, {33, 4096, false}, {2, 256<<10 + 1, false}} {
		if got := direct(c.n, c.bytes, 256<<10); got != c.want {
			t.Errorf("direct(%d, %d) = %v, want %v", c.n, c.bytes, got, c.want)
		}
	}
}
