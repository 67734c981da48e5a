package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/torctrain/torc/internal/pb"
)

// A stopped run goes on with other members where it was stopped; a flipped bit and a lost piece are found, named and mended;
// what is removed is gone.
func TestCheckpointsAreTendedAndResumed(t *testing.T) {
	p := newPower(t)
	dir := workplace(t, p.home)
	p.on("ada", "bob", "cleo")
	set := []string{"--set", "steps=60", "--set", "checkpoint.every=10", "--set", "validate.every=10", "--set", "checkpoint.keep_best=1"}
	launch := start(t, p.home, "coordinator", append([]string{"launch", filepath.Join(dir, "spec.yaml"), "--coordinator", p.addr, "--insecure"}, set...)...)
	run := launch.await(t, `run (\S+) is`)[1]
	p.committed(run, 10)
	at := []string{"--coordinator", p.addr, "--insecure"}
	if _, err := p.conn.Stop(t.Context(), &pb.StopRequest{Run: run}); err != nil {
		t.Fatal(err)
	}
	stopped := p.follow(run, func(e *pb.RunEvent) bool { return e.Info.State == pb.RunState_RUN_STOPPED })

	var ls struct {
		Checkpoints []struct {
			Step   uint64
			Pieces int
			Losses int
			Loss   *float64
		}
	}
	coordinator(t, p.home, &ls, append([]string{"checkpoints", "ls", run}, at...)...)
	if len(ls.Checkpoints) < 2 || ls.Checkpoints[0].Step != stopped.Step || ls.Checkpoints[0].Pieces != 6 || ls.Checkpoints[0].Losses != 1 {
		t.Errorf("ls says %+v after a stop at step %d", ls, stopped.Step)
	}

	pieces, err := filepath.Glob(filepath.Join(p.disks["ada"], "runs", run, "checkpoints", "ada", "*.piece"))
	if err != nil || len(pieces) < 2 {
		t.Fatalf("ada has pieces %v, %v", pieces, err)
	}
	text, err := os.ReadFile(pieces[0])
	if err != nil {
		t.Fatal(err)
	}
	flipped := append([]byte(nil), text...)
	flipped[len(text)/2] ^= 4
	write(t, pieces[0], string(flipped))
	if err := os.Remove(pieces[1]); err != nil {
		t.Fatal(err)
	}
	var verify struct {
		Nodes []struct {
			Node            string
			Damaged, Mended []string
		}
		Unmended int
	}
	coordinatorFails(t, p.home, append([]string{"checkpoints", "verify", run}, at...)...)
	coordinator(t, p.home, &verify, append([]string{"checkpoints", "scrub", run}, at...)...)
	if verify.Unmended != 0 || len(verify.Nodes) != 3 || len(verify.Nodes[0].Mended) != 2 {
		t.Errorf("scrub says %+v", verify)
	}
	if again, err := os.ReadFile(pieces[0]); err != nil || string(again) != string(text) {
		t.Errorf("a mended piece differs from what it was: %v", err)
	}
	coordinator(t, p.home, &verify, append([]string{"checkpoints", "verify", run}, at...)...)

	p.kill("bob")
	p.join("dora")
	if _, err := p.ckpt.Resume(t.Context(), &pb.ResumeRequest{Run: run}); err != nil {
		t.Fatal(err)
	}
	if got, want := p.finished(run), alone(t, dir, set); got != want {
		t.Errorf("digest is %s, undisturbed %s; resumed after step %d", got, want, stopped.Step)
	}
	coordinator(t, p.home, &verify, append([]string{"checkpoints", "rm", run, "--all"}, at...)...)
	if left, err := filepath.Glob(filepath.Join(p.disks["ada"], "runs", run, "checkpoints", "ada", "*.manifest")); err != nil || len(left) != 0 {
		t.Errorf("after rm ada still has %v, %v", left, err)
	}
}

func coordinatorFails(t *testing.T, home string, args ...string) {
	t.Helper()
	p := start(t, home, "coordinator", args...)
	if code, out := p.exit(t); code == 0 {
		t.Errorf("coordinator %v did not fail:\n%s", args, out)
	}
}
