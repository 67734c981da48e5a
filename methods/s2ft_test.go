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

func s2ftConfig() Config {
	return Config{Name: "s2ft", O: 0.3, Down: 0.2, V: 0.5, Up: 0.1, Select: "random"}
}

// grouped is a small model with four query heads for two key-value heads of 6.
func grouped(t testing.TB, d model.DType) *model.Weights {
	t.Helper()
	c, err := model.ParseConfig([]byte(`{"model_type":"llama","architectures":["LlamaForCausalLM"],"hidden_act":"silu","hidden_size":10,
		"intermediate_size":25,"num_hidden_layers":3,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":6,"vocab_size":20,
		"rms_norm_eps":1e-5,"max_position_embeddings":64,"initializer_range":0.5,"rope_theta":10000.0,"tie_word_embeddings":true}`))
	if err != nil {
		t.Fatal(err)
	}
	return model.NewRandom(c, d, 3)
}

// Gradients and optimizer see the slice alone: it moves as it would if everything were trained, bit for bit, and nothing
// else moves.
func TestS2FTIsDenseAdamWOnItsSlices(t *testing.T) {
	for _, d := range []model.DType{model.F32, model.BF16} {
		ws, wf, base := grouped(t, d), grouped(t, d), grouped(t, d)
		s, err := New(s2ftConfig(), ws, 43)
		if err != nil {
			t.Fatal(err)
		}
		f, err := New(Config{Name: "full", Modules: "linear"}, wf, 43)
		if err != nil {
			t.Fatal(err)
		}
		o := DefaultOptimizer("s2ft")
		ts, ms, vs := s.Start(ws), make([]float32, s.Len()), make([]float32, s.Len())
		tf, mf, vf := f.Start(wf), make([]float32, f.Len()), make([]float32, f.Len())
		for step := uint64(1); step <= 4; step++ {
			train(s, ws, o, step, ts, ms, vs)
			train(f, wf, o, step, tf, mf, vf)
		}
		moved := 0
		for id := range ws.Params {
			trained := make([]bool, ws.Params[id].Len())
			if i := s.(*s2ft).of[id]; i >= 0 {
				s.(*s2ft).each(i, func(_, element int) { trained[element] = true })
			}
			for i, in := range trained {
				got, want := ws.Params[id].At(i), base.Params[id].At(i)
				if in {
					want = wf.Params[id].At(i)
					moved++
				}
				if got != want {
					t.Fatalf("%s, %s[%d], trained %v: %v, want %v", d, ws.Params[id].Name, i, in, got, want)
				}
			}
		}
		if moved != s.Len() {
			t.Errorf("%s: %d elements are trained, θ has %d", d, moved, s.Len())
		}
		again := s.Start(ws)
		s.Push(again, ws)
		if d == model.F32 && !slices.Equal(again, ts) {
			t.Error("θ read back from the weights differs")
		}
	}
}

func TestS2FTTrainsWholeHeadsAndChannels(t *testing.T) {
	w := grouped(t, model.F32)
	m, err := New(s2ftConfig(), w, 43)
	if err != nil {
		t.Fatal(err)
	}
	f := m.(*s2ft)
	units := map[model.Module]int{}
	for i, ten := range f.tensors {
		p := w.Params[ten.Weight]
		size := 1
		if p.Module == model.O || p.Module == model.V {
			size = w.Config.HeadDim
		}
		c := f.channels[i]
		if !slices.IsSorted(c) || len(c)%size != 0 {
			t.Errorf("%s: channels %v", p.Name, c)
		}
		for j := 0; j < len(c); j += size {
			if int(c[j])%size != 0 || int(c[j+size-1]-c[j]) != size-1 {
				t.Errorf("%s: channels %v are not whole heads of %d", p.Name, c, size)
			}
			units[p.Module]++
		}
	}
	// ⌊12 heads · 0.3⌋, ⌊75 channels · 0.2⌋, ⌊6 key-value heads · 0.5⌋, ⌊75 channels · 0.1⌋
	for module, want := range map[model.Module]int{model.O: 3, model.Down: 15, model.V: 3, model.Up: 7} {
		if units[module] != want {
			t.Errorf("module %d: %d units, want %d", module, units[module], want)
		}
	}
	if len(units) != 4 {
		t.Errorf("units %v of modules that are not trained", units)
	}
}

