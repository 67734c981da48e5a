package cpu

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestGeneratedFilesAreCurrent runs the generator and compares: nobody edits its output by hand or forgets to run it.
func TestGeneratedFilesAreCurrent(t *testing.T) {
	dir := t.TempDir()
	run := exec.Command("go", "-C", "../../tools/kernelgen", "run", ".", dir)
	run.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOARCH=", "GOOS=")
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("run the generator: %v\n%s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("the generator wrote %d files: %v", len(files), err)
	}
	for _, f := range files {
		want, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Base(f))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what tools/kernelgen writes: run 'make kernels'", filepath.Base(f))
		}
	}
}
