package methods

import (
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
)

// small is a model's weights without the model: embedding, two layers of what matters here, a norm.
func small(d model.DType, seed uint64) *model.Weights {
	w := &model.Weights{}
	add := func(name string, layer int, m model.Module, rows, cols int) {
		w.Params = append(w.Params, model.Param{
			Name: name, Layer: layer, Module: m,
			Matrix: randomMatrix(d, rows, cols, seed+uint64(len(w.Params))),
		})
	}
	add("embed", -1, model.Embed, 20, 12)
	for l := range 2 {
		add("norm", l, model.AttnNorm, 1, 12)
		add("q", l, model.Q, 12, 12)
		add("v", l, model.V, 6, 12)
		add("up", l, model.Up, 30, 12)
		add("down", l, model.Down, 12, 30)
	}
	add("final", -1, model.FinalNorm, 1, 12)
	return w
}

func newLIFTFor(t testing.TB, w *model.Weights, c Config) Refresher {
	t.Helper()
	m, err := New(c, w, 43)
	if err != nil {
		t.Fatal(err)
	}
	return m.(Refresher)
}

func liftConfig(rank int) Config {
	return Config{Name: "lift", Modules: "linear", Rank: rank, Refresh: 3}
}

// selectAll computes all sets, as members do together.
func selectAll(t testing.TB, f Refresher, w *model.Weights) [][]uint32 {
	t.Helper()
	var sets [][]uint32
	for _, s := range f.Selected() {
		set, err := f.Select(cpu.Ref(), s.Weight, w.Params[s.Weight].Matrix)
		if err != nil {
			t.Fatal(err)
		}
		sets = append(sets, set)
	}
	return sets
}

// outer is a gradient in factored form from drawn numbers.
func outer(m, n, T int, key rng.Key) *model.Outer {
	k := cpu.Ref()
	o := &model.Outer{Kernels: k, T: T, DY: make([]float32, T*m), X: make([]float32, T*n)}
	for i := range o.DY {
		o.DY[i] = float32(key.Float64(uint64(i)) - 0.5)
	}
	for i := range o.X {
		o.X[i] = float32(key.Sub(1).Float64(uint64(i)) - 0.5)
	}
	transpose(o, m, n)
	return o
}

func transpose(o *model.Outer, m, n int) {
	o.DYT, o.XT = make([]float32, m*model.Pad(o.T)), make([]float32, n*model.Pad(o.T))
	o.Kernels.TransposePad(o.DYT, o.DY, o.T, m)
	o.Kernels.TransposePad(o.XT, o.X, o.T, n)
}

// train makes one step with drawn gradients and pushes the result.
func train(m Method, w *model.Weights, o Optimizer, t uint64, theta, mom, v []float32) {
	g := make([]float32, m.Len())
	for _, ten := range m.Tensors() {
		p := w.Params[ten.Weight]
		part := g[ten.Off : ten.Off+ten.Len]
		if m.Wants(ten.Weight) == model.Nothing {
			panic("a trained weight is not wanted")
		}
		if p.Module.Linear() {
			m.Pull(ten.Weight, outer(p.Rows, p.Cols, 5, rng.New(7).Sub(t, uint64(ten.Weight))), part)
		} else {
			dw := make([]float32, p.Len())
			for i := range dw {
				dw[i] = float32(rng.New(9).Sub(t, uint64(ten.Weight)).Float64(uint64(i)) - 0.5)
			}
			m.PullWhole(ten.Weight, dw, part)
		}
	}
	cpu.Ref().AdamW(theta, mom, v, g, o.Step(t, 0.01))
	m.Push(theta, w)
}

