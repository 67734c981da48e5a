package model_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/torctrain/torc/model"
)

var update = flag.Bool("update", false, "write what the tests expect from what they get")

// Every model below testdata/hostile is refused, by its headers as well as when it is loaded, and expect.txt says with what words.
func TestHostileModelsAreRefusedWithTheExpectedError(t *testing.T) {
	const dir = "testdata/hostile"
	paths, err := filepath.Glob(dir + "/*")
	if err != nil || len(paths) < 40 {
		t.Fatalf("%d models, %v", len(paths), err)
	}
	var got strings.Builder
	for _, path := range paths {
		path = filepath.Clean(path)
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			continue
		}
		_, _, checked := model.Check(path)
		_, loaded := model.Load(path)
		if checked == nil || loaded == nil {
			t.Errorf("%s: looking at it says %v, loading %v", path, checked, loaded)
			continue
		}
		if checked.Error() != loaded.Error() {
			t.Errorf("%s: looking at it says %v, loading %v", path, checked, loaded)
		}
		fmt.Fprintf(&got, "%s: %s\n", filepath.Base(path), strings.ReplaceAll(checked.Error(), path, "DIR"))
	}
	expect := filepath.Join(dir, "expect.txt")
	if *update {
		if err := os.WriteFile(expect, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(expect)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("errors are\n%s\nwant\n%s", got.String(), want)
	}
}
