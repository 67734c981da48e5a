package pages

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

var (
	fuzzRow  = regexp.MustCompile("(?m)^\\|.*\\| `([a-z/]+)` \\| `(Fuzz[A-Za-z]+)` \\|$")
	fuzzFunc = regexp.MustCompile(`(?m)^func (Fuzz[A-Za-z]+)\(`)
)

// TestSecurityTellsOfEveryFuzzer holds the table of docs/security.md to the fuzzers that there are: all that it names, and all
// of the packages that read what others send.
func TestSecurityTellsOfEveryFuzzer(t *testing.T) {
	text, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	facing := map[string]bool{
		"allreduce": true, "coordinator/control": true, "internal/cluster": true, "internal/trust": true, "node/train": true, "checkpoints": true,
	}
	told := map[string]map[string]bool{}
	for _, m := range fuzzRow.FindAllStringSubmatch(string(text), -1) {
		if told[m[1]] == nil {
			told[m[1]] = map[string]bool{}
		}
		told[m[1]][m[2]] = true
		facing[m[1]] = true
	}
	for dir := range facing {
		files, err := filepath.Glob(filepath.Join("../..", dir, "*_test.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no tests in %s: %v", dir, err)
		}
		there := map[string]bool{}
		for _, name := range files {
			source, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range fuzzFunc.FindAllStringSubmatch(string(source), -1) {
				there[m[1]] = true
			}
		}
		for name := range told[dir] {
			if !there[name] {
				t.Errorf("docs/security.md tells of %s in %s, which does not exist", name, dir)
			}
		}
		for name := range there {
			if !told[dir][name] {
				t.Errorf("docs/security.md does not tell of %s in %s", name, dir)
			}
		}
	}
}
