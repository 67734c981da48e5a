package model_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
)

// gradientTolerance is relative to the largest element of a tensor. Everything is float32 with sums of at most a few dozen
// terms over two layers: errors of 2⁻²⁴ grow to a few 10⁻⁶.
const gradientTolerance = 2e-5

// Finite differences of a model written in float64 have errors of about 1e-9 here: step² in the value, 2⁻⁵³/step in the sum.
func TestGradientsMatchFiniteDifferencesInFloat64(t *testing.T) {
	for name, changes := range families() {
		t.Run(name, func(t *testing.T) {
			c := tiny(t, changes)
			w := weights(c, model.F32)
			b := batch(c.Vocab)
			ref := newReference(w)
			wantLoss, want := ref.loss(b), differences(ref, w, b)
			for _, k := range kernels(t) {
				m := model.New(w, k)
				m.Train(all(model.Sampled))
				got := newSink(t)
				loss, counted := m.Gradient(b, got)
				if math.Abs(loss-wantLoss) > 1e-6*wantLoss || counted != b.Counted() {
					t.Errorf("%s: loss %v of %d, want %v of %d", k.Name(), loss, counted, wantLoss, b.Counted())
				}
				if !slices.Equal(got.order, c.BackwardOrder()) {
					t.Errorf("%s: order %v, want %v", k.Name(), got.order, c.BackwardOrder())
				}
				for id, p := range w.Params {
					near(t, k.Name()+" "+p.Name, got.grads[model.WeightID(id)], want[id], gradientTolerance)
				}
			}
		})
	}
}

// differences are the central differences of the reference's loss by every value of w.
func differences(ref *reference, w *model.Weights, b model.Batch) [][]float64 {
	const step = 1e-5
	want := make([][]float64, len(w.Params))
	for id, p := range w.Params {
		v := ref.values[p.Name]
		for i := range v {
			was := v[i]
			v[i] = was + step
			up := ref.loss(b)
			v[i] = was - step
			want[id] = append(want[id], (up-ref.loss(b))/(2*step))
			v[i] = was
		}
	}
	return want
}

// Wanting fewer weights changes what is computed, never what arrives.
func TestFrozenWeightsChangeNoBitOfTheOthers(t *testing.T) {
	for name, changes := range families() {
		t.Run(name, func(t *testing.T) {
			c := tiny(t, changes)
			w, b := weights(c, model.F32), batch(c.Vocab)
			for _, k := range kernels(t) {
				m := model.New(w, k)
				m.Train(all(model.Dense))
				full := newSink(t)
				loss, _ := m.Gradient(b, full)
				order := c.BackwardOrder()
				for i, lowest := range order {
					// the lowest wanted weight alone, then with every third above it
					for _, more := range []int{0, 3} {
						m.Train(func(id model.WeightID) model.Want {
							at := slices.Index(order, id)
							if id == lowest || more > 0 && at < i && at%more == 0 {
								return model.Dense
							}
							return model.Nothing
						})
						got := newSink(t)
						if l, _ := m.Gradient(b, got); l != loss {
							t.Fatalf("%s: loss %v with weight %d lowest, want %v", k.Name(), l, lowest, loss)
						}
						if got.grads[lowest] == nil {
							t.Fatalf("%s: weight %d does not arrive", k.Name(), lowest)
						}
						for id, dw := range got.grads {
							if !sameBits(dw, full.grads[id]) {
								t.Fatalf("%s: gradient of %s differs when %s is the lowest wanted", k.Name(), w.Params[id].Name, w.Params[lowest].Name)
							}
						}
					}
				}
			}
		})
	}
}

func TestNothingIsKeptBelowTheLowestWantedLayer(t *testing.T) {
	c := tiny(t, map[string]any{"num_hidden_layers": 5})
	w, b := weights(c, model.F32), batch(c.Vocab)
	for lowest, kept := range map[string]int{
		"model.layers.3.mlp.down_proj.weight": 2, "model.layers.4.self_attn.v_proj.weight": 1, "model.layers.0.mlp.up_proj.weight": 5,
		"model.norm.weight": 0, "model.embed_tokens.weight": 5, "": 0,
	} {
		m := model.New(w, kernels(t)[0])
		m.Train(all(model.Dense))
		m.Gradient(b, newSink(t))
		want, _ := w.ID(lowest)
		m.Train(func(id model.WeightID) model.Want {
			if id == want {
				return model.Dense
			}
			return model.Nothing
		})
		m.Gradient(b, newSink(t))
		if got := m.KeptLayers(); got != kept {
			t.Errorf("with %q the lowest wanted weight %d layers are kept, want %d", lowest, got, kept)
		}
	}
}

