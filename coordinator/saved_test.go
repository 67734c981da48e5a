package main

import (
	"strings"
	"testing"

	"github.com/torctrain/torc/checkpoints"
)

func TestTheCheckpointThatIsMeantIsFound(t *testing.T) {
	loss := func(x float64) *float64 { return &x }
	all := []*checkpoints.Manifest{{Step: 30}, {Step: 20, Loss: loss(2)}, {Step: 10, Loss: loss(1)}}
	for name, want := range map[string]uint64{"": 30, "newest": 30, "best": 10, "20": 20} {
		w := which{checkpoint: name}
		if m, err := w.choose("r", all); err != nil || m.Step != want {
			t.Errorf("%q: %+v, %v, want step %d", name, m, err, want)
		}
	}
	for name, want := range map[string]string{"21": "but of 30, 20, 10", "last": "newest, best or the number"} {
		w := which{checkpoint: name}
		if _, err := w.choose("r", all); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error is %v", name, err)
		}
	}
	if _, err := (&which{checkpoint: "best"}).choose("r", all[:1]); err == nil || !strings.Contains(err.Error(), "validate.every") {
		t.Errorf("none was measured: error is %v", err)
	}
	if _, err := (&which{}).choose("r", nil); err == nil {
		t.Error("no checkpoints: one was found")
	}
}
