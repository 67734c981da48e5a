package model_test

import (
	"math"
	"testing"

	"github.com/torctrain/torc/model"
)

// The frequencies transformers 5.23 computes, in float32, for the rotary fields of Llama 3.2 1B: pairs that stay, pairs in
// between and pairs that are stretched; and for linear scaling by 4.
func TestFrequenciesAreThoseOfTransformers(t *testing.T) {
	llama3 := model.Rope{Kind: "llama3", Theta: 500000, Factor: 32, Low: 1, High: 4, Original: 8192}
	for _, c := range []struct {
		rope model.Rope
		D    int
		want map[int]float64
	}{
		{llama3, 64, map[int]float64{
			0: 1, 1: 0.663601279258728, 8: 0.03760603070259094, 13: 0.00483942124992609, 14: 0.0032114461064338684, 15: 0.0012905480107292533,
			16: 0.000429556705057621, 17: 9.708286233944818e-05, 18: 1.9461638657958247e-05, 31: 9.418306490260875e-08,
		}},
		{model.Rope{Kind: "linear", Theta: 10000, Factor: 4}, 128, map[int]float64{0: 0.25, 1: 0.21649108827114105, 31: 0.002886954927816987, 63: 2.8869548259535804e-05}},
	} {
		got := c.rope.Frequencies(c.D)
		if len(got) != c.D/2 {
			t.Fatalf("%d frequencies, want %d", len(got), c.D/2)
		}
		for i, want := range c.want {
			if math.Abs(got[i]-want) > 1e-6*want {
				t.Errorf("%s: frequency of pair %d is %v, want %v", c.rope.Kind, i, got[i], want)
			}
		}
	}
}