func TestRefreshIsDueBeforeTheFirstStepAndEveryInterval(t *testing.T) {
	f := newLIFTFor(t, small(model.F32, 1), Config{Name: "lift", Modules: "linear", Rank: 2, Refresh: 400})
	var due []uint64
	for step := uint64(1); step <= 1842; step++ {
		if f.Due(step) {
			due = append(due, step)
		}
	}
	if want := []uint64{1, 400, 800, 1200, 1600}; !slices.Equal(due, want) {
		t.Errorf("due before steps %v, want %v", due, want)
	}
	f = newLIFTFor(t, small(model.F32, 1), Config{Name: "lift", Modules: "linear", Rank: 2})
	if !f.Due(1) || f.Due(2) || f.Due(400) {
		t.Error("without an interval, the first selection is not the only one")
	}
}

func TestLIFTTrainsAsMuchAsFactorsOfItsRank(t *testing.T) {
	smol := func(layers int) (p []model.ParamShape) {
		for l := range layers {
			for m, s := range map[model.Module]shape{
				model.Q: {576, 576}, model.K: {192, 576}, model.V: {192, 576}, model.O: {576, 576},
				model.Gate: {1536, 576}, model.Up: {1536, 576}, model.Down: {576, 1536}, model.AttnNorm: {1, 576},
			} {
				p = append(p, model.ParamShape{Layer: l, Module: m, Rows: s.rows, Cols: s.cols})
			}
		}
		return p
	}
	for _, c := range []struct {
		config Config
		want   int
	}{
		{Config{Name: "lift", Modules: "linear", Rank: 16}, 4_884_480},
		{Config{Name: "lift", Modules: "mlp", Rank: 16}, 30 * 3 * 16 * 2112},
		{Config{Name: "lift", Modules: "linear", Rank: 1 << 20}, 106_168_320},
		{Config{Name: "lift", Modules: "linear", Rank: 16, Density: 0.5}, 106_168_320 / 2},
		{Config{Name: "full", Modules: "linear"}, 106_168_320},
	} {
		counts, err := Trained(c.config, smol(30))
		if err != nil {
			t.Fatal(err)
		}
		sum := 0
		for _, n := range counts {
			sum += n.Trained
		}
		if sum != c.want {
			t.Errorf("%+v trains %d of a 135M model, want %d", c.config, sum, c.want)
		}
	}
}

// θ is laid out in the order of the backward pass, without gaps, and what is wanted is what is trained.
func TestThetaIsInTheOrderOfTheBackwardPass(t *testing.T) {
	for _, family := range []string{
		`"model_type":"llama","architectures":["LlamaForCausalLM"],"attention_bias":true`,
		`"model_type":"qwen2","architectures":["Qwen2ForCausalLM"]`,
		`"model_type":"qwen3","architectures":["Qwen3ForCausalLM"],"head_dim":4`,
	} {
		for _, tied := range []string{"true", "false"} {
			shape, err := model.ParseConfig([]byte("{" + family + `,"hidden_act":"silu","hidden_size":8,"intermediate_size":12,
				"num_hidden_layers":3,"num_attention_heads":2,"num_key_value_heads":1,"vocab_size":20,"rms_norm_eps":1e-5,
				"max_position_embeddings":64,"initializer_range":0.02,"rope_theta":10000.0,"tie_word_embeddings":` + tied + "}"))
			if err != nil {
				t.Fatal(err)
			}
			w := model.NewRandom(shape, model.F32, 1)
			for _, c := range []Config{liftConfig(2), Default("full"), {Name: "full", Modules: "linear"}} {
				checkLayout(t, c, w)
			}
		}
	}
}

func checkLayout(t *testing.T, c Config, w *model.Weights) {
	t.Helper()
	m, err := New(c, w, 1)
	if err != nil {
		t.Fatal(err)
	}
	var want, got []model.WeightID
	for _, id := range w.Config.BackwardOrder() {
		trained := c.Modules == "all" || w.Params[id].Module.Linear()
		if trained {
			want = append(want, id)
		}
		if wanted := m.Wants(id) != model.Nothing; wanted != trained {
			t.Errorf("%s, %s: wanted is %v, want %v", c.Name, w.Params[id].Name, wanted, trained)
		}
	}
	off := 0
	for _, ten := range m.Tensors() {
		got = append(got, ten.Weight)
		if ten.Off != off || ten.Len < 1 {
			t.Errorf("%s: tensor %+v, want offset %d", c.Name, ten, off)
		}
		off += ten.Len
	}
	if !slices.Equal(got, want) || off != m.Len() {
		t.Errorf("%s, %s: weights %v over %d values, want %v over %d", c.Name, w.Config.ModelType, got, off, want, m.Len())
	}
}

