package adapter

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
)

// Whatever a file holds, reading it is an error or gives a delta that can be written, and applied to no base but its own.
func FuzzRead(f *testing.F) {
	for _, c := range []methods.Config{configs()[0], configs()[2], configs()[6]} {
		delta, _ := trained(f, c, model.BF16, 1)
		path := filepath.Join(f.TempDir(), "x")
		if err := delta.Write(path); err != nil {
			f.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		f.Add(text[:len(text)/2])
	}
	w := base(f, model.BF16)
	hash := Hash(w)
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		if u, err := ReadUndo(path); err == nil && u.Revert(w) == nil && u.Base != hash {
			t.Fatal("an undo file of another base was applied")
		}
		d, err := Read(path)
		if err != nil {
			return
		}
		if err := d.Write(path); err != nil {
			t.Fatalf("a delta that was read cannot be written: %v", err)
		}
		if _, err := Apply(w, Weighted{d, 0}); err == nil && d.Base != hash {
			t.Fatal("a delta of another base was applied")
		}
		if Hash(w) != hash {
			w = base(t, model.BF16) // a delta of this base with other values is a good one
		}
	})
}
