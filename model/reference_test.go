package model_test

import (
	"fmt"
	"math"
	"strings"

	"github.com/torctrain/torc/model"
)

// reference is the model written down once more in float64, as directly as possible: one token at a time, no blocks, no
// shared code. It is what the gradients of the real one are differentiated against.
type reference struct {
	c      *model.Config
	values map[string][]float64
	layers []map[string][]float64 // the same by name inside the layer
	angles [][]float64            // by position and pair
}

func newReference(w *model.Weights) *reference {
	r := &reference{c: w.Config, values: map[string][]float64{}}
	for t := range 64 {
		r.angles = append(r.angles, make([]float64, r.c.HeadDim/2))
		for i := range r.angles[t] {
			r.angles[t][i] = float64(t) * frequency(r.c, i)
		}
	}
	for l := range r.c.Layers {
		r.layers = append(r.layers, map[string][]float64{})
		for _, p := range w.Params {
			if name, ok := strings.CutPrefix(p.Name, fmt.Sprintf("model.layers.%d.", l)); ok {
				r.layers[l][name] = make([]float64, p.Len())
				r.values[p.Name] = r.layers[l][name]
			}
		}
	}
	for _, p := range w.Params {
		if p.Layer < 0 {
			r.values[p.Name] = make([]float64, p.Len())
		}
		for i := range p.Len() {
			r.values[p.Name][i] = float64(p.At(i))
		}
	}
	return r
}

func (r *reference) layer(l int, name string) []float64 { return r.layers[l][name] }

// frequency is the angle per position of pair i.
func frequency(c *model.Config, i int) float64 {
	f := math.Pow(c.Rope.Theta, -2*float64(i)/float64(c.HeadDim))
	switch wavelength := 2 * math.Pi / f; c.Rope.Kind {
	case "linear":
		return f / c.Rope.Factor
	case "llama3":
		low, high := c.Rope.Original/c.Rope.Low, c.Rope.Original/c.Rope.High
		if wavelength > low {
			return f / c.Rope.Factor
		}
		if wavelength > high {
			smooth := (c.Rope.Original/wavelength - c.Rope.Low) / (c.Rope.High - c.Rope.Low)
			return (1-smooth)*f/c.Rope.Factor + smooth*f
		}
	}
	return f
}

// loss is the sum of the losses of the targets that are not negative.
func (r *reference) loss(b model.Batch) float64 {
	sum := 0.0
	for s := range b.Sequences() {
		from, to := b.Starts[s], b.Starts[s+1]
		logits := r.logits(b.Tokens[from:to])
		for t, target := range b.Targets[from:to] {
			if target >= 0 {
				sum += logSumExp(logits[t]) - logits[t][target]
			}
		}
	}
	return sum
}

// logits runs one sequence.
func (r *reference) logits(tokens []int32) [][]float64 {
	c := r.c
	embed := r.values["model.embed_tokens.weight"]
	head := r.values["lm_head.weight"]
	if c.Tied {
		head = embed
	}
	x := make([][]float64, len(tokens))
	for t, id := range tokens {
		x[t] = append([]float64{}, embed[int(id)*c.Hidden:int(id+1)*c.Hidden]...)
	}
	for l := range c.Layers {
		r.attention(l, x)
		for t := range x {
			n := r.norm(x[t], r.layer(l, "post_attention_layernorm.weight"))
			gate, up := times(r.layer(l, "mlp.gate_proj.weight"), n), times(r.layer(l, "mlp.up_proj.weight"), n)
			add(gate, r.layer(l, "mlp.gate_proj.bias"))
			add(up, r.layer(l, "mlp.up_proj.bias"))
			for i, g := range gate {
				up[i] *= g / (1 + math.Exp(-g))
			}
			add(x[t], times(r.layer(l, "mlp.down_proj.weight"), up))
			add(x[t], r.layer(l, "mlp.down_proj.bias"))
		}
	}
	logits := make([][]float64, len(tokens))
	for t := range x {
		logits[t] = times(head, r.norm(x[t], r.values["model.norm.weight"]))
	}
	return logits
}

func (r *reference) attention(l int, x [][]float64) {
	c, D := r.c, r.c.HeadDim
	q, k, v := make([][]float64, len(x)), make([][]float64, len(x)), make([][]float64, len(x))
	for t := range x {
		n := r.norm(x[t], r.layer(l, "input_layernorm.weight"))
		q[t], k[t], v[t] = times(r.layer(l, "self_attn.q_proj.weight"), n), times(r.layer(l, "self_attn.k_proj.weight"), n), times(r.layer(l, "self_attn.v_proj.weight"), n)
		add(q[t], r.layer(l, "self_attn.q_proj.bias"))
		add(k[t], r.layer(l, "self_attn.k_proj.bias"))
		add(v[t], r.layer(l, "self_attn.v_proj.bias"))
		for h := range c.Heads {
			r.turn(t, q[t][h*D:(h+1)*D], r.layer(l, "self_attn.q_norm.weight"))
		}
		for h := range c.KVHeads {
			r.turn(t, k[t][h*D:(h+1)*D], r.layer(l, "self_attn.k_norm.weight"))
		}
	}
	for t := range x {
		o := make([]float64, c.Heads*D)
		for h := range c.Heads {
			kv := h / (c.Heads / c.KVHeads) * D
			first := 0
			if w := c.Windows[l]; w > 0 {
				first = max(0, t-w+1)
			}
			var scores []float64
			for s := first; s <= t; s++ {
				dot := 0.0
				for i := range D {
					dot += q[t][h*D+i] * k[s][kv+i]
				}
				scores = append(scores, dot/math.Sqrt(float64(D)))
			}
			lse := logSumExp(scores)
			for s, z := range scores {
				for i := range D {
					o[h*D+i] += math.Exp(z-lse) * v[first+s][kv+i]
				}
			}
		}
		y := times(r.layer(l, "self_attn.o_proj.weight"), o)
		add(y, r.layer(l, "self_attn.o_proj.bias"))
		add(x[t], y)
	}
}

// turn normalises one head, where the model does, and rotates it to position t.
func (r *reference) turn(t int, head, norm []float64) {
	if norm != nil {
		copy(head, r.norm(head, norm))
	}
	half := len(head) / 2
	for i := range half {
		sin, cos := math.Sincos(r.angles[t][i])
		head[i], head[i+half] = head[i]*cos-head[i+half]*sin, head[i+half]*cos+head[i]*sin
	}
}

func (r *reference) norm(x, w []float64) []float64 {
	sum := 0.0
	for _, v := range x {
		sum += v * v
	}
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = v / math.Sqrt(sum/float64(len(x))+float64(r.c.Eps)) * w[i]
	}
	return y
}

func times(w, x []float64) []float64 {
	y := make([]float64, len(w)/len(x))
	for i := range y {
		row, sum := w[i*len(x):(i+1)*len(x)], 0.0
		for j, v := range x {
			sum += row[j] * v
		}
		y[i] = sum
	}
	return y
}

// add adds x, which may be missing, to y.
func add(y, x []float64) {
	for i, v := range x {
		y[i] += v
	}
}

func logSumExp(v []float64) float64 {
	top := math.Inf(-1)
	for _, x := range v {
		top = max(top, x)
	}
	sum := 0.0
	for _, x := range v {
		sum += math.Exp(x - top)
	}
	return top + math.Log(sum)
}