// With k = m·n LIFT is AdamW on the whole weight, bit for bit, through refreshes.
func TestLIFTOfEverythingIsDenseAdamW(t *testing.T) {
	for _, d := range []model.DType{model.F32, model.BF16} {
		wl, wf := small(d, 5), small(d, 5)
		l := newLIFTFor(t, wl, Config{Name: "lift", Modules: "linear", Rank: 2, Density: 1, Refresh: 3})
		f, err := New(Config{Name: "full", Modules: "linear"}, wf, 43)
		if err != nil {
			t.Fatal(err)
		}
		if l.Len() != f.Len() {
			t.Fatalf("lift trains %d values, full %d", l.Len(), f.Len())
		}
		o := DefaultOptimizer("lift")
		o.WeightDecay = 0.01
		tl, ml, vl := l.Start(wl), make([]float32, l.Len()), make([]float32, l.Len())
		tf, mf, vf := f.Start(wf), make([]float32, l.Len()), make([]float32, l.Len())
		for step := uint64(1); step <= 8; step++ {
			if l.Due(step) {
				if err := l.Adopt(selectAll(t, l, wl), wl, tl, ml, vl); err != nil {
					t.Fatal(err)
				}
			}
			train(l, wl, o, step, tl, ml, vl)
			train(f, wf, o, step, tf, mf, vf)
			if !slices.Equal(tl, tf) || !slices.Equal(ml, mf) || !slices.Equal(vl, vf) {
				t.Fatalf("%s, step %d: state differs", d, step)
			}
			for id := range wl.Params {
				mustSameBits(t, wl.Params[id].Name, wl.Params[id].Matrix, wf.Params[id].Matrix)
			}
		}
	}
}

// The kernels sum over tokens in one order for whole gradients and in another for sets; where all is trained, it is the former.
func TestGradientOfEverythingIsTheDenseOneInEveryKernel(t *testing.T) {
	for _, tier := range cpu.Tiers() {
		k, w := fast(t, 2, tier), small(model.F32, 5)
		l := newLIFTFor(t, w, Config{Name: "lift", Modules: "linear", Rank: 2, Density: 1})
		f, err := New(Config{Name: "full", Modules: "linear"}, w, 43)
		if err != nil {
			t.Fatal(err)
		}
		adopt(t, l, selectAll(t, l, w), w, l.Start(w), make([]float32, l.Len()), make([]float32, l.Len()))
		for _, ten := range l.Tensors() {
			p := w.Params[ten.Weight]
			o := outer(p.Rows, p.Cols, 700, rng.New(3).Sub(uint64(ten.Weight)))
			o.Kernels = k
			got, want := make([]float32, ten.Len), make([]float32, ten.Len)
			l.Pull(ten.Weight, o, got)
			f.Pull(ten.Weight, o, want)
			if !slices.Equal(got, want) {
				t.Errorf("%s, %s: gradients differ", tier, ten.Name)
			}
			if l.Wants(ten.Weight) != model.Dense {
				t.Errorf("%s is wanted %v", ten.Name, l.Wants(ten.Weight))
			}
		}
	}
}

func mustSameBits(t testing.TB, name string, a, b *model.Matrix) {
	t.Helper()
	if !slices.Equal(a.U16, b.U16) || !slices.EqualFunc(a.F32, b.F32, func(x, y float32) bool {
		return math.Float32bits(x) == math.Float32bits(y)
	}) {
		t.Fatalf("weights of %s differ", name)
	}
}

