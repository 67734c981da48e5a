package durable

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

var errBroken = errors.New("broken")

// files are the names and texts of the files below dir, with those of passing names.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		all[filepath.ToSlash(name)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func want(t *testing.T, dir string, all map[string]string) {
	t.Helper()
	got := files(t, dir)
	for name, text := range all {
		if got[name] != text {
			t.Errorf("%s is %q, want %q", name, got[name], text)
		}
	}
	if len(got) != len(all) {
		t.Errorf("there are %q, want %q", got, all)
	}
}

func TestAFileIsReplacedWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	err := Write(path, 0o644, func(w io.Writer) error {
		_, err := io.WriteString(w, "ne")
		want(t, dir, map[string]string{"f": "old", filepath.Base(w.(*os.File).Name()): "ne"})
		return errors.Join(err, errBroken)
	})
	if !errors.Is(err, errBroken) {
		t.Errorf("error %v", err)
	}
	want(t, dir, map[string]string{"f": "old"})
	if err := WriteFile(path, []byte("new"), 0o644); err != nil {
		t.Fatal(err)
	}
	want(t, dir, map[string]string{"f": "new"})
	if err := WriteFile(filepath.Join(dir, "none", "f"), nil, 0o644); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("where there is no directory: %v", err)
	}
}

func TestADirectoryAppearsWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "d")
	fill := func(err error) func(string) error {
		return func(dir string) error {
			return errors.Join(WriteFile(filepath.Join(dir, "f"), []byte("text"), 0o644), err)
		}
	}
	if err := WriteDir(path, fill(errBroken)); !errors.Is(err, errBroken) {
		t.Errorf("error %v", err)
	}
	want(t, dir, nil)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("half a directory is there: %v", err)
	}
	if err := os.Mkdir(path, 0o755); err != nil { // empty, which is free
		t.Fatal(err)
	}
	if err := WriteDir(path+string(filepath.Separator), fill(nil)); err != nil {
		t.Fatal(err)
	}
	want(t, dir, map[string]string{"a/d/f": "text"})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("%v, %v", info, err)
	}
	if err := WriteDir(path, fill(errBroken)); err == nil || errors.Is(err, errBroken) {
		t.Errorf("a directory that has something is written to: %v", err)
	}
	want(t, dir, map[string]string{"a/d/f": "text"})
	if err := CheckFree(filepath.Join(path, "f")); err == nil {
		t.Error("a file is taken for a free directory")
	}
}
