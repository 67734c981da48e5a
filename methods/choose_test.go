package methods

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
)

func TestEigenIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "n")
		key := rng.New(rapid.Uint64().Draw(t, "seed"))
		low := rapid.IntRange(0, n).Draw(t, "rank") // 0: full
		a := make([]float64, n*n)
		for i := range n {
			for j := range i + 1 {
				v := key.Float64(uint64(i*n+j)) - 0.5
				if low > 0 { // a sum of few products: many equal eigenvalues at 0
					v = 0
					for k := range low {
						v += (key.Float64(uint64(k*n+i)) - 0.5) * (key.Float64(uint64(k*n+j)) - 0.5)
					}
				}
				a[i*n+j], a[j*n+i] = v, v
			}
		}
		values, vectors := eigen(slices.Clone(a), n)
		norm := math.Sqrt(dot(a, a))
		for i := range n {
			if i > 0 && values[i] > values[i-1] {
				t.Fatalf("values %v are not in order", values)
			}
			v := vectors[i*n : (i+1)*n]
			for j := range n {
				if got := dot(a[j*n:(j+1)*n], v); math.Abs(got-values[i]*v[j]) > 1e-13*float64(n)*(1+norm) {
					t.Fatalf("A·v%d is %v at %d, want %v", i, got, j, values[i]*v[j])
				}
			}
			for j := range i + 1 {
				want := 0.0
				if i == j {
					want = 1
				}
				if got := dot(v, vectors[j*n:(j+1)*n]); math.Abs(got-want) > 1e-13*float64(n) {
					t.Fatalf("v%d·v%d is %v", i, j, got)
				}
			}
		}
	})
}

func TestEigenAgreesWithJacobi(t *testing.T) {
	const n = 60
	w := newWide(randomMatrix(model.F32, 90, n, 4))
	want, _ := jacobi(w.gram(), n)
	got, _ := eigen(w.gram(), n)
	for i := range n {
		if math.Abs(got[i]-want[i]) > 1e-12*want[0] {
			t.Errorf("eigenvalue %d is %v, want %v", i, got[i], want[i])
		}
	}
}

// The iteration that s2ft chooses by finds the subspace of the whole decomposition.
func TestLeadingSubspaceInFloat64(t *testing.T) {
	w := newWide(randomMatrix(model.F32, 70, 50, 9))
	_, all := w.directions()
	basis := w.leading(5, exactRounds, 1)
	for i := range 5 {
		length := 0.0
		for j := range 5 {
			p := dot(all[i*50:(i+1)*50], basis[j*50:(j+1)*50])
			length += p * p
		}
		if math.Abs(length-1) > 1e-6 {
			t.Errorf("direction %d lies in the subspace by %v", i, length)
		}
	}
}

// The best and the worst of W′, from all of its parts: W′ of all four kinds of directions, by the sums of the whole matrix.
func TestDirectionsAreThoseNamed(t *testing.T) {
	for _, s := range []shape{{24, 14}, {14, 24}} {
		w := randomMatrix(model.F32, s.rows, s.cols, 3)
		n := 14
		_, all := newWide(w).directions()
		parts := func(from ...int) []float32 { // W′ by these directions
			basis := make([]float64, 0, len(from)*n)
			for _, i := range from {
				basis = append(basis, all[i*n:(i+1)*n]...)
			}
			out := make([]float32, w.Len())
			newWide(w).approximate(basis, func(i int, row []float64) { toFloat32(out[i*w.Cols:(i+1)*w.Cols], row) })
			return out
		}
		for directions, want := range map[string][]float32{
			"":         parts(0, 1, 2, 3, 4),
			"largest":  parts(0, 1, 2, 3, 4),
			"smallest": parts(9, 10, 11, 12, 13),
			"hybrid":   parts(0, 1, 2, 12, 13),
		} {
			c := Config{Name: "lift", Modules: "linear", Rank: 5, Directions: directions}
			got, err := c.chooseSet(cpu.Ref(), w, 60, rng.New(1))
			if err != nil || Overlap(got, bySort(want, 60)) < 0.98 { // neighbours may change places by rounding
				t.Errorf("%v, %q: set is %v (%v), want %v", s, directions, got, err, bySort(want, 60))
			}
		}
		c := Config{Name: "lift", Modules: "linear", Rank: 5, Directions: "random"}
		a, err := c.chooseSet(cpu.Ref(), w, 60, rng.New(1))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := c.chooseSet(cpu.Ref(), w, 60, rng.New(1))
		other, _ := c.chooseSet(cpu.Ref(), w, 60, rng.New(2))
		if !slices.Equal(a, b) || slices.Equal(a, other) {
			t.Errorf("%v: random directions depend on more or less than the key", s)
		}
	}
}

