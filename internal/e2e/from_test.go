package e2e

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A run that begins with another's State, at its end or at a checkpoint, makes the steps that were left to make: with a constant
// rate it ends with the model of one run that made them all. It is audited and verified like any other. A State that would mean
// something else is refused.
func TestARunBeginsWhereAnotherEnded(t *testing.T) {
	p := newPower(t)
	dir := workplace(t, p.home)
	p.on("ada", "bob")
	launch := func(more ...string) []string {
		return slices.Concat([]string{
			"launch", filepath.Join(dir, "spec.yaml"), "--coordinator", p.addr, "--insecure",
			"--set", "optimizer.schedule=constant", "--set", "optimizer.warmup=0", "--set", "checkpoint.every=4",
		}, more)
	}
	var whole, half, rest, mid launched
	coordinator(t, p.home, &whole, launch()...)
	coordinator(t, p.home, &half, launch("--set", "steps=7")...)
	coordinator(t, p.home, &rest, launch("--from", half.Run)...)
	coordinator(t, p.home, &mid, launch("--from", half.Run, "--checkpoint", "4")...)

	var want, got struct {
		Loss   float64
		Tokens int
	}
	data := filepath.Join(dir, "train.jsonl")
	coordinator(t, p.home, &want, "eval", whole.Run, "--data", data)
	for _, r := range []launched{rest, mid} {
		coordinator(t, p.home, &got, "eval", r.Run, "--data", data)
		if got != want || r.LossLast != whole.LossLast || r.Digest == whole.Digest {
			t.Errorf("run %s ends with %+v and evaluates to %+v; the undivided one with %+v and %+v", r.Run, r, got, whole, want)
		}
	}
	if rest.LossFirst == whole.LossFirst || rest.Steps != 12 {
		t.Errorf("it says of itself %+v, the undivided run %+v", rest, whole)
	}
	var audit struct {
		Steps   int
		Exactly bool `json:"exactly_once"`
	}
	coordinator(t, p.home, &audit, "audit", rest.Run, "--coordinator", p.addr, "--insecure")
	if audit.Steps != 5 || !audit.Exactly {
		t.Errorf("audit says %+v", audit)
	}
	refused := start(t, p.home, "coordinator", launch("--from", half.Run, "--set", "method.rank=5", "--set", "optimizer.lr=1e-4")...)
	if code, out := refused.exit(t); code != 2 || !strings.Contains(out, "method.rank is 5, there 4") || strings.Contains(out, "optimizer.lr") {
		t.Errorf("another rank is refused with %d:\n%s", code, out)
	}
	p.off() // verify needs its journal
	var verify struct{ Equal bool }
	coordinator(t, p.home, &verify, "verify", rest.Run)
	if !verify.Equal {
		t.Error("the run's repetition ends with another digest")
	}
}