// What is trained of each weight is known before there is a seed, and is that of the authors for a 135M model: 14 heads and
// 921 channels.
func TestS2FTCountsDoNotDependOnTheSeed(t *testing.T) {
	c, err := model.Preset("smollm-135m", model.BF16)
	if err != nil {
		t.Fatal(err)
	}
	counts, err := Trained(Default("s2ft"), c.Params())
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, n := range counts {
		sum += n.Trained
	}
	if want := (14*64 + 921) * 576; sum != want {
		t.Errorf("trained %d, want %d", sum, want)
	}
	for seed := range uint64(3) {
		w := grouped(t, model.F32)
		m, err := New(s2ftConfig(), w, seed)
		if err != nil {
			t.Fatal(err)
		}
		planned, err := Trained(s2ftConfig(), w.Config.Params())
		if err != nil {
			t.Fatal(err)
		}
		for i, ten := range m.Tensors() {
			if ten.Name != planned[i].Name || ten.Len != planned[i].Trained {
				t.Errorf("seed %d: %s trains %d, planned was %+v", seed, ten.Name, ten.Len, planned[i])
			}
		}
	}
}

// layersOf are so many weights with n channels of the MLP each.
func layersOf(layers, n int) (params []model.ParamShape) {
	for l := range layers {
		params = append(params, model.ParamShape{Name: "down", Layer: l, Module: model.Down, Rows: 4, Cols: n})
	}
	return params
}

func drawAll(t interface{ Fatal(...any) }, layers, n int, share float64, key rng.Key) [][]int32 {
	chosen, err := Config{Name: "s2ft", Down: share, Select: "random"}.channels(layersOf(layers, n), key, nil)
	if err != nil {
		t.Fatal(err)
	}
	return chosen
}

func TestChannelsAreDrawnEvenly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		layers, n := rapid.IntRange(1, 9).Draw(t, "layers"), rapid.IntRange(1, 40).Draw(t, "n")
		share := rapid.Float64Range(1/float64(layers*n), 1).Draw(t, "share")
		key := rng.New(rapid.Uint64().Draw(t, "seed"))
		chosen := drawAll(t, layers, n, share, key)
		total, least, most := 0, n, 0
		for _, units := range chosen {
			total, least, most = total+len(units), min(least, len(units)), max(most, len(units))
			for i, u := range units {
				if u < 0 || int(u) >= n || i > 0 && u <= units[i-1] {
					t.Fatalf("units %v of %d", units, n)
				}
			}
		}
		if total != int(share*float64(layers*n)) || most-least > 1 {
			t.Fatalf("%d units in all, %d to %d in a layer, of %d·%d·%v", total, least, most, layers, n, share)
		}
		if !slices.EqualFunc(chosen, drawAll(t, layers, n, share, key), slices.Equal) {
			t.Fatal("another draw from the same key differs")
		}
	})
	// Each of 10 units is in the third drawn of them about as often: 5 deviations of 4000 draws.
	var hits [10]int
	for seed := range uint64(4000) {
		for _, u := range drawAll(t, 1, 10, 0.3, rng.New(seed))[0] {
			hits[u]++
		}
	}
	for u, n := range hits {
		if n < 1200-145 || n > 1200+145 {
			t.Errorf("unit %d is in %d of 4000 draws, want about 1200", u, n)
		}
	}
}

func TestShareOfNoWholeHeadIsRefused(t *testing.T) {
	w := grouped(t, model.F32)
	_, err := New(Config{Name: "s2ft", O: 0.08, Select: "random"}, w, 1) // of 12 heads
	if err == nil || !strings.Contains(err.Error(), "method.o is 0.08: that is no whole one of the model's 12 heads or channels: use at least 0.08337, or 0") {
		t.Errorf("error is %v", err)
	}
	if _, err := New(Config{Name: "s2ft", O: 0.08337, Select: "random"}, w, 1); err != nil {
		t.Error(err)
	}
}

// The channels of a layer with the least or most weight, or of W′, are chosen as a plain sort would.
func TestS2FTChoosesByWeightAndByApproximation(t *testing.T) {
	for _, d := range []model.DType{model.F32, model.BF16} {
		w := grouped(t, d)
		for _, by := range []string{"smallest-weight", "largest-weight", "smallest-lift", "largest-lift"} {
			c := s2ftConfig()
			c.Select = by
			m, err := New(c, w, 43)
			if err != nil {
				t.Fatal(err)
			}
			f := m.(*s2ft)
			for i, ten := range f.tensors {
				p := w.Config.Params()[ten.Weight]
				scores := naiveScores(w.Params[ten.Weight].Matrix, p, strings.HasSuffix(by, "lift"))
				if got, want := f.channels[i], bestUnits(scores, len(f.channels[i])/unit(p), unit(p), strings.HasPrefix(by, "largest")); !slices.Equal(got, want) {
					t.Errorf("%s, %s: channels %v, want %v", by, ten.Name, got, want)
				}
			}
		}
	}
}

