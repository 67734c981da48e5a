package methods

import (
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
)

func lowRankConfigs() []Config {
	return []Config{
		{Name: "sorsa", Rank: 3, Lambda: "published", Penalty: "frobenius"},
		{Name: "sorsa", Rank: 2, Lambda: "paper", Penalty: "squared", Alpha: 1.5},
		{Name: "sorsa", Rank: 3, Lambda: "0", Penalty: "smoothed", Residual: "base"},
		{Name: "pissa", Rank: 3},
		{Name: "pissa", Rank: 2, Residual: "base"},
		{Name: "lora", Rank: 2, Alpha: 3, RSLoRA: true},
		{Name: "lora", Rank: 2, Dropout: 0.3},
	}
}

// prepared is a method on a small model, ready to train.
func prepared(t testing.TB, c Config, d model.DType) (Factored, *model.Weights) {
	t.Helper()
	w := grouped(t, d)
	m, err := New(c, w, 43)
	if err != nil {
		t.Fatal(err)
	}
	if err := Prepare(m, []model.Kernels{cpu.Ref(), cpu.Ref()}, w); err != nil {
		t.Fatal(err)
	}
	return m.(Factored), w
}

// jolted is θ after a step in a random direction, so that no factor is zero.
func jolted(theta []float32, by float64) []float32 {
	out := slices.Clone(theta)
	for i := range out {
		out[i] += float32(by * (rng.New(9).Float64(uint64(i)) - 0.5))
	}
	return out
}

// factoredSink pulls the gradients of the weights, whose tensors are neighbours, into a vector laid out like θ.
type factoredSink struct {
	m      Method
	dtheta []float32
}

func (s factoredSink) Outer(id model.WeightID, o *model.Outer) {
	from, to := -1, 0
	for _, t := range s.m.Tensors() {
		if t.Weight == id {
			if from < 0 {
				from = t.Off
			}
			to = t.Off + t.Len
		}
	}
	s.m.Pull(id, o, s.dtheta[from:to])
}

func (s factoredSink) Whole(model.WeightID, []float32) { panic("a gradient nobody wants") }

func textBatch(vocab int) model.Batch {
	var b model.Batch
	for s, n := range []int{9, 5} {
		ids, counted := make([]int32, n), make([]bool, n)
		for i := range ids {
			ids[i], counted[i] = int32((7*i+3*s)%vocab), i > 1
		}
		b.Add(ids, counted)
	}
	return b
}

func TestPullOfFactorsIsTheDifferenceQuotient(t *testing.T) {
	for _, c := range lowRankConfigs() {
		f, w := prepared(t, c, model.F32)
		theta := jolted(f.Start(w), 0.1)
		net := model.New(w, cpu.Ref())
		net.Train(f.Wants)
		b := textBatch(w.Config.Vocab)
		b.Chance = 77
		g := make([]float32, f.Len())
		loss := func(dtheta []float32) float64 {
			f.Push(theta, w)
			l, _ := net.Gradient(b, factoredSink{f, dtheta})
			return l
		}
		loss(g)
		scratch := make([]float32, f.Len())
		for _, part := range f.Tensors() {
			worst, largest := 0.0, 0.0
			for j := part.Off; j < part.Off+part.Len; j += 1 + part.Len/2 {
				was := theta[j]
				slope := func(h float32) float64 {
					theta[j] = was + h
					up := loss(scratch)
					theta[j] = was - h
					down := loss(scratch)
					theta[j] = was
					return (up - down) / float64(2*h)
				}
				quotient := (4*slope(1.0/256) - slope(1.0/128)) / 3 // exact for polynomials of degree 4
				worst = max(worst, math.Abs(quotient-float64(g[j])))
				largest = max(largest, math.Abs(float64(g[j])))
			}
			if worst > 4e-3*(1+largest) {
				t.Errorf("%s: gradients of %s are off by up to %.2g beside %.2g", c.Name, part.Name, worst, largest)
			}
		}
	}
}

