package sharding

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what the tests expect from what they get")

// Every file of testdata/hostile is refused, and expect.txt says with what words.
func TestHostileFilesAreRefusedWithTheExpectedError(t *testing.T) {
	const dir = "testdata/hostile"
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < 50 {
		t.Fatalf("%d files, %v", len(entries), err)
	}
	var got strings.Builder
	for _, e := range entries {
		if e.Name() == "expect.txt" {
			continue
		}
		path := filepath.Join(dir, e.Name())
		_, err := Index([]string{path})
		if err == nil {
			t.Errorf("%s is accepted", path)
			continue
		}
		if _, _, counted := CountPart([]File{{Path: path, Name: path}}, Part{}); counted == nil || counted.Error() != err.Error() {
			t.Errorf("%s: counting says %v, indexing %v", path, counted, err)
		}
		fmt.Fprintf(&got, "%s\n", strings.ReplaceAll(strings.TrimPrefix(err.Error(), dir+"/"), path, e.Name()))
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

// hostile adds the files with an ending to what a fuzzer begins with.
func hostile(f *testing.F, ending string) {
	f.Helper()
	paths, err := filepath.Glob("testdata/hostile/*" + ending)
	if err != nil || len(paths) == 0 {
		f.Fatalf("%d files, %v", len(paths), err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
}
