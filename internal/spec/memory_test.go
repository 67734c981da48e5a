package spec

import (
	"testing"

	"github.com/torctrain/torc/model"
)

// The promise of the methods: memory of a 135M model with one lane of 512 tokens, beside that of full fine-tuning, all of it
// counted: weights, activations, θ and its moments, the sum.
func TestMethodsTakeAPartOfTheMemoryOfFull(t *testing.T) {
	c, err := model.Preset("smollm-135m", model.BF16)
	if err != nil {
		t.Fatal(err)
	}
	need := func(method string, trained int) float64 {
		s := Default(method)
		s.Data.MaxTokens, s.Batch.Lanes = 512, 1
		return float64(Memory(&s, c, trained)["total"])
	}
	full := need("full", 134_515_008)
	for _, m := range []struct {
		name    string
		trained int
		most    float64
	}{{"s2ft", 1_046_592, 0.4}, {"lift", 4_884_480, 0.5}, {"lora", 4_884_480, 0.5}, {"sorsa", 4_887_840, 0.5}} {
		got := need(m.name, m.trained) / full
		t.Logf("%s takes %.3f of full", m.name, got)
		if got > m.most {
			t.Errorf("%s takes %.3f of the memory of full, want at most %v", m.name, got, m.most)
		}
	}
}

// A residual in 16 bits saves half of what it takes.
func TestMemoryCountsTheResidual(t *testing.T) {
	c, err := model.Preset("tiny", model.BF16)
	if err != nil {
		t.Fatal(err)
	}
	const k = 60_000
	need := func(residual string) map[string]int64 {
		s := Default("sorsa")
		s.Method.Residual = residual
		return Memory(&s, c, k)
	}
	linear := int64(0)
	for _, p := range c.Params() {
		if p.Module.Linear() {
			linear += int64(p.Len())
		}
	}
	wide, stored, base := need("fp32"), need("stored"), need("base")
	if got := wide["weights"] - stored["weights"]; got != 2*linear {
		t.Errorf("float32 takes %d bytes more than 16 bits, want %d", got, 2*linear)
	}
	if base["weights"] != stored["weights"] || base["state"]-stored["state"] != 4*k {
		t.Errorf("the base as residual takes %v, stored %v", base, stored)
	}
}
