package model_test

import (
	"math"
	"slices"
	"testing"

	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
)

// withSides gives every projection a path of rank 2 with values that matter.
func withSides(w *model.Weights, drop float64) {
	for id := range w.Params {
		p := &w.Params[id]
		if !p.Module.Linear() {
			continue
		}
		p.Side = model.NewSide(2, p.Rows, p.Cols)
		p.Side.Drop = drop
		key := rng.New(uint64(id))
		for i, v := range [][]float32{p.Side.A.F32, p.Side.B.F32, p.Side.S} {
			for j := range v {
				v[j] = float32(key.Sub(uint64(i)).Float64(uint64(j)) - 0.5)
			}
		}
	}
}

// merged is w with the products of the side paths added to the weights.
func merged(w *model.Weights) *model.Weights {
	out := &model.Weights{Config: w.Config, Params: slices.Clone(w.Params)}
	for id := range out.Params {
		p := &out.Params[id]
		if p.Side == nil {
			continue
		}
		sum := model.NewMatrix(model.F32, p.Rows, p.Cols)
		for i := range p.Rows {
			for j := range p.Cols {
				v := float64(p.At(i*p.Cols + j))
				for r, s := range p.Side.S {
					v += float64(p.Side.B.At(r*p.Rows+i)) * float64(s) * float64(p.Side.A.At(r*p.Cols+j))
				}
				sum.Set(i*p.Cols+j, float32(v))
			}
		}
		p.Matrix, p.Side = sum, nil
	}
	return out
}

func TestSidePathsActAsTheirProducts(t *testing.T) {
	for name, changes := range families() {
		c := tiny(t, changes)
		w := weights(c, model.BF16)
		withSides(w, 0.5) // Loss drops nothing
		b := batch(c.Vocab)
		for _, k := range kernels(t) {
			with, plain := model.New(w, k), model.New(merged(w), k)
			got, _ := with.Loss(b, nil)
			want, _ := plain.Loss(b, nil)
			if math.Abs(got-want) > 1e-5*want {
				t.Errorf("%s: %s: loss is %v, of the sums %v", name, k.Name(), got, want)
			}
			ids := b.Tokens[:b.Starts[1]]
			near(t, name+": logits", with.Decoder(20).Next(ids), float64s(plain.Decoder(20).Next(ids)), 1e-5)
		}
	}
}

func float64s(v []float32) []float64 {
	var out []float64
	for _, x := range v {
		out = append(out, float64(x))
	}
	return out
}

// sideSink keeps the gradients of the side paths: A, B, S.
type sideSink map[model.WeightID][3][]float32

func (s sideSink) Outer(id model.WeightID, o *model.Outer) {
	r := len(o.P) / o.T
	m, n := len(o.DY)/o.T, len(o.X)/o.T
	g := [3][]float32{make([]float32, r*n), make([]float32, r*m), make([]float32, r)}
	o.Kernels.GradDense(g[0], o.DP, o.X, o.T)
	o.Kernels.GradDense(g[1], o.Q, o.DY, o.T)
	for i := range o.P {
		g[2][i%r] += o.P[i] * o.H[i]
	}
	s[id] = g
}

func (s sideSink) Whole(model.WeightID, []float32) { panic("nobody wants this") }

func lowRankOnly(w *model.Weights) func(model.WeightID) model.Want {
	return func(id model.WeightID) model.Want {
		if w.Params[id].Side == nil {
			return model.Nothing
		}
		return model.LowRank
	}
}

// Through the whole model, at every factor of every projection, with and without dropout, whose choice is held.
func TestGradientsOfSidePathsAreDifferenceQuotients(t *testing.T) {
	for _, drop := range []float64{0, 0.4} {
		c := tiny(t, families()["qwen3"])
		w := weights(c, model.F32)
		withSides(w, drop)
		net := model.New(w, cpu.Ref())
		net.Train(lowRankOnly(w))
		b := batch(c.Vocab)
		b.Chance = 5
		grads := sideSink{}
		net.Gradient(b, grads)
		loss := func() float64 {
			l, _ := net.Gradient(b, sideSink{})
			return l
		}
		worst, checked := 0.0, 0
		for id, g := range grads {
			s := w.Params[id].Side
			for f, v := range [][]float32{s.A.F32, s.B.F32, s.S} {
				for j := 0; j < len(v); j += 1 + len(v)/5 {
					const h = 1.0 / 256
					was := v[j]
					v[j] = was + h
					up := loss()
					v[j] = was - h
					down := loss()
					v[j] = was
					worst = max(worst, math.Abs((up-down)/(2*h)-float64(g[f][j])))
					checked++
				}
			}
		}
		if worst > 2e-3 || checked < 140 {
			t.Errorf("dropout %v: %d gradients, off by up to %.2g", drop, checked, worst)
		}
	}
}

func TestSidePathsHaveTheSameBitsWithAnyThreads(t *testing.T) {
	c := tiny(t, nil)
	w := weights(c, model.BF16)
	withSides(w, 0.3)
	b := batch(c.Vocab)
	for _, tier := range cpu.Tiers() {
		var first sideSink
		for threads := 1; threads <= 3; threads++ {
			net := model.New(w, fast(t, threads, tier))
			net.Train(lowRankOnly(w))
			grads := sideSink{}
			net.Gradient(b, grads)
			if first == nil {
				first = grads
			}
			for id, g := range grads {
				for f := range g {
					if !sameBits(g[f], first[id][f]) {
						t.Errorf("%s: weight %d, factor %d: %d threads give other bits than one", tier, id, f, threads)
					}
				}
			}
		}
	}
}

func TestDropoutIsAFunctionOfChance(t *testing.T) {
	c := tiny(t, nil)
	w := weights(c, model.F32)
	withSides(w, 0.3)
	net := model.New(w, cpu.Ref())
	net.Train(lowRankOnly(w))
	b := batch(c.Vocab)
	losses := map[float64]bool{}
	for chance := range rng.Key(4) {
		b.Chance = chance
		first, _ := net.Gradient(b, sideSink{})
		net.Loss(b, nil)
		again, _ := net.Gradient(b, sideSink{})
		if first != again {
			t.Errorf("chance %d: loss %v, then %v", chance, first, again)
		}
		losses[first] = true
	}
	if len(losses) != 4 {
		t.Errorf("4 chances gave %d losses", len(losses))
	}
}