// methods.md §7.
func TestExactSetMeetsThePublishedExample(t *testing.T) {
	w := model.MatrixOver32([]float32{-4, 0, 2, 5, 6, 2, 8, 0, 4, 3, -1, 2, -3, 1, 0, 2, 0, 3, 2, 7}, 5, 4)
	got, err := ExactSet(Config{Name: "lift", Filter: 2}, w, 9)
	if want := []uint32{0, 3, 4, 5, 6, 15, 17, 18, 19}; err != nil || !slices.Equal(got, want) {
		t.Errorf("set is %v (%v), want %v", got, err, want)
	}
	// By |W| alone (2, 0), (2, 1) and (3, 0) take the places of (1, 1), (3, 3) and (4, 2).
	got, err = LargestSet(Config{Name: "lift"}, w, 9)
	if want := []uint32{0, 3, 4, 6, 8, 9, 12, 17, 19}; err != nil || !slices.Equal(got, want) {
		t.Errorf("by magnitude it is %v (%v), want %v", got, err, want)
	}
	d, err := Engine{Kernels: cpu.Ref()}.decompose(w, 4, rng.New(1))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{11.108889, 9.951465, 5.575221, 1.215669} {
		if math.Abs(float64(d.s[i])-want) > 2e-6 {
			t.Errorf("singular value %d is %v, want %v", i, d.s[i], want)
		}
	}
}

// The yardstick itself is held to the decomposition of another library.
func TestExactSetIsThatOfAFullDecomposition(t *testing.T) {
	for _, s := range []shape{{90, 40}, {40, 90}} {
		w, exact := withSpectrum(s.rows, s.cols, 6, func(i int) float64 { return 1 / float64(i+1) })
		got, err := ExactSet(Config{Name: "lift", Rank: 6}, w, 780)
		if err != nil || Overlap(got, bySort(exact, 780)) < 0.998 { // two neighbours may change places by rounding
			t.Errorf("%v: overlap is %v (%v)", s, Overlap(got, bySort(exact, 780)), err)
		}
	}
}

func TestControlsChooseByMagnitudeAndChance(t *testing.T) {
	w := randomMatrix(model.BF16, 30, 20, 2)
	values := make([]float32, w.Len())
	w.Read(values, 0)
	got, err := Config{Name: "lift", Rank: 2, Mode: "magnitude"}.chooseSet(cpu.Ref(), w, 100, 1)
	if err != nil || !slices.Equal(got, bySort(values, 100)) {
		t.Errorf("by magnitude: %v (%v), want %v", got, err, bySort(values, 100))
	}
	hits := make([]int, w.Len())
	for seed := range uint64(600) {
		set, err := Config{Name: "lift", Rank: 2, Mode: "random"}.chooseSet(cpu.Ref(), w, 100, rng.New(seed))
		if err := checkSet(set, 100, w.Len()); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range set {
			hits[at]++
		}
	}
	for at, n := range hits { // 100 expected, 6 deviations
		if n < 45 || n > 155 {
			t.Errorf("element %d is in %d of 600 random sets, want about 100", at, n)
		}
	}
}

