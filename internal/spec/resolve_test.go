package spec

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// write puts files below a new directory and returns it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func parse(t *testing.T, text string, set ...string) *Spec {
	t.Helper()
	s, err := Parse("run.yaml", []byte(text), set)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// line is a sample.
const line = `{"text": "a"}` + "\n"

func base(more map[string]string) map[string]string {
	files := map[string]string{
		"base/config.json": "{}", "base/model.safetensors": "w", "base/tokenizer.json": "t",
		"train.jsonl": line + "\n" + line + strings.TrimSpace(line),
	}
	for name, text := range more {
		files[name] = text
	}
	return files
}

func roles(r *Resolved) []string {
	var all []string
	for _, f := range r.Files {
		all = append(all, f.Role+"="+filepath.Base(f.Path))
	}
	return all
}

func TestResolveListsFilesInTheOrderOfUse(t *testing.T) {
	dir := write(t, base(map[string]string{
		"base/tokenizer_config.json": "{}", "base/generation_config.json": "{}", "base/README.md": "no",
		"b2.jsonl": line, "b1.jsonl": line + line, "val.jsonl": line,
	}))
	r, err := Resolve(parse(t, small, "data={train: [train.jsonl, 'b*.jsonl'], validation: val.jsonl}"), dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"model/config.json=config.json", "model/model.safetensors=model.safetensors", "model/tokenizer.json=tokenizer.json",
		"model/tokenizer_config.json=tokenizer_config.json", "model/generation_config.json=generation_config.json",
		"train/0=train.jsonl", "train/1=b1.jsonl", "train/2=b2.jsonl", "validation/0=val.jsonl",
	}
	if got := roles(r); !slices.Equal(got, want) {
		t.Errorf("files %q\nwant %q", got, want)
	}
	if r.Samples != 6 {
		t.Errorf("%d samples, want 6", r.Samples)
	}
	if w := r.Files[1]; w.SHA256 != sha256.Sum256([]byte("w")) || w.Size != 1 || w.Path != filepath.Join(dir, "base", "model.safetensors") {
		t.Errorf("weights are %+v", w)
	}
}

func TestResolveTakesShardsFromTheIndex(t *testing.T) {
	files := base(map[string]string{
		"base/model.safetensors.index.json": `{"weight_map": {"a": "model-2.safetensors", "b": "model-1.safetensors", "c": "model-2.safetensors"}}`,
		"base/model-1.safetensors":          "1", "base/model-2.safetensors": "2",
	})
	delete(files, "base/model.safetensors")
	r, err := Resolve(parse(t, small), write(t, files))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"model/model.safetensors.index.json=model.safetensors.index.json", "model/model-1.safetensors=model-1.safetensors", "model/model-2.safetensors=model-2.safetensors"}
	if got := roles(r)[1:4]; !slices.Equal(got, want) {
		t.Errorf("weights %q, want %q", got, want)
	}
}

func TestResolveMakesStepsOfEpochs(t *testing.T) {
	dir := write(t, base(map[string]string{"ten.jsonl": strings.Repeat(line, 10)}))
	for _, c := range []struct {
		set  []string
		want int
	}{
		{[]string{"epochs=1", "batch.lanes=3"}, 4},
		{[]string{"epochs=3", "batch.lanes=3"}, 12},
		{[]string{"epochs=0.1", "batch.lanes=1"}, 1},
		{[]string{"epochs=0.3", "batch.lanes=1"}, 3},
		{[]string{"epochs=2", "batch={lanes: 2, micro: 3}"}, 4},
		{[]string{"epochs=1e-9"}, 1},
	} {
		r, err := Resolve(parse(t, small, append(c.set, "steps=0", "data.train=ten.jsonl")...), dir)
		if err != nil {
			t.Fatal(err)
		}
		if r.Steps != c.want || r.Epochs != 0 {
			t.Errorf("%q makes %d steps and leaves epochs %v, want %d and 0", c.set, r.Steps, r.Epochs, c.want)
		}
	}
}