// methods.md §7, computed with another program.
func TestPenaltyMeetsItsVector(t *testing.T) {
	o := orthonormality{kind: "frobenius", factors: 1}
	x, g := []float32{1, 0.1, 0, 0, 1, 0.2}, make([]float32, 6)
	if r := o.add(1, 2, factor{x, g}); math.Abs(r-0.1473091986) > 1e-8 {
		t.Errorf("distance is %.10f, want 0.1473091986", r)
	}
	for i, want := range []float64{0.135769, 1.371265, 0.271538, 1.357688, 0.678844, 0.108615} {
		if math.Abs(float64(g[i])-want) > 1e-6 {
			t.Errorf("gradient %d is %v, want %v", i, g[i], want)
		}
	}
	one, g := []float32{1, 0, 0, 0, 1, 0}, make([]float32, 6)
	if r := o.add(1, 2, factor{one, g}); r != 0 || slices.ContainsFunc(g, func(v float32) bool { return v != 0 }) {
		t.Errorf("orthonormal rows have distance %v and gradient %v", r, g)
	}
}

func TestGradientOfThePenaltyIsTheDifferenceQuotient(t *testing.T) {
	for _, kind := range []string{"frobenius", "smoothed", "squared"} {
		c := Config{Name: "sorsa", Rank: 3, Lambda: "13.33", Penalty: kind}
		f, w := prepared(t, c, model.F32)
		theta := jolted(f.Start(w), 0.05)
		s := f.(*sorsa)
		for i, tensor := range s.tensors {
			part := s.part(theta, i)
			g, scratch := make([]float32, len(part)), make([]float32, len(part))
			s.Penalty(tensor.Weight, part, g)
			for j := 0; j < len(part); j += 1 + len(part)/7 {
				const h = 1.0 / 1024
				was := part[j]
				part[j] = was + h
				up := s.Penalty(tensor.Weight, part, scratch)
				part[j] = was - h
				down := s.Penalty(tensor.Weight, part, scratch)
				part[j] = was
				if want := (up - down) / (2 * h); math.Abs(want-float64(g[j])) > 1e-4 {
					t.Errorf("%s: gradient %d of %s is %v, want %v", kind, j, tensor.Name, g[j], want)
				}
			}
		}
	}
}

// The published penalty's gradient has length 2 in each factor, as a mean over all.
func TestPenaltyOfEachFactorHasLengthTwo(t *testing.T) {
	f, w := prepared(t, Config{Name: "sorsa", Rank: 3, Lambda: "1", Penalty: "frobenius"}, model.F32)
	s, theta := f.(*sorsa), jolted(f.Start(w), 1e-4)
	part := s.part(theta, 0)
	g := make([]float32, len(part))
	s.Penalty(s.tensors[0].Weight, part, g)
	a, values, b := s.factors(g, 0)
	for name, x := range map[string][]float32{"A": a, "B": b} {
		length := 0.0
		for _, v := range x {
			length += float64(v) * float64(v)
		}
		if got := math.Sqrt(length) * float64(2*len(s.tensors)); math.Abs(got-2) > 1e-2 {
			t.Errorf("gradient of %s has length %v, want 2", name, got)
		}
	}
	if slices.ContainsFunc(values, func(v float32) bool { return v != 0 }) {
		t.Error("singular values are penalised")
	}
}

// difference is the distance of two weights relative to the second.
func difference(a, b *model.Matrix) float64 {
	d, n := 0.0, 0.0
	for i := range b.Len() {
		x, y := float64(a.At(i)), float64(b.At(i))
		d += (x - y) * (x - y)
		n += y * y
	}
	return math.Sqrt(d / n)
}

