package main

import (
	"math"
	"regexp"
	"testing"

	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
)

// On weights with structure the sets are the exact ones, and the plain magnitude finds others.
func TestBenchSelectComparesWithTheExactSets(t *testing.T) {
	w, err := model.Load("../examples/base")
	if err != nil {
		t.Fatal(err)
	}
	c := methods.Default("lift")
	c.Rank = 4
	b, err := benchSelect(w, c, 1, regexp.MustCompile(`layers\.[02]\..*(q|down)_proj`), true)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Weights) != 4 || b.Selected != 2*(4*(128+128)+4*(128+384)) {
		t.Errorf("%d weights, %d selected", len(b.Weights), b.Selected)
	}
	if *b.Overlap < 0.99 || *b.Magnitude > 0.6 || b.Seconds <= 0 || b.ExactSeconds <= 0 {
		t.Errorf("overlap %v, magnitude %v in %v and %v s", *b.Overlap, *b.Magnitude, b.Seconds, b.ExactSeconds)
	}
	if _, err := benchSelect(w, c, 1, regexp.MustCompile("nothing"), false); err == nil {
		t.Error("a pattern that matches nothing: no error")
	}
}

// Every method makes steps, and those that train less hold less.
func TestBenchStepsComparesWithFull(t *testing.T) {
	b := stepBench{preset: "tiny", names: []string{"lift", "s2ft", "full", "lift-1x8", "sorsa", "lora"}, tokens: 20, rounds: 2, threads: 1, rank: 2}
	r, err := b.run()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != 6 || r.Rows[0].Method != "full" || r.Rows[0].Ratio != 1 || r.Rows[0].Trained != 1_246_848 {
		t.Errorf("results are %+v", r.Rows)
	}
	for _, x := range r.Rows[1:] {
		if x.Trained > 60_000 || x.Held > 0.7 || x.TokensPerSec <= 0 || math.IsNaN(x.Ratio) {
			t.Errorf("%+v", x)
		}
	}
	for _, name := range []string{"full-4x4", "lift-9x9", "dora"} {
		b.names = []string{name}
		if _, err := b.run(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
