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

// Sizes come from a file: none may overflow, or be taken for memory to set aside.
func TestSizesThatNoWeightHasAreRefused(t *testing.T) {
	for _, c := range []Change{
		{Rows: 0, Cols: 4, Form: Sparse},
		{Rows: -4, Cols: -4, Form: Sparse},
		{Rows: 1 << 31, Cols: 1 << 33, Form: Sparse},
		{Rows: 1 << 32, Cols: 1 << 32, Form: Columns},
		{Rows: 1 << 16, Cols: 1<<16 + 1, Form: Rows},
		{Rows: 4, Cols: 4, Form: Factors, Rank: 1 << 62},
		{Rows: 4, Cols: 4, Form: Factors},
	} {
		if c.check() == nil {
			t.Errorf("(%d, %d) of rank %d, %s: no error", c.Rows, c.Cols, c.Rank, c.Form)
		}
	}
}
