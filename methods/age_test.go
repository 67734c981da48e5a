package methods

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/torctrain/torc/internal/rng"
)

// methods.md §7: a constant gradient that enters late moves by more than six rates with the correction of the global step, and
// by one with that of its age.
func TestAgedUpdatesAreThoseOfAFreshCoordinate(t *testing.T) {
	o := DefaultOptimizer("lift")
	o.Beta2, o.Eps = 0.999, 1e-30
	for _, aged := range []bool{false, true} {
		theta, m, v, ages := []float32{0}, []float32{0}, []float32{0}, []uint16{0}
		by, most, before := NewAged(o, 1), 0.0, float32(0)
		by.SetRate(1)
		for step := uint64(100_000); step < 100_050; step++ {
			if aged {
				by.AdamW(theta, m, v, []float32{0.5}, ages, o.Step(step, 1))
			} else {
				AdamW(theta, m, v, []float32{0.5}, o.Step(step, 1))
			}
			most = max(most, math.Abs(float64(theta[0]-before)))
			before = theta[0]
		}
		if want := map[bool]float64{false: 6.569, true: 1}[aged]; math.Abs(most-want) > 2e-3 {
			t.Errorf("aged %v: the largest update is %.4f rates, want %v", aged, most, want)
		}
	}
}

// Where all coordinates are as old as the run, ages change nothing.
func TestAgedAdamWOfOldCoordinatesIsAdamW(t *testing.T) {
	o := DefaultOptimizer("lift")
	const n = 40
	state := func() (theta, m, v []float32) {
		theta = make([]float32, n)
		for i := range theta {
			theta[i] = float32(rng.New(1).Float64(uint64(i)))
		}
		return theta, make([]float32, n), make([]float32, n)
	}
	t1, m1, v1 := state()
	t2, m2, v2 := state()
	ages, by := make([]uint16, n), NewAged(o, 1)
	by.SetRate(0.01)
	for step := uint64(1); step <= 600; step++ {
		g := make([]float32, n)
		for i := range g {
			g[i] = float32(rng.New(step).Float64(uint64(i)) - 0.5)
		}
		AdamW(t1, m1, v1, g, o.Step(step, 0.01))
		by.AdamW(t2, m2, v2, g, ages, o.Step(step, 0.01))
		if !slices.Equal(t1, t2) {
			t.Fatalf("step %d: %v, want %v", step, t2, t1)
		}
	}
	remapAges([]uint32{1, 4, 9}, []uint32{0, 4, 5}, ages[:3])
	if !slices.Equal(ages[:3], []uint16{0, 600, 0}) {
		t.Errorf("ages after a refresh are %v", ages[:3])
	}
}

// Each coordinate makes the very step of a run that began when it entered, whatever the threads.
func TestAgedAdamWIsAdamWOfEachAge(t *testing.T) {
	const n = 2*agedPart + 100
	o := DefaultOptimizer("lift")
	o.Beta2, o.WeightDecay = 0.99, 0.1
	oldest := len(NewAged(o, 1).rates)
	draw := func(stream uint64) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(rng.New(stream).Float64(uint64(i)) - 0.5)
		}
		return x
	}
	theta, m, v, g := draw(1), draw(2), draw(3), draw(4)
	ages, older := make([]uint16, n), make([]uint16, n)
	for i := range n {
		v[i] *= v[i]
		ages[i] = uint16(rng.New(5).Uint64n(uint64(i), uint64(oldest+10)))
		if i%500 == 0 {
			ages[i] = math.MaxUint16 // the most that is counted
		}
		older[i] = uint16(min(int(ages[i])+1, math.MaxUint16))
	}
	want := [][]float32{slices.Clone(theta), slices.Clone(m), slices.Clone(v)}
	for i := range n {
		s := o.Step(uint64(min(int(ages[i])+1, oldest)), 0.003)
		AdamW(want[0][i:i+1], want[1][i:i+1], want[2][i:i+1], g[i:i+1], s)
	}
	for threads := 1; threads <= 4; threads++ {
		got, aged := [][]float32{slices.Clone(theta), slices.Clone(m), slices.Clone(v)}, slices.Clone(ages)
		by := NewAged(o, threads)
		by.SetRate(0.003)
		by.AdamW(got[0], got[1], got[2], g, aged, o.Step(7, 0.003))
		if !slices.EqualFunc(got, want, slices.Equal) || !slices.Equal(aged, older) {
			t.Errorf("%d threads: steps or ages differ from those of each coordinate alone", threads)
		}
	}
}

// BenchmarkAged is the step of as many values as LIFT of rank 16 trains of a 135M model, 10 refreshes after the first.
func BenchmarkAged(b *testing.B) {
	const n = 4_884_480
	o := DefaultOptimizer("lift")
	o.Beta2 = 0.999
	theta, m, v, g, ages := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n), make([]uint16, n)
	for i := range g {
		g[i] = float32(rng.New(1).Float64(uint64(i)) - 0.5)
		ages[i] = uint16(400 * rng.New(2).Uint64n(uint64(i), 10))
	}
	for _, threads := range []int{1, 2} {
		b.Run(fmt.Sprintf("threads %d", threads), func(b *testing.B) {
			by := NewAged(o, threads)
			for range b.N {
				by.SetRate(1e-4)
				by.AdamW(theta, m, v, g, ages, o.Step(4000, 1e-4))
			}
		})
	}
}
