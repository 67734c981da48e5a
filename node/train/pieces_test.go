package train

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/view"
)

// A node that has worked for many runs speaks of the last of them: one of these may have to go on.
func TestANodeWithManyCheckpointsSpeaksOfItsLastRuns(t *testing.T) {
	home := t.TempDir()
	keep := func(run string, steps uint64, changed time.Time) {
		dir := piecesDir(home, run, "ada")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for step := range steps {
			name := checkpoints.PieceID{Step: step + 1, Data: 2}.String()
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chtimes(dir, changed, changed); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	keep("another-a", maxKept, now.Add(-time.Hour))
	keep("the-last", 2, now)
	m := NewMember(Config{Home: home, Node: view.NodeID{Name: "ada"}, Log: slog.New(slog.DiscardHandler)})
	all := m.kept()
	if len(all) != maxKept {
		t.Fatalf("it speaks of %d checkpoints, want %d", len(all), maxKept)
	}
	for i, k := range all[:3] {
		if want := []string{"the-last", "the-last", "another-a"}[i]; k.Run != want || len(k.Pieces) != 1 {
			t.Errorf("checkpoint %d is %v, want one of run %s", i, k, want)
		}
	}
}