// Before the first step, merging gives the base back: exactly in bf16, where float32 left no error to round.
func TestMergeAtTheStartGivesTheBase(t *testing.T) {
	for _, d := range []model.DType{model.F32, model.BF16} {
		for _, c := range append(lowRankConfigs(), Config{Name: "sorsa", Rank: 10, Lambda: "0", Penalty: "frobenius"}) { // 10 is the smaller side
			f, w := prepared(t, c, d)
			base := grouped(t, d)
			f.Merge(cpu.Ref(), f.Start(w), w)
			for id, p := range w.Params {
				if p.DType != d || p.Side != nil {
					t.Fatalf("%s: %s is %v with side path %v", c.Name, p.Name, p.DType, p.Side)
				}
				limit := 1e-6
				if d == model.BF16 {
					limit = 1e-4
				}
				if got := difference(p.Matrix, base.Params[id].Matrix); got > limit {
					t.Errorf("%s, rank %d, %v: %s differs by %.2g of its length", c.Name, c.Rank, d, p.Name, got)
				}
			}
		}
	}
}

func TestMergedModelIsTheFactoredOne(t *testing.T) {
	for _, c := range lowRankConfigs() {
		f, w := prepared(t, c, model.F32)
		theta := jolted(f.Start(w), 0.1)
		f.Push(theta, w)
		b := textBatch(w.Config.Vocab)
		want, _ := model.New(w, cpu.Ref()).Loss(b, nil)
		f.Merge(cpu.Ref(), theta, w)
		got, _ := model.New(w, cpu.Ref()).Loss(b, nil)
		if math.Abs(got-want) > 1e-5*want {
			t.Errorf("%s: merged loss is %v, factored %v", c.Name, got, want)
		}
	}
}

// A full-rank start has everything in the factors: λ = 0, r = min(m, n).
func TestFullRankLeavesNothingBeside(t *testing.T) {
	f, w := prepared(t, Config{Name: "sorsa", Rank: 10, Lambda: "0", Penalty: "frobenius"}, model.F32)
	base := grouped(t, model.F32)
	for _, tensor := range f.(*sorsa).tensors {
		left, all := 0.0, 0.0
		for i := range w.Params[tensor.Weight].Len() {
			x, y := float64(w.Params[tensor.Weight].At(i)), float64(base.Params[tensor.Weight].At(i))
			left += x * x
			all += y * y
		}
		if left > 1e-10*all {
			t.Errorf("%s: %.2g of its length is left beside full factors", tensor.Name, math.Sqrt(left/all))
		}
	}
}

// What a 16-bit residual would cost, and what float32 costs: why R is kept in float32.
func TestResidualInFloat32IsThatOfTheWeight(t *testing.T) {
	w := model.Param{Name: "w", Matrix: model.NewMatrix(model.BF16, 96, 64), Side: model.NewSide(8, 96, 64)}
	for i := range w.Len() {
		w.Set(i, 0.02*float32(rng.New(1).Float64(uint64(i))+rng.New(2).Float64(uint64(i))-1))
	}
	base := inFloat32(w.Matrix)
	d, err := Engine{Kernels: cpu.Ref()}.decompose(w.Matrix, 8, 1)
	if err != nil {
		t.Fatal(err)
	}
	copy(w.Side.A.F32, d.a)
	copy(w.Side.B.F32, d.b)
	copy(w.Side.S, d.s)
	subtract(cpu.Ref(), &w)
	rounded := model.NewMatrix(model.BF16, 96, 64)
	write(rounded, w.F32)
	wide, narrow := w.Matrix, inFloat32(rounded)
	addSide(cpu.Ref(), wide, w.Side, 1)
	addSide(cpu.Ref(), narrow, w.Side, 1)
	in32, in16 := difference(wide, base), difference(narrow, base)
	if in32 > 1e-7 || in16 < 1e-3 || in16 > 3e-3 {
		t.Errorf("before the first step a float32 residual is off by %.2g, a bf16 one by %.2g; want below 1e-7 and about 1.5e-3", in32, in16)
	}
	t.Logf("float32 %.2g, bf16 %.2g", in32, in16)
}

