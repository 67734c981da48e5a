package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/torctrain/torc/checkpoints"
)

func TestAStateThatTheDiskHasChangedIsNoResult(t *testing.T) {
	dir := t.TempDir()
	if _, err := readFinal(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a State: %v", err)
	}
	s := &checkpoints.State{Step: 7, Theta: []float32{1, 2}, M: make([]float32, 2), V: make([]float32, 2)}
	var text bytes.Buffer
	if _, err := s.WriteTo(&text); err != nil {
		t.Fatal(err)
	}
	put := func(name string, text []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	read := func(want string) {
		t.Helper()
		got, err := readFinal(dir)
		if want == "" && (err != nil || got.Digest() != s.Digest()) {
			t.Errorf("the State comes back otherwise, %v", err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	put("state", text.Bytes())
	read("")
	put("result.json", fmt.Appendf(nil, `{"digest":"%x"}`, s.Digest()))
	read("")
	put("state", bytes.Replace(text.Bytes(), []byte{0, 0, 0x80, 0x3f}, []byte{0, 0, 0x81, 0x3f}, 1)) // 1 → 1.0078125
	read("the disk has changed it")
	put("result.json", []byte("{"))
	read("result.json")
}
