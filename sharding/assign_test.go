package sharding

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestAssignByTable(t *testing.T) {
	for name, c := range map[string]struct {
		prev   []int
		speeds []float64
		lanes  int
		want   []int
	}{
		"one member":                 {nil, []float64{3}, 3, []int{0, 0, 0}},
		"equal members":              {nil, []float64{1, 1, 1}, 7, []int{0, 0, 0, 1, 1, 2, 2}},
		"twice as fast":              {nil, []float64{2, 1}, 6, []int{0, 0, 0, 0, 1, 1}},
		"slow member has one":        {nil, []float64{1, 0.01}, 4, []int{0, 0, 0, 1}},
		"speeds not measured":        {nil, []float64{0, 0}, 4, []int{0, 0, 1, 1}},
		"one speed not measured":     {nil, []float64{2, 0, 4}, 9, []int{0, 0, 1, 1, 1, 2, 2, 2, 2}},
		"nothing to move":            {[]int{1, 0, 1, 0}, []float64{1, 1}, 4, []int{1, 0, 1, 0}},
		"extra lane stays":           {[]int{1, 1, 0}, []float64{1, 1}, 3, []int{1, 1, 0}},
		"member gone":                {[]int{0, 0, -1, -1, 1, 1}, []float64{1, 1}, 6, []int{0, 0, 0, 1, 1, 1}},
		"member joined":              {[]int{0, 0, 0, 1, 1, 1}, []float64{1, 1, 1}, 6, []int{0, 0, 2, 1, 1, 2}},
		"more members than lanes":    {nil, []float64{1, 2, 3}, 2, []int{1, 2}},
		"spares do not take seats":   {[]int{0, 1}, []float64{1, 1, 9}, 2, []int{0, 1}},
		"fastest spare takes a seat": {[]int{0, -1}, []float64{1, 1, 9}, 2, []int{0, 2}},
	} {
		if got := Assign(c.prev, c.speeds, c.lanes); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// tables yields every table of lanes in which each of the ranks has a lane.
func tables(lanes, ranks int, yield func([]int)) {
	table := make([]int, lanes)
	var fill func(lane int)
	fill = func(lane int) {
		if lane == lanes {
			for rank := range ranks {
				if !slices.Contains(table, rank) {
					return
				}
			}
			yield(table)
			return
		}
		for rank := range ranks {
			table[lane] = rank
			fill(lane + 1)
		}
	}
	fill(0)
}

// judge returns how long a step of a table lasts, and how many lanes it moves away from owners that are still there.
func judge(table, prev []int, speeds []float64) (last float64, moved int) {
	held := make([]int, len(speeds))
	for lane, rank := range table {
		held[rank]++
		if len(prev) > 0 && prev[lane] >= 0 && prev[lane] != rank {
			moved++
		}
	}
	for rank, n := range held {
		last = max(last, float64(n)/speeds[rank])
	}
	return last, moved
}

func TestStepIsShortestAndFewestLanesMove(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lanes := rapid.IntRange(1, 7).Draw(t, "lanes")
		ranks := rapid.IntRange(1, min(4, lanes)).Draw(t, "ranks")
		speeds := rapid.SliceOfN(rapid.SampledFrom([]float64{0.3, 1, 1, 1.5, 2, 3.7}), ranks, ranks).Draw(t, "speeds")
		prev := rapid.SliceOfN(rapid.IntRange(-1, ranks-1), lanes, lanes).Draw(t, "prev")
		gotTime, gotMoved := judge(Assign(prev, speeds, lanes), prev, speeds)
		bestTime, bestMoved := math.Inf(1), 0
		tables(lanes, ranks, func(table []int) {
			last, moved := judge(table, prev, speeds)
			if last < bestTime || last == bestTime && moved < bestMoved {
				bestTime, bestMoved = last, moved
			}
		})
		if gotTime != bestTime || gotMoved != bestMoved {
			t.Fatalf("step lasts %v and %d lanes move, possible are %v and %d", gotTime, gotMoved, bestTime, bestMoved)
		}
	})
}

func TestEveryLaneHasAnOwnerAndEveryMemberALane(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lanes := rapid.IntRange(1, 64).Draw(t, "lanes")
		speeds := rapid.SliceOfN(rapid.OneOf(rapid.Float64Range(-1, 10), rapid.SampledFrom([]float64{math.Inf(1), math.NaN(), 0, 1e-300, 1e300})), 1, 80).Draw(t, "speeds")
		prev := rapid.SliceOfN(rapid.IntRange(-1, len(speeds)+1), lanes, lanes).Draw(t, "prev")
		got := Assign(prev, speeds, lanes)
		owners := map[int]bool{}
		for lane, rank := range got {
			if rank < 0 || rank >= len(speeds) {
				t.Fatalf("lane %d belongs to rank %d of %d", lane, rank, len(speeds))
			}
			owners[rank] = true
		}
		if want := min(lanes, len(speeds)); len(got) != lanes || len(owners) != want {
			t.Fatalf("%d lanes belong to %d ranks, want %d lanes and %d ranks", len(got), len(owners), lanes, want)
		}
		if again := Assign(got, speeds, lanes); !slices.Equal(again, got) {
			t.Fatalf("assigned again, %v becomes %v", got, again)
		}
	})
}

// docs/protocol.md I11: Assign is a function of its arguments, which it leaves as they are.
func TestAssignIsPure(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lanes := rapid.IntRange(1, 40).Draw(t, "lanes")
		ranks := rapid.IntRange(1, 9).Draw(t, "ranks")
		speeds := rapid.SliceOfN(rapid.Float64Range(0, 4), ranks, ranks).Draw(t, "speeds")
		prev := rapid.SliceOfN(rapid.IntRange(-1, ranks-1), lanes, lanes).Draw(t, "prev")
		wasSpeeds, wasPrev := slices.Clone(speeds), slices.Clone(prev)
		first := Assign(prev, speeds, lanes)
		for range 3 {
			if again := Assign(prev, speeds, lanes); !slices.Equal(again, first) {
				t.Fatalf("Assign gives %v, then %v", first, again)
			}
		}
		if !slices.Equal(prev, wasPrev) || !slices.Equal(speeds, wasSpeeds) {
			t.Fatalf("Assign changed its arguments: %v to %v, %v to %v", wasPrev, prev, wasSpeeds, speeds)
		}
	})
}