// How far W(θ) is from W before the first step, by how the residual is kept: the price of 16 bits, and that the other two
// cost nothing.
func TestResidualsBeforeTheFirstStep(t *testing.T) {
	for _, name := range []string{"sorsa", "pissa"} {
		for residual, limits := range map[string][2]float64{"": {0, 1e-6}, "fp32": {0, 1e-6}, "base": {0, 1e-6}, "stored": {5e-4, 4e-3}} {
			c := Default(name)
			c.Rank, c.Residual = 3, residual
			_, w := prepared(t, c, model.BF16)
			base := grouped(t, model.BF16)
			for id, p := range w.Params {
				if p.Side == nil {
					continue
				}
				if wide := p.DType == model.F32; wide != (residual == "" || residual == "fp32") {
					t.Errorf("%s, %q: %s is kept in %v", name, residual, p.Name, p.DType)
				}
				acts := inFloat32(p.Matrix)
				if acts == p.Matrix {
					acts = model.NewMatrix(model.F32, p.Rows, p.Cols)
					copy(acts.F32, p.F32)
				}
				addSide(cpu.Ref(), acts, p.Side, 1)
				if got := difference(acts, base.Params[id].Matrix); got < limits[0] || got > limits[1] {
					t.Errorf("%s, %q: %s is off by %.2g of its length, want %v", name, residual, p.Name, got, limits)
				}
			}
		}
	}
}

// mapCache keeps everything, and counts.
type mapCache struct {
	mu        sync.Mutex // guards all below
	kept      map[[32]byte][]byte
	hit, miss int
}

func (c *mapCache) Get(key [32]byte) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.kept[key]
	if ok {
		c.hit++
	} else {
		c.miss++
	}
	return v, ok
}

func (c *mapCache) Put(key [32]byte, value []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept[key] = value
}

func TestCachedDecompositionsAreThoseComputed(t *testing.T) {
	cache := &mapCache{kept: map[[32]byte][]byte{}}
	start := func(c Config, d model.DType, cache Cache) []float32 {
		w := grouped(t, d)
		m, err := New(c, w, 43)
		if err != nil {
			t.Fatal(err)
		}
		UseCache(m, cache)
		if err := Prepare(m, []model.Kernels{cpu.Ref(), cpu.Ref()}, w); err != nil {
			t.Fatal(err)
		}
		return m.Start(w)
	}
	sorsa, pissa := Config{Name: "sorsa", Rank: 3, Lambda: "1", Penalty: "squared"}, Config{Name: "pissa", Rank: 3}
	want := start(sorsa, model.BF16, nil)
	if !slices.Equal(start(sorsa, model.BF16, cache), want) || cache.hit != 0 || cache.miss != 21 {
		t.Errorf("an empty cache: %d found, %d not, or another start", cache.hit, cache.miss)
	}
	if !slices.Equal(start(sorsa, model.BF16, cache), want) || cache.hit != 21 {
		t.Errorf("a full cache: %d found, or another start", cache.hit)
	}
	if !slices.Equal(start(pissa, model.BF16, cache), start(pissa, model.BF16, nil)) || cache.hit != 42 {
		t.Errorf("another method of the same rank: %d found, or another start", cache.hit)
	}
	start(sorsa, model.F32, cache)
	sorsa.Rank = 2
	start(sorsa, model.BF16, cache)
	if cache.hit != 42 || cache.miss != 63 {
		t.Errorf("other weights and another rank: %d found, %d not", cache.hit, cache.miss)
	}
	for key, v := range cache.kept { // what is damaged is not believed
		v[len(v)/2] ^= 1
		cache.kept[key] = v
	}
	sorsa.Rank = 3
	if !slices.Equal(start(sorsa, model.BF16, cache), want) {
		t.Error("a damaged cache: another start")
	}
}