// recorder notes through which weights gradients pass.
type recorder struct {
	model.Kernels
	passed map[*model.Matrix]bool
}

func (r recorder) LinearGradX(dx, dy []float32, w *model.Matrix, T int) {
	r.passed[w] = true
	r.Kernels.LinearGradX(dx, dy, w, T)
}

func TestNothingIsDifferentiatedBelowTheLowestWantedWeight(t *testing.T) {
	c := tiny(t, map[string]any{"tie_word_embeddings": false})
	w, b := weights(c, model.F32), batch(c.Vocab)
	for lowest, want := range map[string]string{
		"lm_head.weight":                         "",
		"model.norm.weight":                      "lm_head",
		"model.layers.1.mlp.down_proj.weight":    "lm_head",
		"model.layers.1.mlp.up_proj.weight":      "lm_head 1.mlp.down_proj",
		"model.layers.1.self_attn.o_proj.weight": "lm_head 1.mlp.down_proj 1.mlp.gate_proj 1.mlp.up_proj",
		"model.layers.1.self_attn.v_proj.weight": "lm_head 1.mlp.down_proj 1.mlp.gate_proj 1.mlp.up_proj 1.self_attn.o_proj",
		"model.layers.1.input_layernorm.weight":  "lm_head 1.mlp.down_proj 1.mlp.gate_proj 1.mlp.up_proj 1.self_attn.o_proj 1.self_attn.q_proj 1.self_attn.k_proj 1.self_attn.v_proj",
		"model.layers.0.mlp.down_proj.weight":    "lm_head 1.mlp.down_proj 1.mlp.gate_proj 1.mlp.up_proj 1.self_attn.o_proj 1.self_attn.q_proj 1.self_attn.k_proj 1.self_attn.v_proj",
	} {
		passed := map[*model.Matrix]bool{}
		m := model.New(w, recorder{kernels(t)[0], passed})
		id, _ := w.ID(lowest)
		m.Train(func(i model.WeightID) model.Want {
			if i == id {
				return model.Dense
			}
			return model.Nothing
		})
		m.Gradient(b, newSink(t))
		var got []string
		for _, id := range c.BackwardOrder() {
			if p := w.Params[id]; passed[p.Matrix] {
				got = append(got, strings.TrimSuffix(strings.TrimPrefix(p.Name, "model.layers."), ".weight"))
			}
		}
		if strings.Join(got, " ") != strings.Join(inOrder(c, want), " ") {
			t.Errorf("down to %s gradients pass through %v, want %s", lowest, got, want)
		}
	}
}

// counter counts transposes.
type counter struct {
	model.Kernels
	transposes *int
}

func (c counter) TransposePad(dst, src []float32, rows, cols int) {
	*c.transposes++
	c.Kernels.TransposePad(dst, src, rows, cols)
}

func TestInputsSharedByWeightsAreTransposedOnce(t *testing.T) {
	c := tiny(t, nil)
	n := 0
	m := model.New(weights(c, model.F32), counter{kernels(t)[0], &n})
	shapes := c.Params()
	m.Train(func(id model.WeightID) model.Want {
		if shapes[id].Module.Linear() {
			return model.Sampled
		}
		return model.Nothing
	})
	m.Gradient(batch(c.Vocab), discard{})
	// of a layer: the inputs of q, k, v, of o, of gate, up, and of down; and the output gradients of all seven
	if want := c.Layers * (4 + 7); n != want {
		t.Errorf("%d transposes, want %d", n, want)
	}
}

// inOrder sorts short names of weights by the backward order.
func inOrder(c *model.Config, names string) []string {
	var sorted []string
	for _, id := range c.BackwardOrder() {
		short := strings.TrimSuffix(strings.TrimPrefix(c.Params()[id].Name, "model.layers."), ".weight")
		if slices.Contains(strings.Fields(names), short) {
			sorted = append(sorted, short)
		}
	}
	return sorted
}

