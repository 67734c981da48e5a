package methods

import (
	"math"
	"slices"
	"sync"
	"testing"

	"gonum.org/v1/gonum/mat"
	"pgregory.net/rapid"

	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
)

// The matrix, its approximation of rank 2 and the nine principal entries are those of the figure that introduces the
// method; by magnitude alone the set would be another one.
func TestSelectFindsThePublishedExample(t *testing.T) {
	w := model.MatrixOver32([]float32{-4, 0, 2, 5, 6, 2, 8, 0, 4, 3, -1, 2, -3, 1, 0, 2, 0, 3, 2, 7}, 5, 4)
	want := []uint32{0, 3, 4, 5, 6, 15, 17, 18, 19}
	approximation := []float32{
		-3.1087, 1.1962, 0.4680, 5.3822,
		7.0860, 2.7548, 6.4226, 0.5967,
		1.9275, 1.0849, 2.2055, 0.9499,
		-2.3281, 0.2820, -0.4882, 2.5901,
		-0.7964, 2.5100, 3.1306, 6.5506,
	}
	transposed := model.NewMatrix(model.F32, 4, 5)
	for i := range 20 {
		transposed.F32[i%4*5+i/4] = w.F32[i]
	}
	for seed := range uint64(20) {
		got, err := principalSet(cpu.Ref(), w, 2, 9, rng.New(seed))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("seed %d: set is %v (%v), want %v", seed, got, err, want)
		}
		newPrincipal(cpu.Ref(), w, 2, rng.New(seed)).tiles(func(from int, scores []float32) {
			for i, v := range scores {
				if math.Abs(float64(v-approximation[from+i])) > 1e-4 {
					t.Errorf("seed %d: W′[%d] is %v, want %v", seed, from+i, v, approximation[from+i])
				}
			}
		})
		got, err = principalSet(cpu.Ref(), transposed, 2, 9, rng.New(seed))
		for i, at := range got {
			got[i] = at%5*4 + at/5
		}
		if slices.Sort(got); err != nil || !slices.Equal(got, want) {
			t.Errorf("seed %d, wide: set is %v (%v), want %v", seed, got, err, want)
		}
	}
}

// protocol.md §4: on every spectrum with structure the set is that of the exact decomposition.
func TestSelectAgreesWithTheExactSetOnSpectraWithStructure(t *testing.T) {
	k := fast(t, 2, cpu.Auto)
	const rank = 16
	for _, s := range []struct {
		name  string
		least float64 // overlap
		value func(i int) float64
	}{
		{"power law −0.6", 0.999, func(i int) float64 { return math.Pow(float64(i+1), -0.6) }},
		{"power law −1", 0.999, func(i int) float64 { return 1 / float64(i+1) }},
		{"power law −2", 0.999, func(i int) float64 { return math.Pow(float64(i+1), -2) }},
		{"24 spikes over a bulk", 0.999, func(i int) float64 { return 1 + max(0, float64(24-i)/10) }},
		{"rank 12", 0.999, func(i int) float64 { return math.Floor(math.Max(0, 12-float64(i))) }},
		{"flat", 0, func(int) float64 { return 1 }}, // no principal subspace exists: anything goes, but it is a set
	} {
		for _, sh := range []shape{{300, 130}, {130, 300}} {
			w, exact := withSpectrum(sh.rows, sh.cols, rank, s.value)
			count := (sh.rows + sh.cols) * rank
			got, err := principalSet(k, w, rank, count, rng.New(5))
			if err != nil {
				t.Fatal(err)
			}
			if err := checkSet(got, count, w.Len()); err != nil {
				t.Errorf("%s, %v: %v", s.name, sh, err)
			}
			common := 0
			merge(got, bySort(exact, count), func(int, int) { common++ }, func(int) {}, func(int) {})
			if part := float64(common) / float64(count); part < s.least {
				t.Errorf("%s, %v: overlap with the exact set is %.5f, want at least %v", s.name, sh, part, s.least)
			}
		}
	}
}

// withSpectrum makes a matrix with singular values value(0), value(1), … along random directions, and its best
// approximation of that rank by the float64 decomposition of gonum.
func withSpectrum(m, n, rank int, value func(i int) float64) (w *model.Matrix, exact []float32) {
	s := min(m, n)
	left, right := randomDirections(m, s, 1), randomDirections(n, s, 2)
	scaled := mat.NewDense(m, s, nil)
	for i := range m {
		for j := range s {
			scaled.Set(i, j, left.At(i, j)*value(j))
		}
	}
	var all mat.Dense
	all.Mul(scaled, right.T())
	w = model.NewMatrix(model.F32, m, n)
	rounded := mat.NewDense(m, n, nil)
	for i := range m * n {
		w.F32[i] = float32(0.02 * all.At(i/n, i%n))
		rounded.Set(i/n, i%n, float64(w.F32[i]))
	}
	var svd mat.SVD
	if !svd.Factorize(rounded, mat.SVDThin) {
		panic("no decomposition")
	}
	var u, v, part, best mat.Dense
	svd.UTo(&u)
	svd.VTo(&v)
	part.Mul(u.Slice(0, m, 0, rank), mat.NewDiagDense(rank, svd.Values(nil)[:rank]))
	best.Mul(&part, v.Slice(0, n, 0, rank).T())
	exact = make([]float32, m*n)
	for i := range exact {
		exact[i] = float32(best.At(i/n, i%n))
	}
	return w, exact
}