func TestRetractionBringsFactorsBack(t *testing.T) {
	for _, by := range []float64{1e-3, 0.05, 2} { // near, and too far for one step of the iteration
		f, w := prepared(t, Config{Name: "sorsa", Rank: 3, Lambda: "published", Penalty: "retraction"}, model.F32)
		theta, s := jolted(f.Start(w), by), f.(*sorsa)
		for i, tensor := range s.tensors {
			part := s.part(theta, i)
			a, values, b := s.factors(part, i)
			before, kept := math.Max(distance(a), distance(b)), slices.Clone(values)
			g := make([]float32, len(part))
			if r := s.Penalty(tensor.Weight, part, g); r != 0 || slices.ContainsFunc(g, func(v float32) bool { return v != 0 }) {
				t.Fatalf("it has a penalty of %v or a gradient", r)
			}
			after := math.Max(distance(a), distance(b))
			if after > before*before+1e-6 || !slices.Equal(values, kept) {
				t.Errorf("%s: distance %.2g became %.2g, values changed: %v", tensor.Name, before, after, !slices.Equal(values, kept))
			}
		}
	}
}

// distance is ‖X·Xᵀ − 1‖ of three rows.
func distance(x []float32) float64 {
	m := symmetric(rowProducts(toFloat64(x), 3, len(x)/3), 3)
	for j := range 3 {
		m[j*3+j]--
	}
	return math.Sqrt(dot(m, m))
}

func TestPenaltyDoesNotDependOnThreads(t *testing.T) {
	for _, kind := range penalties {
		var want []float32
		for threads := 1; threads <= 4; threads++ {
			f, w := prepared(t, Config{Name: "sorsa", Rank: 6, Lambda: "1", Penalty: kind}, model.F32)
			s, theta := f.(*sorsa), jolted(f.Start(w), 0.01)
			s.orth.threads = threads
			got := make([]float32, s.Len())
			for i, tensor := range s.tensors {
				s.Penalty(tensor.Weight, s.part(theta, i), s.part(got, i))
			}
			got = append(got, theta...)
			if want == nil {
				want = got
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: %d threads give another result", kind, threads)
			}
		}
	}
}

func TestDecompositionIsThatOfAFullOne(t *testing.T) {
	for _, s := range []shape{{40, 24}, {24, 40}, {30, 30}} {
		w := randomMatrix(model.F32, s.rows, s.cols, 5)
		const rank = 4
		d, err := Engine{Kernels: cpu.Ref()}.decompose(w, rank, 3)
		if err != nil {
			t.Fatal(err)
		}
		gram := make([]float64, s.cols*s.cols)
		for i := range s.rows {
			for j := range s.cols {
				for k := range s.cols {
					gram[j*s.cols+k] += float64(w.At(i*s.cols+j)) * float64(w.At(i*s.cols+k))
				}
			}
		}
		values, _ := jacobi(gram, s.cols)
		for j, got := range d.s {
			if want := math.Sqrt(values[j]); math.Abs(float64(got)-want) > 1e-5*want {
				t.Errorf("%v: singular value %d is %v, want %v", s, j, got, want)
			}
		}
		for name, x := range map[string][]float32{"a": d.a, "b": d.b} {
			p := rowProducts(toFloat64(x), rank, len(x)/rank)
			for i := range rank {
				for j := range i + 1 {
					want := 0.0
					if i == j {
						want = 1
					}
					if math.Abs(p[i*rank+j]-want) > 2e-6 {
						t.Errorf("%v: rows %d and %d of %s have the product %v", s, i, j, name, p[i*rank+j])
					}
				}
			}
		}
		for j := range rank {
			row := d.a[j*s.cols : (j+1)*s.cols]
			if -slices.Min(row) > slices.Max(row) {
				t.Errorf("%v: the largest element of row %d is negative", s, j)
			}
		}
	}
}

// Each weight is decomposed by one worker alone, whoever it is.
func TestPrepareDoesNotDependOnWorkers(t *testing.T) {
	for _, c := range lowRankConfigs() {
		one, w1 := prepared(t, c, model.BF16)
		w3 := grouped(t, model.BF16)
		m, err := New(c, w3, 43)
		if err != nil {
			t.Fatal(err)
		}
		if err := Prepare(m, []model.Kernels{cpu.Ref(), cpu.Ref(), cpu.Ref()}, w3); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(one.Start(w1), m.Start(w3)) {
			t.Errorf("%s: three workers start differently from two", c.Name)
		}
	}
}