func TestAdoptingTheSameSetsChangesNothing(t *testing.T) {
	w := small(model.BF16, 2)
	f := newLIFTFor(t, w, liftConfig(2))
	theta, m, v := f.Start(w), make([]float32, f.Len()), make([]float32, f.Len())
	sets := selectAll(t, f, w)
	adopt(t, f, sets, w, theta, m, v)
	train(f, w, DefaultOptimizer("lift"), 1, theta, m, v)
	theta1, m1, v1 := slices.Clone(theta), slices.Clone(m), slices.Clone(v)
	adopt(t, f, sets, w, theta, m, v)
	if !slices.Equal(theta, theta1) || !slices.Equal(m, m1) || !slices.Equal(v, v1) {
		t.Error("state changed")
	}
	for i, r := range f.Retired() {
		if len(r.At) != 0 {
			t.Errorf("weight %d has retired coordinates %v", i, r.At)
		}
	}
}

func adopt(t testing.TB, f Refresher, sets [][]uint32, w *model.Weights, theta, m, v []float32) {
	t.Helper()
	if err := f.Adopt(sets, w, theta, m, v); err != nil {
		t.Fatal(err)
	}
}

// However sets change, the weights are the base with θ at the sets and the retired values where no set is any more: so base,
// sets, retired and θ are enough to go on.
func TestStateRestoresTheWeightsItTrained(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := rapid.SampledFrom([]model.DType{model.F32, model.BF16, model.F16}).Draw(t, "dtype")
		w := small(d, 3)
		f, err := New(liftConfig(2), w, 43)
		if err != nil {
			t.Fatal(err)
		}
		l := f.(Refresher)
		theta, m, v := l.Start(w), make([]float32, l.Len()), make([]float32, l.Len())
		var seen [][][]uint32
		var copies [][][]uint32
		for step := range uint64(rapid.IntRange(1, 5).Draw(t, "steps")) {
			var sets [][]uint32
			for _, s := range l.Selected() {
				sets = append(sets, drawSet(t, "set", s.Count, w.Params[s.Weight].Len()))
			}
			if err := l.Adopt(sets, w, theta, m, v); err != nil {
				t.Fatal(err)
			}
			seen, copies = append(seen, l.Sets()), append(copies, deepCopy(l.Sets()))
			train(l, w, DefaultOptimizer("lift"), step+1, theta, m, v)
		}
		for i := range seen {
			if !slices.EqualFunc(seen[i], copies[i], slices.Equal) {
				t.Fatalf("sets of refresh %d changed later", i)
			}
		}

		fresh := small(d, 3)
		again, err := New(liftConfig(2), fresh, 43)
		if err != nil {
			t.Fatal(err)
		}
		if err := again.(Refresher).Restore(l.Sets(), l.Retired(), fresh); err != nil {
			t.Fatal(err)
		}
		again.Push(theta, fresh)
		for id := range w.Params {
			if !slices.Equal(w.Params[id].U16, fresh.Params[id].U16) || !slices.Equal(w.Params[id].F32, fresh.Params[id].F32) {
				t.Fatalf("%s differs after restoring", w.Params[id].Name)
			}
		}
		if got := again.Start(fresh); d == model.F32 && !slices.Equal(got, theta) {
			t.Fatal("θ read back from float32 weights differs")
		}
	})
}

func deepCopy(sets [][]uint32) (c [][]uint32) {
	for _, s := range sets {
		c = append(c, slices.Clone(s))
	}
	return c
}

