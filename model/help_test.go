package model_test

import (
	"encoding/json"
	"math"
	"slices"
	"testing"

	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
)

// kernels are the implementations that a test of the model runs over, the specification first.
func kernels(t *testing.T) []model.Kernels {
	t.Helper()
	all := []model.Kernels{cpu.Ref()}
	for _, tier := range cpu.Tiers() {
		all = append(all, fast(t, 2, tier))
	}
	return all
}

// fast are the kernels of a tier; the test ends them.
func fast(t *testing.T, threads int, tier cpu.Tier) model.Kernels {
	t.Helper()
	k, err := cpu.New(threads, tier)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

// tinyFields is a small Llama with awkward ratios: three query heads to a key head, 24 features of attention and 10 of the
// MLP over 8 of the stream.
func tinyFields() map[string]any {
	return map[string]any{
		"model_type": "llama", "hidden_size": 8, "intermediate_size": 10, "num_hidden_layers": 2, "num_attention_heads": 6,
		"num_key_value_heads": 2, "head_dim": 4, "vocab_size": 13, "rms_norm_eps": 1e-5, "initializer_range": 0.3,
		"tie_word_embeddings": true, "max_position_embeddings": 32, "hidden_act": "silu",
	}
}

// tiny is tinyFields with changes.
func tiny(t *testing.T, changes map[string]any) *model.Config {
	t.Helper()
	all := tinyFields()
	for name, v := range changes {
		all[name] = v
	}
	raw, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	c, err := model.ParseConfig(raw)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// families are small models of everything the package knows.
func families() map[string]map[string]any {
	return map[string]map[string]any{
		"llama tied": nil,
		"llama untied, llama3 rope": {"tie_word_embeddings": false, "rope_parameters": map[string]any{
			"rope_type": "llama3", "rope_theta": 9, "factor": 4, "low_freq_factor": 1, "high_freq_factor": 3, "original_max_position_embeddings": 24,
		}},
		"llama linear rope, biases": {"attention_bias": true, "mlp_bias": true, "rope_theta": 100, "rope_scaling": map[string]any{"type": "linear", "factor": 2.5}},
		"mistral":                   {"model_type": "mistral", "sliding_window": 3},
		"qwen2": {
			"model_type": "qwen2", "tie_word_embeddings": false, "use_sliding_window": true, "max_window_layers": 1, "sliding_window": 2,
			"layer_types": []string{"full_attention", "sliding_attention"},
		},
		"qwen3": {"model_type": "qwen3", "use_sliding_window": false, "sliding_window": nil},
	}
}

// weights are random, also the norms and biases, which fresh weights leave at one and zero.
func weights(c *model.Config, d model.DType) *model.Weights {
	w := model.NewRandom(c, d, 7)
	for i, shape := range c.Params() {
		if !shape.Vector() {
			continue
		}
		p := w.Params[i]
		for j := range p.Len() {
			p.Set(j, p.At(j)+0.3*float32(math.Sin(float64(7*i+3*j))))
		}
	}
	return w
}

// batch is two sequences, and one in between in which nothing counts.
func batch(vocab int) model.Batch {
	var b model.Batch
	for s, length := range []int{8, 3, 6} {
		var ids []int32
		var counted []bool
		for i := range length {
			ids = append(ids, int32((5*i+3*s+i*i)%vocab))
			counted = append(counted, s != 1 && i%4 != 2)
		}
		b.Add(ids, counted)
	}
	return b
}

// sink keeps gradients in full and checks the factored form.
type sink struct {
	t     *testing.T
	order []model.WeightID
	grads map[model.WeightID][]float32
}

func newSink(t *testing.T) *sink {
	return &sink{t: t, grads: map[model.WeightID][]float32{}}
}

func (s *sink) Outer(id model.WeightID, o *model.Outer) {
	m, n := len(o.DY)/o.T, len(o.X)/o.T
	dw := make([]float32, m*n)
	o.Kernels.GradDense(dw, o.DY, o.X, o.T)
	s.put(id, dw)
	if o.XT == nil {
		return
	}
	for name, f := range map[string]struct{ plain, transposed []float32 }{"X": {o.X, o.XT}, "DY": {o.DY, o.DYT}} {
		want := make([]float32, len(f.plain)/o.T*model.Pad(o.T))
		o.Kernels.TransposePad(want, f.plain, o.T, len(f.plain)/o.T)
		if !slices.Equal(f.transposed, want) {
			s.t.Errorf("weight %d: %sᵀ is not the transpose of %s", id, name, name)
		}
	}
}

func (s *sink) Whole(id model.WeightID, dw []float32) { s.put(id, slices.Clone(dw)) }

func (s *sink) put(id model.WeightID, dw []float32) {
	if s.grads[id] != nil {
		s.t.Errorf("weight %d arrives twice", id)
	}
	s.order = append(s.order, id)
	s.grads[id] = dw
}

// all wants every weight as w.
func all(w model.Want) func(model.WeightID) model.Want {
	return func(model.WeightID) model.Want { return w }
}

// near checks got against want with a tolerance relative to the largest magnitude of want.
func near(t *testing.T, what string, got []float32, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d values, want %d", what, len(got), len(want))
		return
	}
	largest, worst, at := 0.0, 0.0, 0
	for _, v := range want {
		largest = max(largest, math.Abs(v))
	}
	for i, v := range want {
		if d := math.Abs(float64(got[i]) - v); !(d <= worst) {
			worst, at = d, i
		}
	}
	if !(worst <= tolerance*largest) || largest == 0 {
		t.Errorf("%s: element %d is %g, want %g: off by %.2g of the largest, %.3g (tolerance %.2g)", what, at, got[at], want[at], worst/largest, largest, tolerance)
	}
}

// sameBits also tells 0 from −0 and compares NaNs.
func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}
