package kerneltest

import (
	"math"
	"testing"

	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
)

// spoilt is the specification with one method replaced by a slightly wrong one.
type spoilt struct {
	model.Kernels
	linear    func(y []float32)
	attention func(s *model.AttnShape)
	attnGrad  func(dk []float32)
	eps       float32
	loss      func(loss []float32)
	adamW     func(theta []float32)
}

func (k spoilt) Linear(y, x []float32, w *model.Matrix, T int) {
	if k.Kernels.Linear(y, x, w, T); k.linear != nil && len(y) > 0 {
		k.linear(y)
	}
}

func (k spoilt) Attention(o, lse, q, kk, v []float32, starts []int32, s model.AttnShape) {
	if k.attention != nil {
		k.attention(&s)
	}
	k.Kernels.Attention(o, lse, q, kk, v, starts, s)
}

func (k spoilt) AttentionGrad(dq, dk, dv, do, o, lse, q, kk, v []float32, starts []int32, s model.AttnShape) {
	if k.Kernels.AttentionGrad(dq, dk, dv, do, o, lse, q, kk, v, starts, s); k.attnGrad != nil && len(dk) > 0 {
		k.attnGrad(dk)
	}
}

func (k spoilt) RMSNorm(y, rstd, x []float32, w *model.Matrix, eps float32, T int) {
	k.Kernels.RMSNorm(y, rstd, x, w, eps*(1+k.eps), T)
}

func (k spoilt) CrossEntropy(loss, logits []float32, targets []int32, T int) {
	if k.Kernels.CrossEntropy(loss, logits, targets, T); k.loss != nil && len(loss) > 0 {
		k.loss(loss)
	}
}

func (k spoilt) AdamW(theta, m, v, g []float32, s model.AdamWStep) {
	if k.Kernels.AdamW(theta, m, v, g, s); k.adamW != nil && len(theta) > 0 {
		k.adamW(theta)
	}
}

func TestSuiteNoticesSmallMistakes(t *testing.T) {
	last := func(by float64) func(v []float32) {
		return func(v []float32) { v[len(v)-1] *= float32(1 + by) }
	}
	for name, wrong := range map[string]spoilt{
		"Linear":        {linear: last(1e-3)},
		"Attention":     {attention: func(s *model.AttnShape) { s.Window = max(s.Window, 64) }},
		"AttentionGrad": {attnGrad: last(1e-2)},
		"RMSNorm":       {eps: 1e-3},
		"CrossEntropy":  {loss: last(1e-4)},
		"AdamW":         {adamW: func(v []float32) { v[0] = math.Nextafter32(v[0], 9) }},
	} {
		wrong.Kernels = cpu.Ref()
		if !differs(t, name, wrong) {
			t.Errorf("a mistake in %s goes unnoticed", name)
		}
		if differs(t, name, spoilt{Kernels: cpu.Ref()}) {
			t.Errorf("%s without a mistake is complained of", name)
		}
	}
}

// differs says whether a case of the kernel finds k outside the tolerance.
func differs(t *testing.T, kernel string, k model.Kernels) bool {
	t.Helper()
	for _, c := range cases() {
		if c.kernel != kernel {
			continue
		}
		got := results(t, c, k)
		for i, want := range results(t, c, cpu.Ref()) {
			if Float32[kernel].worst(got[i].v, want.v) >= 0 {
				return true
			}
		}
	}
	return false
}

func TestWritesToInputsAreSeen(t *testing.T) {
	m := newMemory("inputs")
	x := m.normal("x", 10, 1)
	if name := m.changed(); name != "" {
		t.Errorf("%s counts as changed before anybody wrote", name)
	}
	x[9]++
	if name := m.changed(); name != "x" {
		t.Errorf("changed input is %q, want x", name)
	}
	m.results()
}
