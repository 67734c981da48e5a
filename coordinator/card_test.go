package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/model"
)

func TestCardSaysWhatAModelIsMadeOfAndNotWhere(t *testing.T) {
	s := &spec.Resolved{Spec: spec.Default("lift"), Samples: 10, Class: "cpu-1-x"}
	s.Name, s.Model, s.Steps = "my | <b>run</b>\n# no", "/home/me/secret/base", 7
	s.Data.Train = []string{"/home/me/secret/a.jsonl", "rel/*.jsonl"}
	s.Files = []spec.File{
		{SHA256: spec.Sum{1}, Size: 5, Path: "/home/me/.cache/huggingface/hub/models--org--base-1B/snapshots/abc/config.json", Role: "model/config.json"},
		{SHA256: spec.Sum{2}, Size: 6, Path: "/home/me/secret/a.jsonl", Role: "train/0", Weight: 0.5},
	}
	r := &result{spec: s, state: &checkpoints.State{Spec: s.Hash(), Step: 7, Theta: []float32{1}, M: []float32{0}, V: []float32{0}}}
	d := model.F32
	card, err := r.card("run-1", &d)
	if err != nil {
		t.Fatal(err)
	}
	text := string(card)
	for _, want := range []string{
		"base_model: org/base-1B\n", "- lift\n", "# my \\| &lt;b>run&lt;/b> # no\n", "Made of org/base-1B by 7 steps of lift", "| run | run-1 |", "| steps | 7 of 7 |",
		fmt.Sprintf("`%x`", r.state.Digest()), fmt.Sprintf("`%x`", s.Hash()), "`cpu-1-x`", "| type of the weights | F32 |",
		"| model | config.json | 5 | `01", "| train, weight 0.5 | a.jsonl | 6 | `02", `"model": "org/base-1B"`, `"a.jsonl",`, `"rel/*.jsonl"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the card lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "/home/me") {
		t.Errorf("the card says where files lay:\n%s", text)
	}
	again, err := r.card("run-1", &d)
	if err != nil || string(again) != text {
		t.Error("the card is not the same each time")
	}
}
