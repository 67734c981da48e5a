package cache

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/torctrain/torc/methods"
)

var _ methods.Cache = Dir("")

func TestWhatIsPutCanBeGot(t *testing.T) {
	d := Dir(filepath.Join(t.TempDir(), "deep", "down"))
	a, b := [32]byte{1}, [32]byte{1, 2}
	if _, ok := d.Get(a); ok {
		t.Error("an empty directory has a value")
	}
	d.Put(a, []byte("one"))
	d.Put(b, nil)
	d.Put(a, []byte("another"))
	if v, ok := d.Get(a); !ok || string(v) != "another" {
		t.Errorf("value is %q, %v", v, ok)
	}
	if v, ok := d.Get(b); !ok || len(v) != 0 {
		t.Errorf("empty value is %q, %v", v, ok)
	}
}

func TestNothingIsKeptWhereNothingCanBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, d := range []Dir{"", Dir(file)} {
		d.Put([32]byte{}, []byte("x"))
		if _, ok := d.Get([32]byte{}); ok {
			t.Errorf("%q: kept a value", d)
		}
	}
}

func TestReadersSeeWholeValues(t *testing.T) {
	d, key := Dir(t.TempDir()), [32]byte{7}
	values := [][]byte{bytes.Repeat([]byte{1}, 1<<16), bytes.Repeat([]byte{2}, 1<<15)}
	var wait sync.WaitGroup
	for _, v := range values {
		wait.Go(func() {
			for range 20 {
				d.Put(key, v)
			}
		})
	}
	for range 200 {
		if v, ok := d.Get(key); ok && !bytes.Equal(v, values[0]) && !bytes.Equal(v, values[1]) {
			t.Fatalf("read %d bytes of no value", len(v))
		}
	}
	wait.Wait()
	left, err := filepath.Glob(filepath.Join(string(d), "*", ".put-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("temporary files %v (%v) are left", left, err)
	}
}
