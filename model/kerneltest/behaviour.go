package kerneltest

import (
	"fmt"
	"math"
	"testing"

	"github.com/torctrain/torc/model"
)

// rows checks that a row's result does not depend on its neighbours: a batch gives the bits of its parts.
func rows(t *testing.T, k model.Kernels) {
	t.Helper()
	const T, m, n, V = 67, 70, 100, 300
	mem := newMemory("rows")
	w, w1 := mem.matrix("w", model.BF16, m, n), mem.matrix("w1", model.BF16, 1, n)
	x, dy, logits := mem.normal("x", T*n, 1), mem.normal("dy", T*m, 1), mem.normal("logits", T*V, 5)
	targets, cut := mem.ids(T, V), func(v []float32, from, to int) []float32 { c := len(v) / T; return v[from*c : to*c] }

	// Each part runs on rows [from, to) and returns them.
	parts := map[string]func(from, to int) []float32{
		"Linear": func(from, to int) []float32 {
			y := make([]float32, (to-from)*m)
			k.Linear(y, cut(x, from, to), w, to-from)
			return y
		},
		"LinearGradX": func(from, to int) []float32 {
			dx := make([]float32, (to-from)*n)
			k.LinearGradX(dx, cut(dy, from, to), w, to-from)
			return dx
		},
		"RMSNorm": func(from, to int) []float32 {
			y := make([]float32, (to-from)*n)
			k.RMSNorm(y, make([]float32, to-from), cut(x, from, to), w1, 1e-5, to-from)
			return y
		},
		"CrossEntropy": func(from, to int) []float32 {
			p := append([]float32(nil), cut(logits, from, to)...)
			k.CrossEntropy(make([]float32, to-from), p, targets[from:to], to-from)
			return p
		},
	}
	for name, part := range parts {
		whole := part(0, T)
		for _, at := range [][2]int{{0, 1}, {1, 2}, {5, 11}, {66, 67}, {3, 67}} {
			c := check{name, fmt.Sprintf("rows %d to %d", at[0], at[1]), nil}
			compare(t, c, Tolerance{}, []output{{name, cut(whole, at[0], at[1])}}, []output{{name, part(at[0], at[1])}})
		}
	}
	sequences(t, k)
}

// sequences is rows for attention: a sequence gives the same alone and in a batch, and a query whatever follows it.
func sequences(t *testing.T, k model.Kernels) {
	t.Helper()
	for _, a := range attentions() {
		T, s, starts := a.tokens(), a.s, a.starts()
		if len(a.lengths) == 0 {
			continue
		}
		mem := newMemory(a.String())
		q, kk, v := mem.normal("q", T*s.H*s.D, 1), mem.normal("k", T*s.KV*s.D, 1), mem.normal("v", T*s.KV*s.D, 1)
		part := func(from, to int, starts []int32) []float32 {
			o, lse := make([]float32, (to-from)*s.H*s.D), make([]float32, (to-from)*s.H)
			k.Attention(o, lse, q[from*s.H*s.D:to*s.H*s.D], kk[from*s.KV*s.D:to*s.KV*s.D], v[from*s.KV*s.D:to*s.KV*s.D], starts, s)
			return o
		}
		whole := part(0, T, starts)
		for i, n := range a.lengths {
			from := int(starts[i])
			for _, short := range []int{n, n / 2, n - 1} {
				if short <= 0 {
					continue
				}
				got := part(from, from+short, []int32{0, int32(short)})
				c := check{"Attention", fmt.Sprintf("first %d of sequence %d of %v", short, i, a), nil}
				compare(t, c, Tolerance{}, []output{{"o", whole[from*s.H*s.D : (from+short)*s.H*s.D]}}, []output{{"o", got}})
			}
		}
		mem.results()
	}
}

