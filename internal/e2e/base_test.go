package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// make base with TEXT pretrains on more than our own lessons, and leaves the base of the tree alone.
func TestABaseIsMadeOfMoreText(t *testing.T) {
	dir, base := t.TempDir(), filepath.Join("..", "..", "examples", "base")
	before := readAll(t, base)
	line := `He said "one \ two" to Bär.`
	write(t, filepath.Join(dir, "notes.txt"), line+"\n\n"+strings.Repeat("word ", 50)+"\n")
	write(t, filepath.Join(dir, "more.jsonl"), `{"question": "One?", "answer": "Two."}`+"\n")
	makeBase := func(text string) ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), "bash", "../../examples/base.sh")
		cmd.Env = append(os.Environ(), "COORDINATOR="+filepath.Join(bin, "coordinator"), "WORK="+filepath.Join(dir, "work"),
			"OUT="+filepath.Join(dir, "out"), "LESSONS=64", "TEXT="+text)
		return cmd.CombinedOutput()
	}
	if said, err := makeBase(filepath.Join(dir, "none.txt")); err == nil || !strings.Contains(string(said), "TEXT: cannot read "+filepath.Join(dir, "none.txt")) {
		t.Errorf("text that is not there: %v, %s", err, said)
	}
	if said, err := makeBase(filepath.Join(dir, "notes.txt") + " " + filepath.Join(dir, "more.jsonl")); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	text, err := os.ReadFile(filepath.Join(dir, "work", "text.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for l := range bytes.Lines(text) {
		var x struct{ Text string }
		if err := json.Unmarshal(l, &x); err != nil || len(x.Text) > 120 {
			t.Errorf("%s: %v", l, err)
		}
		got = append(got, x.Text)
	}
	if len(got) != 4 || got[0] != line || strings.Join(got[1:], " ") != strings.TrimSpace(strings.Repeat("word ", 50)) {
		t.Errorf("the text became %q", got)
	}
	if card, err := os.ReadFile(filepath.Join(dir, "out", "README.md")); err != nil || !strings.Contains(string(card), "more.jsonl") {
		t.Errorf("the new base does not say that it was made of more.jsonl (%v)", err)
	}
	for name, was := range before {
		if now := readAll(t, base)[name]; now != was {
			t.Errorf("%s of the tree's base changed", name)
		}
		if name == "model.safetensors" && readAll(t, filepath.Join(dir, "out"))[name] == was {
			t.Error("the new base is the tree's")
		}
	}
}

// readAll are the files of a directory.
func readAll(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(text)
	}
	return files
}
