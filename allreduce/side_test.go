package allreduce

import (
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func drawSide(t *rapid.T, tensors, lanes int) *Side {
	s := NewSide(tensors, lanes)
	for j := range s.Max {
		s.Max[j] = rapid.Uint32().Draw(t, "max")
	}
	s.Loss = rapid.Int64().Draw(t, "loss")
	s.Tokens, s.Counted = rapid.Int64().Draw(t, "tokens"), rapid.Int64().Draw(t, "counted")
	for l := range lanes {
		if rapid.Bool().Draw(t, "lane") {
			s.Add(5, l)
		}
		if rapid.Bool().Draw(t, "bad") {
			s.MarkNonFinite(l)
		}
	}
	s.Flags = rapid.Uint32().Draw(t, "flags")
	return s
}

func clone(s *Side) *Side {
	c := s.alike()
	c.CopyFrom(s)
	return c
}

func TestSideMergesInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawSide(t, 3, 70), drawSide(t, 3, 70), drawSide(t, 3, 70)
		merge := func(sides ...*Side) *Side {
			s := NewSide(3, 70)
			for _, o := range sides {
				_ = s.Merge(o)
			}
			return s
		}
		if d := cmp.Diff(merge(a, b, c), merge(c, merge(b, a))); d != "" {
			t.Fatal(d)
		}
	})
}

func TestSideSurvivesItsEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawSide(t, rapid.IntRange(0, 9).Draw(t, "tensors"), rapid.IntRange(0, 130).Draw(t, "lanes"))
		b := want.Append(nil)
		if len(b) != want.size() {
			t.Fatalf("%d bytes, size says %d", len(b), want.size())
		}
		got := want.alike()
		if err := got.Decode(b); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	})
}

func TestMergeSeesLanesTwice(t *testing.T) {
	a, b := NewSide(1, 8), NewSide(1, 8)
	a.Add(1, 3)
	b.Add(1, 4)
	if err := a.Merge(b); err != nil {
		t.Fatal(err)
	}
	if err := a.Merge(b); !errors.Is(err, ErrOverlap) {
		t.Fatalf("err is %v, want ErrOverlap", err)
	}
	if err := a.overlap(); !errors.Is(err, ErrOverlap) {
		t.Fatalf("totals: err is %v, want ErrOverlap", err)
	}
	before := clone(a)
	if err := a.Merge(NewSide(2, 8)); err == nil || cmp.Diff(before, a) != "" {
		t.Fatalf("other shape: err is %v, merged %+v", err, a)
	}
}

func TestResetKeepsTheShape(t *testing.T) {
	s := full(1, 70, 1, 2)
	s.Flags, s.Loss = StopAsked, 3
	s.MarkNonFinite(65)
	s.Reset()
	if d := cmp.Diff(NewSide(2, 70), s); d != "" {
		t.Fatal(d)
	}
}

func TestProofTellsStepsAndLanesApart(t *testing.T) {
	seen := make(map[uint64]bool)
	for step := range uint64(100) {
		for lane := range 100 {
			seen[Proof(step, lane)] = true
		}
	}
	if len(seen) != 10_000 {
		t.Fatalf("%d different proofs of 10000", len(seen))
	}
}

func TestFixedLoss(t *testing.T) {
	unit := 1.0 / (1 << 20)
	for _, c := range []struct {
		loss float64
		want int64
	}{
		{0, 0},
		{1, 1 << 20},
		{0.5 * unit, 0},
		{1.5 * unit, 2},
		{2.5 * unit, 2},
		{-1.5 * unit, -2},
		{-2.5 * unit, -2},
		{0.51 * unit, 1},
		{-0.51 * unit, -1},
		{math.NaN(), 0},
		{math.Inf(1), 0},
		{1 << 41, 0},
	} {
		if got := FixedLoss(c.loss); got != c.want {
			t.Errorf("FixedLoss(%g) = %d, want %d", c.loss, got, c.want)
		}
	}
}

func FuzzSideIsNeverTrusted(f *testing.F) {
	f.Add(full(1, 70, 1, 2).Append(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := NewSide(2, 70)
		if s.Decode(b) == nil && !cmp.Equal(s.Append(nil), b) {
			t.Fatal("decoded to something else")
		}
	})
}