// nonFinite checks that a NaN among the inputs reaches the outputs it should: a step must not hide that a lane went wrong.
func nonFinite(t *testing.T, k model.Kernels) {
	t.Helper()
	nan := float32(math.NaN())
	finite := func(v ...float32) bool {
		for _, x := range v {
			if x != x || math.IsInf(float64(x), 0) {
				return false
			}
		}
		return true
	}
	for _, at := range []int{0, 15, 16, 63, 64, 99} {
		const n = 100
		mem := newMemory("finite")
		x, up, y := mem.normal("x", n, 1), mem.normal("up", n, 1), make([]float32, n)
		w := mem.matrix("w", model.F32, 1, n)
		x[at] = nan

		rstd, loss := make([]float32, 1), make([]float32, 1)
		if k.RMSNorm(y, rstd, x, w, 1e-5, 1); finite(rstd...) || finite(y[0]) {
			t.Errorf("RMSNorm of %s hides a NaN at %d: %v", k.Name(), at, rstd[0])
		}
		if k.SwiGLU(y, x, up); finite(y[at]) {
			t.Errorf("SwiGLU of %s hides a NaN at %d", k.Name(), at)
		}
		if k.Linear(y[:1], x, w, 1); finite(y[0]) {
			t.Errorf("Linear of %s hides a NaN at %d", k.Name(), at)
		}
		for _, bad := range []float32{nan, float32(math.Inf(1))} {
			copy(y, up)
			y[at] = bad
			if k.CrossEntropy(loss, y, []int32{3}, 1); finite(loss...) || finite(y[5]) {
				t.Errorf("CrossEntropy of %s hides %v at %d: loss %v", k.Name(), bad, at, loss[0])
			}
		}
		s := model.AttnShape{H: 1, KV: 1, D: 1, Scale: 1}
		o, lse := make([]float32, n), make([]float32, n)
		if k.Attention(o, lse, up, x, up, []int32{0, n}, s); finite(o[at]) || finite(lse[at]) || !finite(o[:at/64*64]...) {
			t.Errorf("Attention of %s: a NaN among the keys at %d shows in the wrong places", k.Name(), at)
		}
		mem.results()
	}
}

// lengths checks that a slice of the wrong length is a panic, not a read or write outside it.
func lengths(t *testing.T, k model.Kernels) {
	t.Helper()
	f := func(n int) []float32 { return make([]float32, n) }
	w, w1, s := model.NewMatrix(model.F32, 4, 6), model.NewMatrix(model.F32, 1, 6), model.AttnShape{H: 2, KV: 1, D: 4, Scale: 1}
	for name, call := range map[string]func(){
		"Linear":           func() { k.Linear(f(7), f(12), w, 2) },
		"LinearGradX":      func() { k.LinearGradX(f(12), f(9), w, 2) },
		"GradDense":        func() { k.GradDense(f(23), f(8), f(12), 2) },
		"TransposePad":     func() { k.TransposePad(f(5), f(4), 2, 2) },
		"GradAt":           func() { k.GradAt(f(2), f(64), f(64), []uint32{0}, 1, 3) },
		"RMSNorm":          func() { k.RMSNorm(f(12), f(2), f(11), w1, 1, 2) },
		"RMSNormGrad":      func() { k.RMSNormGrad(f(12), f(5), f(12), f(12), f(2), w1, 2) },
		"Rope":             func() { k.Rope(f(15), []int32{0, 0}, f(4), f(4), 1, 8) },
		"Rope beyond":      func() { k.Rope(f(16), []int32{0, 1}, f(4), f(4), 1, 8) },
		"Attention":        func() { k.Attention(f(16), f(4), f(16), f(8), f(7), []int32{0, 2}, s) },
		"Attention starts": func() { k.Attention(f(16), f(4), f(16), f(8), f(8), []int32{0, 3, 2}, s) },
		"AttentionGrad": func() {
			k.AttentionGrad(f(16), f(8), f(8), f(15), f(16), f(4), f(16), f(8), f(8), []int32{0, 2}, s)
		},
		"SwiGLU":              func() { k.SwiGLU(f(3), f(3), f(2)) },
		"SwiGLUGrad":          func() { k.SwiGLUGrad(f(3), f(3), f(3), f(3), f(4)) },
		"Add":                 func() { k.Add(f(3), f(2)) },
		"AddBias":             func() { k.AddBias(f(11), w1, 2) },
		"CrossEntropy":        func() { k.CrossEntropy(f(2), f(7), []int32{0, 0}, 2) },
		"CrossEntropy target": func() { k.CrossEntropy(f(2), f(8), []int32{0, 4}, 2) },
		"Embed":               func() { k.Embed(f(6), w, []int32{4}) },
		"EmbedGrad":           func() { k.EmbedGrad(f(24), f(6), []int32{-1}) },
		"AdamW":               func() { k.AdamW(f(3), f(3), f(3), f(2), adamW) },
	} {
		if !panics(call) {
			t.Errorf("%s of %s accepts operands of the wrong size", name, k.Name())
		}
	}
}

func panics(call func()) (did bool) {
	defer func() { did = recover() != nil }()
	call()
	return false
}
