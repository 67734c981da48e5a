package train

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
)

// badDisk is a real directory that calls before at each operation; an error is what the operation fails with.
type badDisk struct {
	checkpoints.Disk
	before func(op, name string) error
}

func (d badDisk) MkdirAll(dir string) error {
	return errors.Join(d.before("mkdir", dir), d.Disk.MkdirAll(dir))
}

func (d badDisk) Create(name string) (checkpoints.File, error) {
	if err := d.before("create", name); err != nil {
		return nil, err
	}
	f, err := d.Disk.Create(name)
	return badFile{f, d, name}, err
}

func (d badDisk) Rename(from, to string) error {
	if err := d.before("rename", to); err != nil {
		return err
	}
	return d.Disk.Rename(from, to)
}

func (d badDisk) SyncDir(dir string) error {
	if err := d.before("syncdir", dir); err != nil {
		return err
	}
	return d.Disk.SyncDir(dir)
}

type badFile struct {
	checkpoints.File
	disk badDisk
	name string
}

func (f badFile) Write(b []byte) (int, error) {
	if err := f.disk.before("write", f.name); err != nil {
		return 0, err
	}
	return f.File.Write(b)
}

func (f badFile) Sync() error {
	if err := f.disk.before("sync", f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

// savedState is some state of a step.
func savedState(step uint64) *checkpoints.State {
	s := &checkpoints.State{Spec: [32]byte{1}, Step: step}
	for i := range 12_000 {
		s.Theta = append(s.Theta, float32(i)+float32(step))
	}
	s.M, s.V = append([]float32(nil), s.Theta...), append([]float32(nil), s.Theta...)
	return s
}

// reported is what a member said has become durable.
func reported(name string, p *pb.Saved) checkpoints.Saved {
	s := checkpoints.Saved{Holder: checkpoints.Holder{Name: name}, Spec: [32]byte(p.Spec), Step: p.Step, Data: int(p.Data)}
	s.Digest, s.Size = [32]byte(p.Digest), p.Size
	for _, q := range p.Pieces {
		s.Pieces = append(s.Pieces, checkpoints.Piece{Index: int(q.Index), Sum: [32]byte(q.Sha256)})
	}
	return s
}

// play has a member keep the states of two steps with their manifests, and begin a third. It returns what was reported.
func play(home string, disk checkpoints.FS) []*pb.Saved {
	cfg := checkpoints.Default()
	cfg.Data = 2
	s := newSaver(&Config{Home: home, Disk: disk, Node: view.NodeID{Name: "ada"}}, "r", [32]byte{1}, cfg, slog.New(slog.DiscardHandler), func() {})
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() { s.serve(ctx) })
	for step := uint64(1); step <= 3; step++ {
		s.take(ctx, savedState(step), Totals{}, []int{0, 1, 2})
		s.settle(ctx)
		b := &pb.Beat{}
		s.again()
		s.report(b)
		if n := len(b.Saved); step < 3 && n > 0 && b.Saved[n-1].Step == step {
			if m, err := checkpoints.Commit("r", 0, nil, []checkpoints.Saved{reported("ada", b.Saved[n-1])}); err == nil {
				text, _ := m.Bytes()
				s.committed(text)
				done := make(chan struct{})
				s.do(func(context.Context, *checkpoints.Store) { close(done) })
				<-done
			}
		}
	}
	cancel()
	serving.Wait()
	b := &pb.Beat{}
	s.again()
	s.report(b)
	return b.Saved
}

// sound loads every checkpoint that home has a manifest of, and returns the newest step; 0 when there is none.
func sound(t *testing.T, home string) (newest uint64) {
	t.Helper()
	cfg := checkpoints.Default()
	cfg.Data = 2
	store, err := checkpoints.OpenStore(checkpoints.Disk{}, piecesDir(home, "r", "ada"), [32]byte{1}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	all, err := store.Manifests()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		s, err := checkpoints.Load(t.Context(), m, store)
		if err != nil {
			t.Fatalf("a manifest of step %d is there, and its pieces do not load: %v", m.Step, err)
		}
		if s.Digest() != savedState(m.Step).Digest() {
			t.Errorf("step %d loads as another state", m.Step)
		}
		newest = max(newest, m.Step)
	}
	return newest
}

// protocol.md I5: whatever operation of the disk fails, once or from then on, what was reported as saved is there, every manifest
// that is there loads, and the saver goes on.
func TestSaverSurvivesEveryFailureOfItsDisk(t *testing.T) {
	total := 0
	play(t.TempDir(), badDisk{before: func(string, string) error { total++; return nil }})
	if total < 20 {
		t.Fatalf("only %d operations to fail", total)
	}
	for _, forever := range []bool{false, true} {
		for fail := 1; fail <= total; fail += 1 {
			n, home := 0, t.TempDir()
			saved := play(home, badDisk{before: func(op, name string) error {
				if n++; n == fail || forever && n > fail {
					return fmt.Errorf("%s %s: %w", op, filepath.Base(name), syscall.ENOSPC)
				}
				return nil
			}})
			newest := sound(t, home)
			for _, p := range saved {
				for _, q := range p.Pieces {
					id := checkpoints.PieceID{Step: p.Step, Digest: [32]byte(p.Digest), Data: int(p.Data), Index: int(q.Index)}
					_, err := os.Stat(filepath.Join(piecesDir(home, "r", "ada"), id.String()))
					if err != nil && p.Step+2 > newest {
						t.Errorf("operation %d fails: piece %s was reported and is not there: %v", fail, id, err)
					}
				}
			}
			if !forever && len(saved) < 2 && fail > 1 {
				t.Errorf("operation %d fails once: %d checkpoints were saved, want 2 of 3 at least", fail, len(saved))
			}
		}
	}
}

// killAt is the environment variable by which a test tells itself, as another process, where to die.
const killAt = "TORC_TEST_KILL_AT"

// A process that is killed while it writes pieces, before it makes them last, or between manifest and collection, leaves every
// checkpoint that it had.
func TestSaverSurvivesBeingKilled(t *testing.T) {
	if at := os.Getenv(killAt); at != "" {
		point, home, _ := strings.Cut(at, "@")
		seen := 0
		play(home, badDisk{before: func(op, name string) error {
			manifest := strings.HasSuffix(name, ".manifest")
			switch {
			case point == "writing" && op == "write", point == "renaming" && op == "rename" && !manifest, point == "committing" && op == "rename" && manifest:
				seen++
			}
			if limit := map[string]int{"writing": 18, "renaming": 5, "committing": 2}[point]; seen == limit {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
			return nil
		}})
		return
	}
	for point, want := range map[string]uint64{"writing": 1, "renaming": 1, "committing": 1} {
		t.Run(point, func(t *testing.T) {
			home := t.TempDir()
			cmd := exec.Command(os.Args[0], "-test.run=^TestSaverSurvivesBeingKilled$")
			cmd.Env = append(os.Environ(), killAt+"="+point+"@"+home)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("the process ended with %v, want that it is killed\n%s", err, out)
			}
			if got := sound(t, home); got < want {
				t.Errorf("newest checkpoint is of step %d, want at least %d", got, want)
			}
			play(home, checkpoints.Disk{})
			if got := sound(t, home); got != 2 {
				t.Errorf("after another start the newest checkpoint is of step %d, want 2", got)
			}
		})
	}
}

// Pieces at members are cut without a byte on the wire, and one member's disk takes (data+parity)/data/P of the state.
func TestEachMemberWritesItsShareAlone(t *testing.T) {
	const members = 3
	v := &view.View{Run: "r"}
	for _, n := range []string{"a", "b", "c"} {
		v.Members = append(v.Members, view.Member{Node: view.NodeID{Name: n}})
	}
	state := savedState(1)
	var whole int64
	for rank := range members {
		home := t.TempDir()
		s := newSaver(&Config{Home: home, Disk: checkpoints.Disk{}, Node: v.Members[rank].Node}, "r", [32]byte{1}, checkpoints.Default(), slog.New(slog.DiscardHandler), func() {})
		ctx, cancel := context.WithCancel(t.Context())
		var serving sync.WaitGroup
		serving.Go(func() { s.serve(ctx) })
		indices, err := s.place(v, rank)
		if err != nil {
			t.Fatal(err)
		}
		s.take(ctx, state, Totals{}, indices)
		s.settle(ctx)
		cancel()
		serving.Wait()
		files, err := filepath.Glob(filepath.Join(s.dir, "*.piece"))
		if err != nil {
			t.Fatal(err)
		}
		var own int64
		for _, f := range files {
			info, err := os.Stat(f)
			if err != nil {
				t.Fatal(err)
			}
			own += info.Size()
		}
		if share := float64(own) / 144_000 * members / (6.0 / 4); share < 0.99 || share > 1.02 {
			t.Errorf("%s wrote %d bytes, %.3f of its share", s.node, own, share)
		}
		whole += own
	}
	if whole == 0 {
		t.Error("nothing was written")
	}
}
