package allreduce

import (
	"errors"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// full returns side totals of a complete step with these maxima.
func full(step uint64, lanes int, maxima ...float32) *Side {
	s := NewSide(len(maxima), lanes)
	for l := range lanes {
		s.Add(step, l)
	}
	for j, m := range maxima {
		s.Max[j] = math.Float32bits(m)
	}
	return s
}

// protocol.md §2.3: the first step is tried again once, and M_j = 0 neither fails nor gets a scale.
func TestFirstStepTakesOneMoreTry(t *testing.T) {
	s := NewScales(3)
	side := full(1, 8, 0.25, 0, 3)
	next, commit, err := s.Judge(side, 1, 8, 27)
	if err != nil || commit {
		t.Fatalf("first try: commit %v, err %v", commit, err)
	}
	// 8 · 0.25 · 2^26 = 2^27; 8 · 3 · 2^22 = 2^26.58 and 2^23 would pass 2^27.
	if want := (Scales{26, NoScale, 22}); !slices.Equal(next, want) {
		t.Fatalf("scales are %v, want %v", next, want)
	}
	if again, commit, err := next.Judge(side, 1, 8, 27); err != nil || !commit || !slices.Equal(again, next) {
		t.Fatalf("second try: commit %v, scales %v, err %v", commit, again, err)
	}
}

func TestOneMoreTryAlwaysSuffices(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lanes := rapid.IntRange(1, 4096).Draw(t, "lanes")
		bits := rapid.IntRange(12, 30).Draw(t, "bits")
		m := math.Float32frombits(rapid.Uint32Range(0, 0x75ffffff).Draw(t, "m")) // up to 2^109
		e := rapid.SampledFrom([]int16{NoScale, -100, -20, 0, 20, 100}).Draw(t, "e")
		side := full(3, lanes, m)
		next, commit, err := Scales{e}.Judge(side, 3, lanes, bits)
		if err != nil {
			t.Fatal(err)
		}
		if !commit {
			if _, commit, err = next.Judge(side, 3, lanes, bits); err != nil || !commit {
				t.Fatalf("scale %d from %d: commit %v, err %v", next[0], e, commit, err)
			}
		}
		// What commits cannot overflow, in any order of the lanes.
		if m > 0 && float64(lanes)*math.Ceil(math.Ldexp(float64(m), int(next[0]))) >= 1<<31 {
			t.Fatalf("M %g at scale %d over %d lanes can overflow", m, next[0], lanes)
		}
	})
}

// protocol.md I10: a step is judged only if its sum has each lane of this step once.
func TestJudgeWantsEachLaneOnce(t *testing.T) {
	s := Scales{10}
	double, missing, other := full(1, 4, 1), full(1, 3, 1), full(2, 4, 1)
	double.Add(1, 2)
	for name, side := range map[string]*Side{"double": double, "missing": missing, "other step": other} {
		if _, _, err := s.Judge(side, 1, 4, 27); !errors.Is(err, ErrProof) {
			t.Errorf("%s: err is %v, want ErrProof", name, err)
		}
	}
	bad := full(1, 4, 1)
	bad.MarkNonFinite(3)
	next, commit, err := s.Judge(bad, 1, 4, 27)
	if err != nil || commit || !slices.Equal(next, s) {
		t.Errorf("non-finite lane: commit %v, scales %v, err %v", commit, next, err)
	}
	if _, _, err := (Scales{NoScale}).Judge(full(1, 16, math.MaxFloat32), 1, 16, 12); !errors.Is(err, ErrTooLarge) {
		t.Errorf("largest float32: err is %v, want ErrTooLarge", err)
	}
}

// protocol.md §2.4: only when more than one bit off, down at once, up by at most one, not at all when M_j = 0.
func TestScalesFollowTheGradient(t *testing.T) {
	const lanes, bits = 1, 20
	for _, c := range []struct {
		name    string
		e, want int16
		m       float32
	}{
		{"on the spot", 20, 20, 1},
		{"one bit high", 21, 21, 1},
		{"a little more than one bit high", 21, 19, 1.0000001},
		{"far high", 27, 20, 1},
		{"one bit low", 19, 19, 1},
		{"a little more than one bit low", 19, 20, 0.99999994},
		{"far low", 3, 4, 1},
		{"no gradient", 5, 5, 0},
		{"at the bound", 100, 100, 1e-38},
		{"none yet", NoScale, NoScale, 0},
	} {
		if got := (Scales{c.e}).After(full(1, lanes, c.m), lanes, bits); got[0] != c.want {
			t.Errorf("%s: %d becomes %d, want %d", c.name, c.e, got[0], c.want)
		}
	}
}