func TestBadSetsAreRefusedAndChangeNothing(t *testing.T) {
	w := small(model.BF16, 2)
	f := newLIFTFor(t, w, liftConfig(2))
	theta, m, v := f.Start(w), make([]float32, f.Len()), make([]float32, f.Len())
	good := selectAll(t, f, w)
	adopt(t, f, good, w, theta, m, v)
	before := slices.Clone(theta)
	last := len(good) - 1
	limit := uint32(w.Params[f.Selected()[last].Weight].Len())
	for name, spoil := range map[string]func(sets [][]uint32) [][]uint32{
		"a set is missing":   func(s [][]uint32) [][]uint32 { return s[:last] },
		"a set is too short": func(s [][]uint32) [][]uint32 { s[last] = s[last][1:]; return s },
		"an index twice":     func(s [][]uint32) [][]uint32 { s[last][1] = s[last][0]; return s },
		"an index too large": func(s [][]uint32) [][]uint32 { s[last][len(s[last])-1] = limit; return s },
	} {
		if err := f.Adopt(spoil(deepCopy(good)), w, theta, m, v); err == nil {
			t.Errorf("%s: adopted", name)
		}
		if err := f.Restore(spoil(deepCopy(good)), f.Retired(), w); err == nil {
			t.Errorf("%s: restored", name)
		}
		if !slices.Equal(theta, before) || !slices.EqualFunc(f.Sets(), good, slices.Equal) {
			t.Errorf("%s: something changed", name)
		}
	}
	for name, spoil := range map[string]func(r []Sparse) []Sparse{
		"a list is missing":      func(r []Sparse) []Sparse { return r[1:] },
		"a value is missing":     func(r []Sparse) []Sparse { r[0] = Sparse{At: []uint32{1}}; return r },
		"a trained coordinate":   func(r []Sparse) []Sparse { r[0] = Sparse{At: good[0][:1], Bits: []uint32{1}}; return r },
		"a value above 16 bits":  func(r []Sparse) []Sparse { r[0] = Sparse{At: free(good[0]), Bits: []uint32{1 << 16}}; return r },
		"coordinates not sorted": func(r []Sparse) []Sparse { r[0] = Sparse{At: []uint32{5, 4}, Bits: []uint32{1, 1}}; return r },
	} {
		if err := f.Restore(good, spoil(make([]Sparse, len(good))), w); err == nil {
			t.Errorf("%s: restored", name)
		}
	}
}

// free is a coordinate that set does not have.
func free(set []uint32) []uint32 {
	for at := uint32(0); ; at++ {
		if _, in := slices.BinarySearch(set, at); !in {
			return []uint32{at}
		}
	}
}

// The gradient that Pull gives θ is that of a loss as a function of θ: ½Σ(x·Wᵀ)², of which central differences are exact.
func TestPullIsTheGradientOfTheta(t *testing.T) {
	for _, x := range []struct {
		c Config
		w *model.Weights
	}{
		{liftConfig(2), small(model.F32, 8)},
		{Config{Name: "lift", Modules: "linear", Rank: 2, Density: 1}, small(model.F32, 8)},
		{Config{Name: "full", Modules: "linear"}, small(model.F32, 8)},
		{Config{Name: "s2ft", Down: 0.3, V: 0.4, Up: 0.2, Select: "random"}, small(model.F32, 8)},
		{s2ftConfig(), grouped(t, model.F32)}, // with whole heads of O and V
	} {
		c, w := x.c, x.w
		m, err := New(c, w, 43)
		if err != nil {
			t.Fatal(err)
		}
		theta := m.Start(w)
		if f, ok := m.(Refresher); ok {
			adopt(t, f, selectAll(t, f, w), w, theta, make([]float32, f.Len()), make([]float32, f.Len()))
		}
		for _, ten := range m.Tensors() {
			p := w.Params[ten.Weight]
			o := outer(p.Rows, p.Cols, 7, rng.New(2).Sub(uint64(ten.Weight)))
			loss := func() (sum float64) {
				m.Push(theta, w)
				o.Kernels.Linear(o.DY, o.X, p.Matrix, o.T)
				for _, y := range o.DY {
					sum += float64(y) * float64(y) / 2
				}
				return sum
			}
			loss()
			transpose(o, p.Rows, p.Cols)
			got := make([]float32, ten.Len)
			for i := range got {
				got[i] = float32(math.NaN()) // Pull overwrites
			}
			m.Pull(ten.Weight, o, got)
			for i := 0; i < ten.Len; i += 1 + ten.Len/20 {
				const h = 0x1p-6
				at := &theta[ten.Off+i]
				old := *at
				*at = old + h
				up := loss()
				*at = old - h
				down := loss()
				*at = old
				if want := (up - down) / (2 * h); math.Abs(float64(got[i])-want) > 1e-4*(1+math.Abs(want)) {
					t.Errorf("%s, %s: gradient of value %d is %v, by differences %v", c.Name, ten.Name, i, got[i], want)
				}
			}
			m.Push(theta, w)
		}
	}
}