// Blocks: the sums over whole blocks are ranked, ties to the lower, and the set lists the elements of the chosen ones.
func TestBlocksAreRankedByTheirSums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(blocks).Draw(t, "block")
		c := Config{Name: "lift", Modules: "linear", Rank: 1 << 20, Block: name, Mode: rapid.SampledFrom(modes).Draw(t, "mode")}
		b := c.block()
		m, n := b.rows*rapid.IntRange(1, 6).Draw(t, "m"), b.cols*rapid.IntRange(1, 6).Draw(t, "n")
		count := rapid.IntRange(1, m*n/b.size()).Draw(t, "count") * b.size()
		w := randomMatrix(model.F32, m, n, rapid.Uint64().Draw(t, "seed"))
		set, err := c.chooseSet(cpu.Ref(), w, count, 5)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkSet(set, count, m*n); err != nil {
			t.Fatal(err)
		}
		sums := make([]float32, m*n/b.size())
		in := make([]int, len(sums))
		at := func(e int) int { return e/n/b.rows*(n/b.cols) + e%n/b.cols }
		for e := range m * n {
			sums[at(e)] += float32(math.Abs(float64(w.F32[e])))
		}
		for _, e := range set {
			in[at(int(e))]++
		}
		for i, k := range in {
			if k != 0 && k != b.size() {
				t.Fatalf("block %d has %d chosen elements of %d", i, k, b.size())
			}
		}
		if c.Mode == "random" {
			return
		}
		for _, i := range bySort(sums, count/b.size()) {
			if in[i] == 0 {
				t.Fatalf("block %d with the sum %v is not chosen", i, sums[i])
			}
		}
	})
}

func TestChoosingRefusesWhatHasNoDecomposition(t *testing.T) {
	nan := randomMatrix(model.F32, 12, 8, 1)
	nan.F32[17] = float32(math.NaN())
	for _, c := range []Config{{Rank: 2}, {Rank: 2, Directions: "hybrid"}, {Mode: "magnitude"}, {Rank: 2, Block: "4x4"}} {
		c.Name = "lift"
		for want, w := range map[string]*model.Matrix{
			"it is zero and has no singular vectors: set method.name to lora or full, or let chance choose: method.mode random": model.NewMatrix(model.F32, 12, 8),
			"element (2, 1) is NaN: repair the base model": nan,
		} {
			if _, err := c.chooseSet(cpu.Ref(), w, 32, 1); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: error is %v, want %q", c, err, want)
			}
		}
	}
	if _, err := New(Config{Name: "lift", Modules: "linear", Rank: 2, Block: "4x4"}, small(model.F32, 1), 1); err == nil ||
		!strings.Contains(err.Error(), `method.block is "4x4": v is (6, 12), no multiple of it: use 1x1`) {
		t.Errorf("blocks that do not fit: error is %v", err)
	}
}

// Whatever the method, a base with elements that are no numbers is refused, and where they are is said.
func TestWeightsThatAreNotFiniteAreRefused(t *testing.T) {
	for _, d := range []model.DType{model.F32, model.BF16, model.F16} {
		for _, threads := range []int{1, 3} {
			w := grouped(t, d)
			if err := CheckFinite(w, threads); err != nil {
				t.Errorf("%v: a sound model: %v", d, err)
			}
			w.Params[0].Set(1, float32(math.NaN())) // of the embedding
			if err := CheckFinite(w, threads); err != nil {
				t.Errorf("%v: a token that is no number: %v", d, err)
			}
			for _, p := range w.Params[1:] {
				was := p.At(p.Len() - 1)
				p.Set(p.Len()-1, float32(math.Inf(-1)))
				err := CheckFinite(w, threads)
				want := fmt.Sprintf("model: %s: element (%d, %d) is -Inf: repair the base model", p.Name, p.Rows-1, p.Cols-1)
				if err == nil || !strings.HasPrefix(err.Error(), want) {
					t.Errorf("%v: error is %v, want %q", d, err, want)
				}
				p.Set(p.Len()-1, was)
			}
		}
	}
}
