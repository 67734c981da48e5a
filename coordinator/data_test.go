package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/model"
)

// call runs a command in this process and returns its standard output.
func call(t *testing.T, cmd *cobra.Command, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(t.Output())
	cmd.SetArgs(args)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// lastJSON reads the last line of a command's output, which with --json is one object.
func lastJSON(t *testing.T, out string, v any) {
	t.Helper()
	lines := strings.Split(strings.TrimRight(out, "\n"), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), v); err != nil {
		t.Fatalf("last line %q: %v", lines[len(lines)-1], err)
	}
}

// tinyModel writes the demo's shape with fresh weights.
func tinyModel(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tiny")
	if _, err := call(t, newModelCmd(), "new", "--preset", "tiny", "-o", dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(content)
	}
	return all
}

func TestModelNewWritesTheSameBytesEachTimeAndTheyLoad(t *testing.T) {
	first, second := tinyModel(t), tinyModel(t)
	a, b := contents(t, first), contents(t, second)
	if len(a) != 4 || len(b) != 4 {
		t.Errorf("got %d and %d files, want config.json, model.safetensors, tokenizer.json, tokenizer_config.json", len(a), len(b))
	}
	for name := range a {
		if a[name] != b[name] {
			t.Errorf("%s: two calls differ", name)
		}
	}
	w, err := model.Load(first)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.Params[0].DType; got != model.BF16 {
		t.Errorf("weights are in %v, want BF16", got)
	}
}

func TestModelNewLeavesADirectoryAloneThatHoldsSomething(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.txt"), []byte("years of work"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := call(t, newModelCmd(), "new", "--preset", "tiny", "-o", dir); err == nil {
		t.Error("no error")
	}
	if got := contents(t, dir); len(got) != 1 {
		t.Errorf("directory holds %d files, want the one that was there", len(got))
	}
}

func TestModelNewRefusesWhatItDoesNotKnow(t *testing.T) {
	out := filepath.Join(t.TempDir(), "m")
	for _, args := range [][]string{
		{"--preset", "gpt-9"},
		{"--preset", "tiny", "--dtype", "int4"},
		{"--preset", "tiny", "--text", filepath.Join(t.TempDir(), "none.txt")},
	} {
		_, err := call(t, newModelCmd(), append([]string{"new", "-o", out}, args...)...)
		if code := config.ExitCode(err); code != config.ExitUsage {
			t.Errorf("%v: exit code %d (%v), want %d", args, code, err, config.ExitUsage)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%v: something was written", args)
		}
	}
}

func TestDataCheckSaysWhichTokensAreLearned(t *testing.T) {
	base := tinyModel(t)
	file := filepath.Join(t.TempDir(), "two.jsonl")
	lines := `{"question":"2 +3","answer":"5"}` + "\n\n" + `{"text":"2+3=5"}` + "\n"
	if err := os.WriteFile(file, []byte(lines), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := call(t, newDataCmd(), "check", file, "--model", base)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{file + ":1", "Answer: »5<|endoftext|>«", file + ":3", "2»+3=5«"} {
		if !strings.Contains(out, want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
	out, err = call(t, newDataCmd(), "check", file, "--model", base, "--json")
	if err != nil {
		t.Fatal(err)
	}
	var got checkedData
	lastJSON(t, out, &got)
	if len(got.Samples) != 2 || got.Samples[1].Where != file+":3" {
		t.Errorf("got %+v, want two samples, the second of line 3", got)
	}
	if got.Tokens != 18 || got.Longest != 13 {
		t.Errorf("got %d tokens, the longest sample of %d, want 18 and 13", got.Tokens, got.Longest)
	}
	if want := []bool{false, true, true, true, true}; !slices.Equal(got.Samples[1].Counted, want) {
		t.Errorf("counted %v, want %v", got.Samples[1].Counted, want)
	}
	if n := len(got.Samples[0].IDs); n != len(got.Samples[0].Counted) || !got.Samples[0].Counted[n-1] || got.Samples[0].IDs[n-1] != 0 {
		t.Errorf("got %+v, want a learned end of text", got.Samples[0])
	}
}

func TestDataCheckNamesFileAndLineOfWhatItCannotRead(t *testing.T) {
	base := tinyModel(t)
	file := filepath.Join(t.TempDir(), "broken.jsonl")
	if err := os.WriteFile(file, []byte(`{"text":"fine"}`+"\n"+`{"text":"cut off`+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := call(t, newDataCmd(), "check", file, "--model", base); err == nil || !strings.Contains(err.Error(), "broken.jsonl:2") {
		t.Errorf("got %v, want an error naming broken.jsonl:2", err)
	}
}

func TestDrillsAppearWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "train.jsonl")
	if _, err := call(t, newDataCmd(), "drills", "--task", "train", "--count", "20", "-o", file); err != nil {
		t.Fatal(err)
	}
	out, err := call(t, newDataCmd(), "drills", "--task", "train", "--count", "20")
	if err != nil {
		t.Fatal(err)
	}
	if all := contents(t, dir); len(all) != 1 || all["train.jsonl"] != out {
		t.Errorf("got %d files, want train.jsonl alone, equal to what goes to standard output", len(all))
	}
	for _, args := range [][]string{{"--task", "poems", "--count", "1"}, {"--task", "train", "--count", "0"}} {
		_, err := call(t, newDataCmd(), append([]string{"drills", "-o", file}, args...)...)
		if code := config.ExitCode(err); code != config.ExitUsage {
			t.Errorf("%v: exit code %d, want %d", args, code, config.ExitUsage)
		}
	}
	if all := contents(t, dir); all["train.jsonl"] != out {
		t.Error("a refused call changed the file")
	}
}
