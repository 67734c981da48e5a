package checkpoints

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const storeDir = "/run"

func openStore(t testing.TB, fsys FS, c Config) *Store {
	t.Helper()
	s, err := OpenStore(fsys, storeDir, [32]byte{7}, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// checkpoint saves 4+2 pieces of st in s and commits them.
func checkpoint(t testing.TB, s *Store, st *State) (*Manifest, error) {
	saved, err := s.Save(t.Context(), st, indices(6))
	if err != nil {
		return nil, err
	}
	saved.Holder.Name = "a"
	m, err := Commit("drill", 0, nil, []Saved{*saved})
	if err != nil {
		t.Fatal(err)
	}
	return m, s.Commit(m)
}

func mustCheckpoint(t testing.TB, s *Store, st *State) *Manifest {
	t.Helper()
	m, err := checkpoint(t, s, st)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// loads fails the test unless the checkpoint of st is committed in s and can be read.
func loads(t *testing.T, s *Store, st *State) {
	t.Helper()
	all, err := s.Manifests()
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(all, func(m *Manifest) bool { return m.Digest == st.Digest() })
	if at < 0 {
		t.Fatalf("step %d is not committed", st.Step)
	}
	got, err := Load(t.Context(), all[at], s)
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest() != st.Digest() {
		t.Fatalf("step %d was read back as another state", st.Step)
	}
}

var errBroken = errors.New("broken disk")

// protocol.md I5. Whichever operation of a save fails, or is the last before the machine or its power fails: the checkpoint
// before stays, what was said to be committed is, and after a restart saving works again.
func TestNoFaultOfASaveHarmsTheCheckpointBefore(t *testing.T) {
	before, after := stateAt(100, 50), stateAt(200, 50)
	whole := newMemFS()
	s := openStore(t, whole, Default())
	mustCheckpoint(t, s, before)
	whole.heal()
	mustCheckpoint(t, s, after)
	ops := slices.Clone(whole.ops)
	if len(ops) < 40 {
		t.Fatalf("a save has only %d operations: %q", len(ops), ops)
	}
	for name, c := range map[string]struct {
		inject func(m *memFS, n int)
		ends   func(m *memFS)
	}{
		"error":                           {func(m *memFS, n int) { m.fail(n, errBroken) }, func(*memFS) {}},
		"full disk":                       {func(m *memFS, n int) { m.fail(n, syscall.ENOSPC) }, func(*memFS) {}},
		"kill":                            {func(m *memFS, n int) { m.die(n, errBroken) }, func(*memFS) {}},
		"power loss":                      {func(m *memFS, n int) { m.die(n, errBroken) }, func(m *memFS) { m.losePower(false) }},
		"power loss after names are kept": {func(m *memFS, n int) { m.die(n, errBroken) }, func(m *memFS) { m.losePower(true) }},
	} {
		t.Run(name, func(t *testing.T) {
			for n := 1; n <= len(ops); n++ {
				m := newMemFS()
				s := openStore(t, m, Default())
				mustCheckpoint(t, s, before)
				c.inject(m, n)
				_, err := checkpoint(t, s, after)
				failed := m.ops[n-1]
				if err == nil && !m.dead && !strings.HasPrefix(failed, "list") && !strings.HasPrefix(failed, "close") {
					t.Errorf("%s (operation %d) went wrong and nobody said so", failed, n)
				}
				if name == "full disk" && strings.HasPrefix(failed, "write") && !strings.Contains(err.Error(), "free space") {
					t.Errorf("%s: error is %v", failed, err)
				}
				if !m.dead && err != nil && !errors.Is(err, ErrNotRemoved) {
					noTemporaries(t, m, failed)
				}
				c.ends(m)
				m.heal()
				s = openStore(t, m, Default())
				loads(t, s, before)
				if err == nil || errors.Is(err, ErrNotRemoved) {
					loads(t, s, after)
				}
				mustCheckpoint(t, s, after)
				loads(t, s, after)
				noTemporaries(t, m, failed)
			}
		})
	}
}

func noTemporaries(t *testing.T, m *memFS, failed string) {
	t.Helper()
	for name := range m.names {
		if strings.Contains(name, tmpPrefix) {
			t.Errorf("%s failing left %s", failed, name)
		}
	}
}

// A load that meets one failing operation uses other pieces, or says that it cannot list them.
func TestLoadSurvivesAnyOneFault(t *testing.T) {
	m := newMemFS()
	s, st := openStore(t, m, Default()), stateAt(100, 50)
	manifest := mustCheckpoint(t, s, st)
	m.heal()
	if _, err := Load(t.Context(), manifest, s); err != nil {
		t.Fatal(err)
	}
	ops := slices.Clone(m.ops)
	for n := range ops {
		m.fail(n+1, errBroken)
		got, err := Load(t.Context(), manifest, s)
		failed := m.ops[n]
		switch {
		case strings.HasPrefix(failed, "list"):
			if !errors.Is(err, errBroken) {
				t.Errorf("%s: error is %v", failed, err)
			}
		case err != nil:
			t.Errorf("%s: error is %v", failed, err)
		case got.Digest() != st.Digest():
			t.Errorf("%s: another state came out", failed)
		}
	}
}

// Retention: the newest stay, and the best; pieces without a manifest go when two newer checkpoints are committed.
func TestOldCheckpointsGo(t *testing.T) {
	m := newMemFS()
	c := Default()
	c.KeepBest = 1
	s := openStore(t, m, c)
	if _, err := s.Save(t.Context(), stateAt(5, 9), []int{1}); err != nil {
		t.Fatal(err)
	}
	want := map[uint64]string{10: "[5 10]", 20: "[10 20]", 30: "[20 30]", 40: "[20 30 40]", 50: "[20 40 50]"}
	for i, step := range []uint64{10, 20, 30, 40, 50} {
		st := stateAt(step, 9)
		saved, err := s.Save(t.Context(), st, indices(6))
		if err != nil {
			t.Fatal(err)
		}
		loss := []float64{3, 1, 2, 4, 5}[i]
		manifest, err := Commit("drill", 0, &loss, []Saved{*saved})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(manifest); err != nil {
			t.Fatal(err)
		}
		steps := map[uint64]bool{}
		ids, err := s.Pieces()
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			steps[id.Step] = true
		}
		if got := fmt.Sprint(slices.Sorted(maps.Keys(steps))); got != want[step] {
			t.Errorf("after step %d there are pieces of %s, want %s", step, got, want[step])
		}
	}
}

// A run that was set back, because newer checkpoints were lost, keeps what it commits.
func TestLatestCommitStaysThoughItIsNotTheNewest(t *testing.T) {
	m := newMemFS()
	s := openStore(t, m, Default())
	mustCheckpoint(t, s, stateAt(200, 9))
	mustCheckpoint(t, s, stateAt(300, 9))
	mustCheckpoint(t, s, stateAt(150, 9))
	loads(t, s, stateAt(150, 9))
	mustCheckpoint(t, s, stateAt(160, 9))
	loads(t, s, stateAt(160, 9))
	loads(t, s, stateAt(300, 9))
	if len(m.names) != 3*7 {
		t.Errorf("there are %d files, want 3 checkpoints of 6 pieces and a manifest", len(m.names))
	}
}

func TestRemovedCheckpointsAreGone(t *testing.T) {
	m := newMemFS()
	s := openStore(t, m, Default())
	old := mustCheckpoint(t, s, stateAt(1, 9))
	mustCheckpoint(t, s, stateAt(2, 9))
	if err := s.Remove(old); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(t.Context(), old, s); err == nil {
		t.Error("it still loads")
	}
	loads(t, s, stateAt(2, 9))
	if len(m.names) != 7 {
		t.Errorf("there are %d files, want 6 pieces and a manifest", len(m.names))
	}
}

func TestStoreOfAnotherRunIsRefused(t *testing.T) {
	m := newMemFS()
	s := openStore(t, m, Default())
	manifest := mustCheckpoint(t, s, stateAt(1, 9))
	if _, err := OpenStore(m, storeDir, [32]byte{8}, Default()); err == nil || !strings.Contains(err.Error(), "directory of its own") {
		t.Errorf("another run's directory: error is %v", err)
	}
	other, err := OpenStore(newMemFS(), storeDir, [32]byte{8}, Default())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Save(t.Context(), stateAt(1, 9), []int{0}); err == nil {
		t.Error("another run's state was saved")
	}
	if err := other.Commit(manifest); err == nil {
		t.Error("another run's manifest was committed")
	}
	if _, err := other.Rebuild(t.Context(), manifest, 0, s); err == nil {
		t.Error("another run's piece was rebuilt")
	}
}

func TestStoreWorksOnDisk(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStore(Disk{}, dir+"/a/b", [32]byte{7}, Default())
	if err != nil {
		t.Fatal(err)
	}
	st := stateAt(3, 100_000)
	for range 2 { // again over what is there
		mustCheckpoint(t, s, st)
		if s, err = OpenStore(Disk{}, dir+"/a/b", [32]byte{7}, Default()); err != nil {
			t.Fatal(err)
		}
		loads(t, s, st)
	}
}

func TestConfigsAreChecked(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	for field, change := range map[string]func(c *Config){
		"every is -1":      func(c *Config) { c.Every = -1 },
		"keep is 1":        func(c *Config) { c.Keep = 1 },
		"keep_best is -1":  func(c *Config) { c.KeepBest = -1 },
		"data is 65":       func(c *Config) { c.Data = 65 },
		"data is 0":        func(c *Config) { c.Data = 0 },
		`parity is "some"`: func(c *Config) { c.Parity = "some" },
		`parity is "-1"`:   func(c *Config) { c.Parity = "-1" },
		`parity is ""`:     func(c *Config) { c.Parity = "" },
	} {
		c := Default()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "checkpoint."+field) {
			t.Errorf("%s: error is %v", field, err)
		}
	}
	for parity, want := range map[string]string{"auto": "[0 0 1 1 2 2 3 3 4 4]", "2": "[0 0 1 2 2 2 2 2 2 2]", "0": "[0 0 0 0 0 0 0 0 0 0]"} {
		c := Default()
		c.Parity = parity
		var got []int
		for n := range 10 {
			got = append(got, c.Losses(n))
		}
		if fmt.Sprint(got) != want {
			t.Errorf("parity %s: %v of 0 to 9 members may be lost, want %s", parity, got, want)
		}
	}
	if c := Default(); c.Due(0) || c.Due(99) || !c.Due(100) || !c.Due(200) || (Config{}).Due(0) {
		t.Error("checkpoints are due at wrong steps")
	}
}