// naiveScores sums w² or |W′| over each unit; a rank of 16 is full here, so W′ is W.
func naiveScores(w *model.Matrix, p model.ParamShape, absolute bool) []float64 {
	scores := make([]float64, axis(p)/unit(p))
	for i := range w.Rows {
		for j := range w.Cols {
			v, u := float64(w.At(i*w.Cols+j)), i/unit(p)
			if p.Module == model.O || p.Module == model.Down {
				u = j / unit(p)
			}
			if absolute {
				scores[u] += math.Abs(v)
			} else {
				scores[u] += v * v
			}
		}
	}
	return scores
}

func bestUnits(scores []float64, count, size int, largest bool) []int32 {
	var units []int
	for len(units) < count {
		best := -1
		for u, s := range scores {
			if slices.Contains(units, u) {
				continue
			}
			if best < 0 || largest && s > scores[best] || !largest && s < scores[best] {
				best = u
			}
		}
		units = append(units, best)
	}
	slices.Sort(units)
	var channels []int32
	for _, u := range units {
		for j := range size {
			channels = append(channels, int32(u*size+j))
		}
	}
	return channels
}

func TestS2FTRefusesToChooseByBadWeights(t *testing.T) {
	for _, bad := range []float32{float32(math.NaN()), 0} {
		w := grouped(t, model.F32)
		for id, p := range w.Params {
			if p.Module == model.Down && p.Layer == 1 {
				for i := range w.Params[id].F32 {
					w.Params[id].F32[i] = bad
				}
			}
		}
		c := s2ftConfig()
		c.Select = "largest-lift"
		if _, err := New(c, w, 1); err == nil || !strings.Contains(err.Error(), "choose channels of model.layers.1.mlp.down_proj.weight by lift") {
			t.Errorf("a weight of %v: error is %v", bad, err)
		}
	}
}

// In every family of models, the gradient that the backward pass gives the slices is that part of the whole gradient.
func TestS2FTGradientIsPartOfTheWholeInEveryFamily(t *testing.T) {
	for name, family := range map[string]string{
		"llama 3": `"model_type":"llama","architectures":["LlamaForCausalLM"],"tie_word_embeddings":false,
			"rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":32}`,
		"mistral": `"model_type":"mistral","architectures":["MistralForCausalLM"],"tie_word_embeddings":false,"sliding_window":4`,
		"qwen 2":  `"model_type":"qwen2","architectures":["Qwen2ForCausalLM"],"tie_word_embeddings":true`,
		"qwen 3":  `"model_type":"qwen3","architectures":["Qwen3ForCausalLM"],"tie_word_embeddings":true,"head_dim":8`,
	} {
		c, err := model.ParseConfig([]byte(`{"hidden_act":"silu","hidden_size":16,"intermediate_size":24,"num_hidden_layers":3,
			"num_attention_heads":4,"num_key_value_heads":2,"vocab_size":20,"rms_norm_eps":1e-5,"max_position_embeddings":64,
			"initializer_range":0.3,"rope_theta":10000.0,` + family + "}"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		w := model.NewRandom(c, model.BF16, 3)
		gradient := func(config Config) (Method, []float32) {
			m, err := New(config, w, 43)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			net, dtheta := model.New(w, fast(t, 1, cpu.Auto)), make([]float32, m.Len())
			net.Train(m.Wants)
			net.Gradient(textBatch(c.Vocab), factoredSink{m, dtheta})
			return m, dtheta
		}
		s, got := gradient(s2ftConfig())
		f, all := gradient(Config{Name: "full", Modules: "linear"})
		whole := map[model.WeightID][]float32{}
		for _, ten := range f.Tensors() {
			whole[ten.Weight] = all[ten.Off : ten.Off+ten.Len]
		}
		moved := 0
		for i, ten := range s.Tensors() {
			s.(*s2ft).each(i, func(at, element int) {
				if g := got[ten.Off+at]; g != whole[ten.Weight][element] {
					t.Fatalf("%s: %s[%d] has the gradient %v, want %v", name, ten.Name, element, g, whole[ten.Weight][element])
				} else if g != 0 {
					moved++
				}
			})
		}
		if moved < s.Len()/2 {
			t.Errorf("%s: only %d of %d gradients are not zero", name, moved, s.Len())
		}
	}
}