func TestLowRankRefusesWhatItCannotDo(t *testing.T) {
	for _, c := range []struct {
		config Config
		edit   func(*model.Weights)
		want   string
	}{
		{Config{Name: "lora", Rank: 11}, nil, "method.rank is 11: model.layers.0.self_attn.q_proj.weight is (24, 10), use up to 10"},
		{Config{Name: "lora", Rank: 0}, nil, "method.rank is 0"},
		{Config{Name: "lora", Rank: 2, Dropout: 1}, nil, "method.dropout is 1"},
		{Config{Name: "lora", Rank: 2, Alpha: -1}, nil, "method.alpha is -1"},
		{Config{Name: "lora", Rank: 2, Lambda: "1"}, nil, "method.lambda is set"},
		{Config{Name: "pissa", Rank: 2, Alpha: 1}, nil, "method.alpha is set"},
		{Config{Name: "sorsa", Rank: 2, Lambda: "much", Penalty: "squared"}, nil, `method.lambda is "much": use a number from 0 up, published or paper`},
		{Config{Name: "sorsa", Rank: 2, Lambda: "NaN", Penalty: "squared"}, nil, `method.lambda is "NaN"`},
		{Config{Name: "pissa", Rank: 2, Residual: "int8"}, nil, `method.residual is "int8": use fp32, stored, base`},
		{Config{Name: "lora", Rank: 2, Residual: "base"}, nil, "method.residual is set, but lora has no such field"},
		{Config{Name: "sorsa", Rank: 2, Lambda: "1", Penalty: "l1"}, nil, `method.penalty is "l1"`},
		{Config{Name: "sorsa", Rank: 2, Lambda: "1", Penalty: "squared", Dropout: 0.1}, nil, "method.dropout is set"},
		{Config{Name: "pissa", Rank: 2}, func(w *model.Weights) { clear(w.Params[3].F32) }, "it is zero and has no singular vectors"},
		{Config{Name: "pissa", Rank: 2}, func(w *model.Weights) { w.Params[2].Set(7, float32(math.NaN())) }, "element (0, 7) is NaN"},
		{Config{Name: "pissa", Rank: 2}, func(w *model.Weights) { w.Params[2].Set(17, float32(math.Inf(-1))) }, "element (1, 7) is -Inf"},
		{Config{Name: "pissa", Rank: 2}, func(w *model.Weights) {
			for i := range w.Params[2].F32 { // rank one
				w.Params[2].F32[i] = float32(1+i%10) * float32(1+i/10)
			}
		}, "use a lower method.rank"},
		{Config{Name: "lora", Rank: 2}, func(w *model.Weights) { w.Params[2].Side = model.NewSide(1, 24, 10) }, "side path already"},
	} {
		w := grouped(t, model.F32)
		if c.edit != nil {
			c.edit(w)
		}
		m, err := New(c.config, w, 1)
		if err == nil {
			err = Prepare(m, []model.Kernels{cpu.Ref()}, w)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error is %v, want one with %q", c.config, err, c.want)
		}
	}
}

func TestScaleOfThePath(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   float32
	}{
		{Config{Name: "sorsa", Rank: 4}, 1},
		{Config{Name: "sorsa", Rank: 4, Alpha: 8}, 2},
		{Config{Name: "pissa", Rank: 4}, 1},
		{Config{Name: "lora", Rank: 4}, 2},
		{Config{Name: "lora", Rank: 4, Alpha: 4}, 1},
		{Config{Name: "lora", Rank: 4, Alpha: 4, RSLoRA: true}, 2},
	} {
		if got := c.config.factor(); got != c.want {
			t.Errorf("%+v scales by %v, want %v", c.config, got, c.want)
		}
	}
}
