package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/torctrain/torc/internal/pb"
)

// export, eval and generate read a checkpoint from the nodes by way of the coordinator, with nothing at home but the command, and
// from a mirror without either: the newest, the best, or that of a step. With too few nodes the missing ones are named.
func TestModelsComeFromCheckpoints(t *testing.T) {
	p := newPower(t)
	dir, mirror := workplace(t, p.home), t.TempDir()
	p.on("ada", "bob", "cleo")
	set := []string{
		"--set", "steps=100000", "--set", "checkpoint.every=5", "--set", "validate.every=5", "--set", "optimizer.schedule=constant",
		"--set", "checkpoint.keep_best=1", "--set", "checkpoint.mirror=" + mirror,
	}
	launch := start(t, p.home, "coordinator", append([]string{"launch", filepath.Join(dir, "spec.yaml"), "--coordinator", p.addr, "--insecure"}, set...)...)
	run := launch.await(t, `run (\S+) is`)[1]
	p.committed(run, 5)
	if _, err := p.conn.Stop(t.Context(), &pb.StopRequest{Run: run}); err != nil {
		t.Fatal(err)
	}
	stopped := p.follow(run, func(e *pb.RunEvent) bool { return e.Info.State == pb.RunState_RUN_STOPPED })

	at := []string{"--coordinator", p.addr, "--insecure"}
	elsewhere := t.TempDir() // a home that has nothing of the run
	if err := os.Rename(filepath.Join(dir, "base"), filepath.Join(dir, "moved")); err != nil {
		t.Fatal(err)
	}
	export := func(home, to string, args ...string) (step uint64, weights string) {
		var said struct{ Step uint64 }
		coordinator(t, home, &said, append([]string{"export", run, "-o", filepath.Join(dir, to)}, args...)...)
		b, err := os.ReadFile(filepath.Join(dir, to, "model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		return said.Step, string(b)
	}
	wantStep, want := export(p.home, "result")
	if wantStep != stopped.Step {
		t.Errorf("the result is of step %d, the run stopped after %d", wantStep, stopped.Step)
	}
	for name, args := range map[string][]string{
		"nodes":  append([]string{"--checkpoint", "newest"}, at...),
		"mirror": {"--mirror", mirror, "--base", filepath.Join(dir, "moved")},
	} {
		home := elsewhere
		if name == "mirror" {
			home = t.TempDir()
			p.mirrored(mirror, run, stopped.Step)
		}
		if step, got := export(home, name, args...); step != wantStep || got != want {
			t.Errorf("the newest checkpoint from %s is of step %d, and its weights are the result's: %v; want step %d", name, step, got == want, wantStep)
		}
	}
	var ls struct {
		Checkpoints []struct {
			Step uint64
			Loss *float64
		}
	}
	coordinator(t, p.home, &ls, append([]string{"checkpoints", "ls", run}, at...)...)
	best := ls.Checkpoints[0]
	for _, c := range ls.Checkpoints {
		if c.Loss != nil && (best.Loss == nil || *c.Loss < *best.Loss) {
			best = c
		}
	}
	if best.Loss == nil {
		t.Fatalf("no checkpoint has a validation loss: %+v", ls)
	}
	if step, _ := export(elsewhere, "best", append([]string{"--checkpoint", "best"}, at...)...); step != best.Step {
		t.Errorf("the best checkpoint is of step %d, ls says of %d", step, best.Step)
	}
	var measured struct{ Loss float64 }
	coordinator(t, elsewhere, &measured, append([]string{"eval", run, "--data", filepath.Join(dir, "val.jsonl"), "--checkpoint", "best"}, at...)...)
	if d := measured.Loss - *best.Loss; d > 1e-4 || d < -1e-4 {
		t.Errorf("eval of the best checkpoint says %v, the run %v", measured.Loss, *best.Loss)
	}
	var text struct{ IDs []int }
	coordinator(t, elsewhere, &text, append([]string{"generate", run, "--prompt", "Question: one?\nAnswer: ", "--max-new", "3", "--checkpoint", "newest"}, at...)...)
	if len(text.IDs) == 0 {
		t.Error("a checkpoint generates nothing")
	}

	p.kill("bob")
	p.kill("cleo")
	failed := start(t, elsewhere, "coordinator", append([]string{"export", run, "-o", filepath.Join(dir, "none"), "--checkpoint", "newest"}, at...)...)
	if code, out := failed.exit(t); code != 1 || !strings.Contains(out, "4 distinct pieces are needed") || !strings.Contains(out, "bob") || !strings.Contains(out, "cleo") {
		t.Errorf("with one node of three export ends with %d:\n%s", code, out)
	}
}
