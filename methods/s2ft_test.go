package methods

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/model"
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

func TestChannelsAreDrawnEvenly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		layers, n := rapid.IntRange(1, 9).Draw(t, "layers"), rapid.IntRange(1, 40).Draw(t, "n")
		share := rapid.Float64Range(0, 1).Draw(t, "share")
		key := rng.New(rapid.Uint64().Draw(t, "seed"))
		sizes := slices.Repeat([]int{n}, layers)
		chosen := choose(sizes, share, key)
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
		if !slices.EqualFunc(chosen, choose(sizes, share, key), slices.Equal) {
			t.Fatal("another draw from the same key differs")
		}
	})
	// Each of 10 units is in the third drawn of them about as often: 5 deviations of 4000 draws.
	var hits [10]int
	for seed := range uint64(4000) {
		for _, u := range choose([]int{10}, 0.3, rng.New(seed))[0] {
			hits[u]++
		}
	}
	for u, n := range hits {
		if n < 1200-145 || n > 1200+145 {
			t.Errorf("unit %d is in %d of 4000 draws, want about 1200", u, n)
		}
	}
}