func TestResolveNamesFieldAndPath(t *testing.T) {
	for _, c := range []struct {
		remove string
		add    map[string]string
		set    string
		want   []string
	}{
		{"", nil, "model=nowhere", []string{"model: ", "nowhere", "name a directory"}},
		{"", nil, "model=train.jsonl", []string{"model: ", "train.jsonl is no directory"}},
		{"base/config.json", nil, "", []string{"model: open", "base/config.json"}},
		{"base/tokenizer.json", nil, "", []string{"model: ", "base/tokenizer.json", "download the model's tokenizer.json"}},
		{"base/model.safetensors", nil, "", []string{"model: ", "has neither model.safetensors nor"}},
		{"base/model.safetensors", map[string]string{"base/model.safetensors.index.json": "{"}, "", []string{"model: read", "index.json"}},
		{"base/model.safetensors", map[string]string{"base/model.safetensors.index.json": "{}"}, "", []string{"index.json names no tensor"}},
		{"base/model.safetensors", map[string]string{"base/model.safetensors.index.json": `{"weight_map": {"a": "../x.safetensors"}}`}, "", []string{`"a"`, "no safetensors file beside it"}},
		{"base/model.safetensors", map[string]string{"base/model.safetensors.index.json": `{"weight_map": {"a": "x.safetensors"}}`}, "", []string{"model: open", "x.safetensors"}},
		{"train.jsonl", nil, "", []string{"data.train[0]: open", "train.jsonl"}},
		{"", nil, "data.train=[train.jsonl, 'x*.jsonl']", []string{`data.train[1] is "x*.jsonl": matches no file in`}},
		{"", nil, "data.train=['[']", []string{`data.train[0] is "["`, "syntax error"}},
		{"", nil, "data.train=['']", []string{`data.train[0] is "": name a file`}},
		{"", nil, "data.train=base", []string{"data.train[0]: ", "no regular file"}},
		{"", nil, "data.train=[train.jsonl, 't*.jsonl']", []string{"data.train[1]", `"train.jsonl" names already`}},
		{"", nil, "data.validation=val.jsonl", []string{"data.validation[0]: open", "val.jsonl"}},
		{"", map[string]string{"empty.jsonl": " \n\n"}, "data.train=[train.jsonl, empty.jsonl]", []string{"data.train: ", "empty.jsonl"}},
		{"", map[string]string{"bad.jsonl": line + "{\n"}, "data.train=bad.jsonl", []string{"data.train: ", "bad.jsonl:2"}},
		{"", map[string]string{"bad.jsonl": line + "{\n"}, "data.validation=bad.jsonl", []string{"data.validation: ", "bad.jsonl:2"}},
		{"", nil, "epochs=1e30", []string{"epochs is 1e+30"}},
	} {
		dir := write(t, base(c.add))
		if c.remove != "" {
			if err := os.Remove(filepath.Join(dir, c.remove)); err != nil {
				t.Fatal(err)
			}
		}
		s := parse(t, small)
		if c.set != "" {
			if strings.HasPrefix(c.set, "epochs") {
				s = parse(t, small, "steps=0", c.set)
			} else {
				s = parse(t, small, c.set)
			}
		}
		r, err := Resolve(s, dir)
		if err == nil {
			t.Errorf("without %q, with %q: resolved to %v", c.remove, c.set, roles(r))
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("without %q, with %q: %v\nwant it to say %q", c.remove, c.set, err, want)
			}
		}
	}
}

func TestDirectoryWithPatternLettersIsNoPattern(t *testing.T) {
	files := map[string]string{}
	for name, text := range base(nil) {
		files["a[1]*/"+name] = text
	}
	dir := filepath.Join(write(t, files), "a[1]*")
	if _, err := Resolve(parse(t, small, "data.train=tr*.jsonl"), dir); err != nil {
		t.Error(err)
	}
}