func TestFullReadsAndWritesWholeWeights(t *testing.T) {
	for _, d := range []model.DType{model.F32, model.BF16, model.F16} {
		w := small(d, 6)
		m, err := New(Default("full"), w, 1)
		if err != nil {
			t.Fatal(err)
		}
		theta := m.Start(w)
		blank := small(d, 99)
		m.Push(theta, blank)
		for id := range w.Params {
			mustSameBits(t, w.Params[id].Name, w.Params[id].Matrix, blank.Params[id].Matrix)
		}
		dw, got := []float32{1, 2, 3}, []float32{9, 9, 9}
		if m.PullWhole(0, dw, got); !slices.Equal(got, dw) {
			t.Errorf("PullWhole gives %v, want %v", got, dw)
		}
	}
}

func TestConfigNamesTheFieldItRefuses(t *testing.T) {
	for _, name := range []string{"lift", "s2ft", "full"} {
		if err := Default(name).Validate(); err != nil {
			t.Errorf("default of %s: %v", name, err)
		}
	}
	for _, c := range []struct {
		c    Config
		want string
	}{
		{Default("dora"), `method.name is "dora"`},
		{Config{Name: "lift", Modules: "all", Rank: 1}, `method.modules is "all"`},
		{Config{Name: "full", Modules: "mlp"}, `method.modules is "mlp"`},
		{Config{Name: "full", Modules: "all", Rank: 3}, "method.rank is set"},
		{Config{Name: "full", Modules: "all", Refresh: 3}, "method.refresh is set"},
		{Config{Name: "lift", Modules: "linear"}, "method.rank is 0"},
		{Config{Name: "lift", Modules: "linear", Rank: -1, Density: 0.1}, "method.rank is -1"},
		{Config{Name: "lift", Modules: "linear", Rank: 1, Density: 1.5}, "method.density is 1.5"},
		{Config{Name: "lift", Modules: "linear", Rank: 1, Density: math.NaN()}, "method.density is NaN"},
		{Config{Name: "lift", Modules: "linear", Density: 0.1}, "method.filter is 0"},
		{Config{Name: "lift", Modules: "linear", Rank: 1, Filter: -1}, "method.filter is -1"},
		{Config{Name: "lift", Modules: "linear", Rank: 1, Refresh: -1}, "method.refresh is -1"},
		{Config{Name: "lift", Modules: "linear", Rank: 1, Refresh: 5, Lead: 5}, "method.lead is 5"},
		{Config{Name: "s2ft", O: 0.1, Select: "random", Rank: 4}, "method.rank is set"},
		{Config{Name: "lift", Modules: "linear", Rank: 1, Down: 0.1}, "method.down is set"},
		{Config{Name: "s2ft", O: 1.1, Select: "random"}, "method.o is 1.1"},
		{Config{Name: "s2ft", Select: "random"}, "method.o, down, v and up are all 0"},
		{Config{Name: "s2ft", O: 0.1, Select: "largest"}, `method.select is "largest"`},
	} {
		if err := c.c.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error is %v, want %q", c.c, err, c.want)
		}
	}
	if _, err := New(liftConfig(2), &model.Weights{}, 1); err == nil {
		t.Error("a model without weights: no error")
	}
}
