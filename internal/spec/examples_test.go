package spec

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
)

// The specs among the examples are good, and those of methods train as much as each other, but for full.
func TestExamplesArePlausible(t *testing.T) {
	files, err := filepath.Glob("../../examples/methods/*.yaml")
	if err != nil || len(files) < 7 {
		t.Fatalf("found %v (%v)", files, err)
	}
	c, err := model.ReadConfig("../../examples/base")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "../../examples/arithmetic.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Parse(file, text, nil)
		if err != nil {
			t.Error(err)
			continue
		}
		counts, err := methods.Trained(s.Method, c.Params())
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		sum := 0
		for _, n := range counts {
			sum += n.Trained
		}
		if s.Method.Budget != "" && (sum < 57_000 || sum > 61_000) {
			t.Errorf("%s trains %d values, want 5 %% of 1179648", file, sum)
		}
	}
}
