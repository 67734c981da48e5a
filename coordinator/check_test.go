package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/torctrain/torc/internal/config"
)

// put writes files below dir.
func put(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

const oddRows = `{"q":"2 +3","a":"5","id":1}
{"q":"2 +3","a":"5","id":2}
{"q":"1+1 \u001b[31m","a":" "}
{"problem":"none"}
`

func TestDataCheckNamesWhatIsOdd(t *testing.T) {
	base, dir := tinyModel(t), t.TempDir()
	put(t, dir, map[string]string{"odd.jsonl": oddRows})
	file := filepath.Join(dir, "odd.jsonl")
	args := []string{"check", file, "--model", base, "--columns", "question=q,answer=a", "--color", "always", "--max-tokens", "12"}
	out, err := call(t, newDataCmd(), args...)
	if err == nil || !strings.Contains(err.Error(), `odd.jsonl:4: has no "a"`) || !strings.Contains(err.Error(), "1 row is no sample: correct") {
		t.Errorf("a bad row: %v", err)
	}
	for _, want := range []string{
		"Answer: \x1b[1;32m5", "1 sample has the tokens of one before\n  " + file + ":2 is " + file + ":1\n", "1 answer is empty\n  " + file + ":3\n",
		"samples are cut\n", "tokens of a sample: shortest", "1 row is no sample\n  " + file + ":4: has no",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("output lacks %q:\n%q", want, out)
		}
	}
	if strings.Contains(out, "\x1b[31m") {
		t.Error("data can steer the terminal")
	}
	out, err = call(t, newDataCmd(), append(args, "--skip-bad", "--json")...)
	if err != nil {
		t.Fatal(err)
	}
	var got checkedData
	lastJSON(t, out, &got)
	if len(got.Samples) != 3 || got.BadRows != 1 || got.Duplicates != 1 || got.Empty != 1 || got.Places["empty"][0] != file+":3" {
		t.Errorf("%+v", got.Summary)
	}
}

func TestDataCheckTakesASpec(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, map[string]string{
		"odd.jsonl": oddRows,
		"run.yaml": "model: " + tinyModel(t) + `
data: {train: [{path: odd.jsonl, columns: {question: q, answer: a}, weight: 2}], split: 1, bad_rows: skip, max_tokens: 10}
method: {name: lift}
steps: 1
`,
	})
	spec := filepath.Join(dir, "run.yaml")
	out, err := call(t, newDataCmd(), "check", spec, "--json")
	if err != nil {
		t.Fatal(err)
	}
	var got checkedData
	lastJSON(t, out, &got)
	if len(got.Samples) != 4 || got.Validation == nil || got.Validation.Samples != 1 || got.BadRows != 1 || got.Cut != 4 {
		t.Errorf("%+v, validation %+v", got.Summary, got.Validation)
	}
	for _, args := range [][]string{{spec, "--skip-bad"}, {spec, spec}, {filepath.Join(dir, "none.yaml")}, {filepath.Join(dir, "odd.jsonl")}, {spec, "--color", "red"}} {
		_, err := call(t, newDataCmd(), append([]string{"check"}, args...)...)
		if code := config.ExitCode(err); code != config.ExitUsage {
			t.Errorf("%v: exit code %d (%v), want %d", args, code, err, config.ExitUsage)
		}
	}
}

func TestModelsAndDataMayComeFromElsewhere(t *testing.T) {
	base := tinyModel(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/a.jsonl" {
			http.NotFound(w, r)
			return
		}
		w.Write([]byte(`{"text":"2+3=5"}` + "\n"))
	}))
	defer web.Close()
	home, cache := t.TempDir(), t.TempDir()
	t.Setenv("TORC_HOME", home)
	t.Setenv("HF_HOME", cache)
	t.Setenv("HF_ENDPOINT", web.URL)
	t.Setenv("HF_HUB_OFFLINE", "")
	t.Setenv("HF_TOKEN", "")
	t.Setenv("HF_HUB_CACHE", "")
	const commit = "0123456789abcdef0123456789abcdef01234567"
	for name, text := range contents(t, base) { // as the Python libraries leave it
		put(t, cache, map[string]string{"hub/models--org--tiny/refs/main": commit, "hub/models--org--tiny/snapshots/" + commit + "/" + name: text})
	}
	for _, name := range []string{base, "org/tiny", filepath.Join(cache, "hub", "models--org--tiny"), "hf://org/tiny@" + commit} {
		out, err := call(t, newDataCmd(), "check", web.URL+"/a.jsonl", "--model", name)
		if err != nil || !strings.Contains(out, "2»+3=5«") {
			t.Errorf("model %s: %v\n%s", name, err, out)
		}
	}
	dir := t.TempDir()
	put(t, dir, map[string]string{"run.yaml": "model: org/tiny\ndata: {train: [" + web.URL + "/a.jsonl]}\nmethod: {name: lift}\nsteps: 1\n"})
	cmd := newLaunchCmd()
	cmd.SetContext(t.Context())
	r, err := resolveSpec(cmd, filepath.Join(dir, "run.yaml"), nil)
	if err != nil || r.Samples != 1 || r.Model != "org/tiny" || !strings.HasPrefix(r.Files[0].Path, cache) {
		t.Errorf("resolved to %+v, %v", r, err)
	}
	if out, err := call(t, newPlanCmd(), filepath.Join(dir, "run.yaml"), "--json"); err != nil || !strings.Contains(out, `"trained"`) {
		t.Errorf("plan: %s, %v", out, err)
	}
	for _, set := range []string{"data.train=" + web.URL + "/none.jsonl", "model=org/other", "data.train=[{path: " + web.URL + "/a.jsonl, sha256: " + strings.Repeat("0", 64) + "}]"} {
		if _, err := resolveSpec(cmd, filepath.Join(dir, "run.yaml"), []string{set}); err == nil {
			t.Errorf("%s: no error", set)
		}
	}
}

func TestLaunchRefusesATokenizerThatNodesWouldRefuse(t *testing.T) {
	base, dir := tinyModel(t), t.TempDir()
	put(t, base, map[string]string{"tokenizer.json": `{"version":"1.0","model":{"type":"Unigram","vocab":[]}}`})
	put(t, dir, map[string]string{"a.jsonl": `{"text":"a"}`, "run.yaml": "model: " + base + "\ndata: {train: a.jsonl}\nmethod: {name: lift}\nsteps: 1\n"})
	_, err := call(t, newLaunchCmd(), filepath.Join(dir, "run.yaml"), "--local", "1")
	if err == nil || !strings.Contains(err.Error(), `type "Unigram"`) || config.ExitCode(err) != config.ExitUsage {
		t.Errorf("error %v", err)
	}
}
