package files_test

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/torctrain/torc/internal/files"
)

func TestOnlyTheRightContentEntersTheStore(t *testing.T) {
	s := files.Store{Dir: t.TempDir()}
	sum := sha256.Sum256([]byte("weights"))
	for _, wrong := range []string{"weightz", "weight", "weights and more", ""} {
		if _, err := s.Add(sum[:], 7, strings.NewReader(wrong)); err == nil {
			t.Errorf("Add took %q", wrong)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(s.Dir, "*", "*")); len(left) != 0 {
		t.Errorf("refused files left %v", left)
	}
	path, err := s.Add(sum[:], 7, strings.NewReader("weights"))
	if err != nil {
		t.Fatal(err)
	}
	got, found, err := s.Find(sum[:], 7, "")
	if err != nil || !found || got != path {
		t.Errorf("Find = %q, %v, %v, want %q", got, found, err, path)
	}
}

func TestAddRemovesWhatKilledProcessesLeft(t *testing.T) {
	s := files.Store{Dir: filepath.Join(t.TempDir(), "[cache]*")} // no pattern
	sum := sha256.Sum256([]byte("weights"))
	kept, err := s.Add(sum[:], 7, strings.NewReader("weights"))
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-25 * time.Hour)
	dead, alive := filepath.Join(s.Dir, "00", "incoming-1"), filepath.Join(s.Dir, "ff", "incoming-2")
	for _, path := range []string{dead, alive} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("wei"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{dead, kept} {
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	other := sha256.Sum256([]byte("data"))
	if _, err := s.Add(other[:], 4, strings.NewReader("data")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{dead: false, alive: true, kept: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", path, err == nil, want)
		}
	}
}

func TestHintCountsOnlyWhileItsContentIsRight(t *testing.T) {
	s := files.Store{Dir: t.TempDir()}
	hint := filepath.Join(t.TempDir(), "train.jsonl")
	sum := sha256.Sum256([]byte("data"))
	for content, want := range map[string]bool{"data": true, "date": false} {
		if err := os.WriteFile(hint, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, found, err := s.Find(sum[:], 4, hint); err != nil || found != want {
			t.Errorf("hint with %q: found %v, %v, want %v", content, found, err, want)
		}
	}
	if _, found, err := s.Find(sum[:], 4, filepath.Join(t.TempDir(), "gone")); err != nil || found {
		t.Errorf("missing hint: found %v, %v", found, err)
	}
}

func TestLayOutRefusesNamesThatLeaveTheDirectory(t *testing.T) {
	for _, name := range []string{"../x", "a/b", "..", "."} {
		if err := files.LayOut(t.TempDir(), map[string]string{name: "/dev/null"}); err == nil {
			t.Errorf("LayOut took the name %q", name)
		}
	}
}