// randomDirections are s orthonormal columns of length m.
func randomDirections(m, s int, stream uint64) *mat.Dense {
	d, key := mat.NewDense(m, s, nil), rng.New(3).Sub(stream)
	for i := range m * s {
		d.Set(i/s, i%s, key.Float64(uint64(i))-0.5)
	}
	var qr mat.QR
	qr.Factorize(d)
	var q mat.Dense
	qr.QTo(&q)
	return mat.DenseCopyOf(q.Slice(0, m, 0, s))
}

// protocol.md I11: Select is pure. Neither threads, nor the instruction set, nor what was selected before may change it.
func TestSelectDependsOnWeightAndSeedAlone(t *testing.T) {
	w := randomMatrix(model.BF16, 250, 110, 7)
	other := randomMatrix(model.F32, 90, 200, 8)
	choose := func(k model.Kernels, w *model.Matrix, seed uint64) []uint32 {
		set, err := principalSet(k, w, 8, 2000, rng.New(seed))
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	want := choose(fast(t, 1, cpu.Auto), w, 1)
	for _, tier := range cpu.Tiers() {
		if tier == cpu.Portable { // an arithmetic of its own: pure in itself
			a, b := fast(t, 1, tier), fast(t, 3, tier)
			if !slices.Equal(choose(a, w, 1), choose(b, w, 1)) {
				t.Errorf("%s: sets of 1 and 3 threads differ", tier)
			}
			continue
		}
		for threads := 1; threads <= 4; threads++ {
			k := fast(t, threads, tier)
			choose(k, other, 9)
			if !slices.Equal(choose(k, w, 1), want) {
				t.Errorf("%s with %d threads: the set differs", tier, threads)
			}
		}
	}
}

// Several selections at once, each with kernels of its own, while a step changes θ and other weights.
func TestSelectsAtOnceDoNotMeet(t *testing.T) {
	w := small(model.BF16, 4)
	f := newLIFTFor(t, w, liftConfig(2))
	want := selectAll(t, f, w)
	got := make([][]uint32, len(want))
	var wait sync.WaitGroup
	for i, s := range f.Selected() {
		copied := model.NewMatrix(model.BF16, w.Params[s.Weight].Rows, w.Params[s.Weight].Cols)
		copy(copied.U16, w.Params[s.Weight].U16)
		wait.Go(func() {
			set, err := f.Select(cpu.Ref(), s.Weight, copied)
			if err != nil {
				t.Error(err)
			}
			got[i] = set
		})
	}
	theta, m, v := f.Start(w), make([]float32, f.Len()), make([]float32, f.Len())
	adopt(t, f, want, w, theta, m, v)
	train(f, w, DefaultOptimizer("lift"), 1, theta, m, v)
	wait.Wait()
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Error("sets differ from those selected one after the other")
	}
}

// 16-bit weights are exact in float32: the type they are stored in does not matter.
func TestSelectDoesNotDependOnTheStoredType(t *testing.T) {
	k := fast(t, 1, cpu.Auto)
	for _, s := range []shape{{120, 50}, {50, 120}} {
		narrow := randomMatrix(model.BF16, s.rows, s.cols, 4)
		wide := model.NewMatrix(model.F32, s.rows, s.cols)
		narrow.Read(wide.F32, 0)
		a, err := principalSet(k, narrow, 4, 500, 1)
		if err != nil {
			t.Fatal(err)
		}
		b, err := principalSet(k, wide, 4, 500, 1)
		if err != nil || !slices.Equal(a, b) {
			t.Errorf("%v: sets of bf16 and f32 differ (%v)", s, err)
		}
	}
}

func TestSelectOfFullRankRanksTheWeightItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, n := rapid.IntRange(1, 12).Draw(t, "m"), rapid.IntRange(1, 12).Draw(t, "n")
		w := randomMatrix(model.F32, m, n, rapid.Uint64().Draw(t, "seed"))
		count := rapid.IntRange(1, m*n).Draw(t, "count")
		got, err := principalSet(cpu.Ref(), w, min(m, n)+rapid.IntRange(0, 3).Draw(t, "more"), count, 1)
		if want := bySort(w.F32, count); err != nil || !slices.Equal(got, want) {
			t.Fatalf("set is %v (%v), want %v", got, err, want)
		}
	})
}

// A weight may have fewer directions than the rank, or none; a set comes out all the same.
func TestSelectOfDegenerateWeights(t *testing.T) {
	k := fast(t, 1, cpu.Auto)
	zero := model.NewMatrix(model.F32, 60, 40)
	line := model.NewMatrix(model.F32, 60, 40)
	for i := range line.F32 {
		line.F32[i] = float32(i/40+1) * float32(i%40+1) / 1000
	}
	for name, w := range map[string]*model.Matrix{"zero": zero, "rank one": line} {
		got, err := principalSet(k, w, 8, 100, 1)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		common := 0
		merge(got, bySort(w.F32, 100), func(int, int) { common++ }, func(int) {}, func(int) {})
		if common < 99 { // equal products may change places by rounding
			t.Errorf("%s: set has %d entries of the exact one, want 100", name, common)
		}
	}
}

func TestSelectRefusesWeightsThatAreNotFinite(t *testing.T) {
	k := fast(t, 1, cpu.Auto)
	for _, bad := range []float64{math.NaN(), math.Inf(1)} {
		for _, s := range []shape{{60, 40}, {40, 60}} {
			w := randomMatrix(model.F32, s.rows, s.cols, 1)
			w.F32[77] = float32(bad)
			for _, rank := range []int{4, 40} {
				if set, err := principalSet(k, w, rank, 10, 1); err == nil {
					t.Errorf("%v, rank %d: a weight with %v has the set %v, want an error", s, rank, bad, set)
				}
			}
		}
	}
}