// Every member of a run computes the same bits, with as many threads as it has and the registers it has.
func TestBitsDoNotDependOnThreadsOrTier(t *testing.T) {
	for name, changes := range families() {
		c := tiny(t, changes)
		wider := map[string]any{"hidden_size": 72, "intermediate_size": 136, "vocab_size": 301, "head_dim": 16}
		c, err := c.With(wider)
		if err != nil {
			t.Fatal(err)
		}
		w := weights(c, model.BF16)
		var b model.Batch
		for s, length := range []int{131, 2, 70} { // several blocks of keys
			ids, counted := make([]int32, length), make([]bool, length)
			for i := range ids {
				ids[i], counted[i] = int32((i*i+s)%c.Vocab), i%3 != s
			}
			b.Add(ids, counted)
		}
		first := map[string]*sink{} // by class
		losses := map[string]float64{}
		for _, tier := range cpu.Tiers() {
			for _, threads := range []int{1, 2, 5} {
				k := fast(t, threads, tier)
				m := model.New(w, k)
				m.Train(all(model.Sampled))
				got := newSink(t)
				loss, _ := m.Gradient(b, got)
				want := first[cpu.Class(k)]
				if want == nil {
					first[cpu.Class(k)], losses[cpu.Class(k)] = got, loss
					continue
				}
				if loss != losses[cpu.Class(k)] {
					t.Errorf("%s: loss %v on %s with %d threads, want %v", name, loss, tier, threads, losses[cpu.Class(k)])
				}
				for id, p := range w.Params {
					if !sameBits(got.grads[model.WeightID(id)], want.grads[model.WeightID(id)]) {
						t.Errorf("%s: gradient of %s differs on %s with %d threads", name, p.Name, tier, threads)
					}
				}
			}
		}
	}
}

func TestLossIsThatOfGradientAndSplitsBySequence(t *testing.T) {
	c := tiny(t, nil)
	w, b := weights(c, model.BF16), batch(c.Vocab)
	for _, k := range kernels(t) {
		m := model.New(w, k)
		m.Train(all(model.Dense))
		want, counted := m.Gradient(b, newSink(t))
		per := []float64{9, 9, 9}
		got, n := m.Loss(b, per)
		if got != want || n != counted {
			t.Errorf("%s: Loss is %v of %d, Gradient says %v of %d", k.Name(), got, n, want, counted)
		}
		if per[1] != 0 || math.Abs(per[0]+per[2]-got) > 1e-12*got {
			t.Errorf("%s: losses by sequence %v do not add up to %v", k.Name(), per, got)
		}
		for s := range 3 { // rows are independent: a sequence has the loss it has alone
			alone := model.Batch{Tokens: b.Tokens[b.Starts[s]:b.Starts[s+1]], Targets: b.Targets[b.Starts[s]:b.Starts[s+1]], Starts: []int32{0, b.Starts[s+1] - b.Starts[s]}}
			if l, _ := m.Loss(alone, nil); l != per[s] {
				t.Errorf("%s: sequence %d has loss %v in the batch and %v alone", k.Name(), s, per[s], l)
			}
		}
	}
}

// The bits of a micro-batch do not depend on what the same Llama computed before.
func TestGradientRepeatsBitForBit(t *testing.T) {
	c := tiny(t, map[string]any{"tie_word_embeddings": false})
	w, b := weights(c, model.BF16), batch(c.Vocab)
	var big model.Batch
	long := make([]int32, 90)
	for i := range long {
		long[i] = int32(i*i) % int32(c.Vocab)
	}
	everything := slices.Repeat([]bool{true}, len(long))
	big.Add(long, everything)
	for _, k := range kernels(t) {
		fresh := model.New(w, k)
		fresh.Train(all(model.Sampled))
		want := newSink(t)
		wantLoss, _ := fresh.Gradient(b, want)
		used := model.New(w, k)
		used.Train(all(model.Sampled))
		for range 2 {
			used.Gradient(big, newSink(t))
			used.Loss(big, nil)
			used.Decoder(9).Next(long[:9])
			got := newSink(t)
			if loss, _ := used.Gradient(b, got); loss != wantLoss {
				t.Errorf("%s: loss %v after other batches, want %v", k.Name(), loss, wantLoss)
			}
			for id := range w.Params {
				if !sameBits(got.grads[model.WeightID(id)], want.grads[model.WeightID(id)]) {
					t.Errorf("%s: gradient of %s differs after other batches", k.Name(), w.Params[id].Name)
				}
			}
		}
	}
}

func TestBatchWithoutCountedTokensHasNoGradient(t *testing.T) {
	c := tiny(t, nil)
	m := model.New(weights(c, model.F32), kernels(t)[0])
	m.Train(all(model.Dense))
	var b model.Batch
	b.Add([]int32{1, 2, 3}, make([]bool, 3))
	b.Add(nil, nil)
	got := newSink(t)
	if loss, n := m.Gradient(b, got); loss != 0 || n != 0 || len(got.order) != 0 {
		t.Errorf("loss %v of %d, %d gradients, want none", loss, n, len(got.order))
	}
	if loss, n := m.Loss(b, nil); loss != 0 || n != 0 {
		t.Errorf("loss %v of %d, want none", loss, n)
	}
}

// discard receives gradients and does nothing.
type discard struct{}

func (discard) Outer(model.WeightID, *model.Outer)    {}
func (discard) Whole(id model.WeightID, dw []float32) {}

func TestStepsAllocateNothing(t *testing.T) {
	c := tiny(t, map[string]any{"model_type": "qwen3", "attention_bias": true, "tie_word_embeddings": false})
	b := batch(c.Vocab)
	for _, tier := range cpu.Tiers() {
		m := model.New(weights(c, model.BF16), fast(t, 2, tier))
		m.Train(all(model.Sampled))
		m.Gradient(b, discard{})
		if n := testing.AllocsPerRun(5, func() { m.Gradient(b, discard{}) }); n != 0 {
			t.Errorf("%s: %v allocations a step, want 0", tier, n)
		}
		d := m.Decoder(16)
		one := []int32{1}
		d.Next([]int32{1, 2, 3})
		if n := testing.AllocsPerRun(5, func() { d.Next(one) }); n != 0 {
			t.Errorf("%s: %v allocations a decoded token, want 0", tier, n)
		}
	}
}

func TestMemoryIsWhatTheBuffersTake(t *testing.T) {
	for name, changes := range families() {
		for _, trainAll := range []bool{true, false} {
			c := tiny(t, changes)
			const T = 70
			var b model.Batch
			b.Add(make([]int32, T+1), slices.Repeat([]bool{true}, T+1))
			m := model.New(weights(c, model.BF16), kernels(t)[0])
			shapes := c.Params()
			m.Train(func(id model.WeightID) model.Want {
				switch {
				case trainAll:
					return model.Dense
				case shapes[id].Module.Linear():
					return model.Sampled
				}
				return model.Nothing
			})
			m.Gradient(b, discard{})
			want := m.BufferBytes()
			for _, p := range shapes {
				want.Weights += 2 * int64(p.Len())
			}
			got := model.Memory(c, model.BF16, T, trainAll)
			if got != want {
				t.Errorf("%s, all %t: Memory says %+v, the buffers take %+v", name, trainAll, got, want)
			}
		}
	}
}

// The bits of each row's loss do not depend on the chunk it passes the head in; gradients are sums over chunks.
func TestHeadInChunksIsTheHeadAtOnce(t *testing.T) {
	for name, changes := range families() {
		c := tiny(t, changes)
		w, b := weights(c, model.F32), batch(c.Vocab)
		for _, k := range kernels(t) {
			m := model.New(w, k)
			m.Train(all(model.Dense))
			want := newSink(t)
			wantLoss, _ := m.Gradient(b, want)
			m.SetChunk(2)
			got := newSink(t)
			if loss, _ := m.Gradient(b, got); loss != wantLoss {
				t.Errorf("%s, %s: loss %v in chunks, want %v", name, k.Name(), loss, wantLoss)
			}
			for id, p := range w.Params {
				near(t, name+" "+k.Name()+" "+p.Name, got.grads[model.WeightID(id)], wide(want.grads[model.WeightID(id)]), 2e-6)
			}
		}
	}
}

func TestChunksOfTheHeadAreBounded(t *testing.T) {
	for vocab, want := range map[int]int{10: 512, 512: 512, 32000: 256, 49152: 160, 128256: 64, 1 << 20: 16, 1 << 24: 16} {
		if got := model.HeadRows(vocab); got != want {
			t.Errorf("vocabulary of %d: %d rows a chunk, want %d", vocab, got, want)
		}
	}
}

func wide(v []float32) []float64 {
	w := make([]float64, len(v))
	for i, x := range v {
		w[i] = float64(x)
	}
	return w
}
