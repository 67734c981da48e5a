package spec

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/safetensors"
	"github.com/torctrain/torc/sharding"
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

const tinyConfig = `{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8, "intermediate_size": 8,
"num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 16, "tie_word_embeddings": true}`

// weightsOf are the files of a model's weights, of at most maxBytes each.
func weightsOf(t *testing.T, config string, maxBytes int64) map[string]string {
	t.Helper()
	c, err := model.ParseConfig([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := safetensors.WriteModel(dir, model.NewRandom(c, model.F32, 1).Tensors(), maxBytes, nil); err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range list {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files["base/"+e.Name()] = string(text)
	}
	return files
}

func base(t *testing.T, more map[string]string) map[string]string {
	t.Helper()
	files := weightsOf(t, tinyConfig, 1<<20)
	maps.Copy(files, map[string]string{
		"base/config.json": tinyConfig, "base/tokenizer.json": "t",
		"train.jsonl": line + "\n" + line + strings.TrimSpace(line),
	})
	maps.Copy(files, more)
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
	dir := write(t, base(t, map[string]string{
		"base/tokenizer_config.json": "{}", "base/generation_config.json": `{"eos_token_id": 2}`, "base/README.md": "no",
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
	text, err := os.ReadFile(filepath.Join(dir, "base", "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if w := r.Files[1]; w.SHA256 != sha256.Sum256(text) || w.Size != int64(len(text)) || w.Path != filepath.Join(dir, "base", "model.safetensors") {
		t.Errorf("weights are %+v", w)
	}
}

func TestResolveTakesShardsFromTheIndex(t *testing.T) {
	files := base(t, weightsOf(t, tinyConfig, 1500))
	delete(files, "base/model.safetensors")
	r, err := Resolve(parse(t, small), write(t, files))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"model/model.safetensors.index.json=model.safetensors.index.json"}
	for i := range 2 {
		name := fmt.Sprintf("model-%05d-of-00002.safetensors", i+1)
		want = append(want, "model/"+name+"="+name)
	}
	if got := roles(r)[1:4]; !slices.Equal(got, want) {
		t.Errorf("weights %q, want %q", got, want)
	}
}

// What a node would find wrong with a model is found before anybody is asked to work on it.
func TestResolveLooksIntoTheWeights(t *testing.T) {
	whole := weightsOf(t, tinyConfig, 1<<20)["base/model.safetensors"]
	for name, c := range map[string]struct{ file, text, want string }{
		"truncated":       {"base/model.safetensors", whole[:len(whole)-4], "it is truncated, fetch it again"},
		"cut in header":   {"base/model.safetensors", whole[:100], "it is truncated, fetch it again"},
		"empty":           {"base/model.safetensors", "", "it is empty or truncated"},
		"no weights":      {"base/model.safetensors", "version https://git-lfs.github.com/spec/v1\n", "it is no safetensors file"},
		"of other shape":  {"base/config.json", strings.Replace(tinyConfig, `"vocab_size": 16`, `"vocab_size": 17`, 1), "shape [16 8], config.json makes it [17 8]"},
		"of more layers":  {"base/config.json", strings.Replace(tinyConfig, `layers": 1`, `layers": 2`, 1), `no tensor "model.layers.1`},
		"without a head":  {"base/config.json", strings.Replace(tinyConfig, `"tie_word_embeddings": true`, `"tie_word_embeddings": false`, 1), `"tie_word_embeddings": true`},
		"of other family": {"base/config.json", `{"model_type": "mamba"}`, `field "model_type": "mamba" is not supported`},
	} {
		_, err := Resolve(parse(t, small), write(t, base(t, map[string]string{c.file: c.text})))
		if err == nil || !strings.HasPrefix(err.Error(), "model: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// So is a method that cannot train the model.
func TestResolveRefusesWhatTheMethodCannotTrain(t *testing.T) {
	dir := write(t, base(t, nil))
	for _, c := range []struct{ method, want string }{
		{"{name: lora, rank: 9}", "method.rank is 9: model.layers.0.self_attn.q_proj.weight is (8, 8), use up to 8"},
		{"{name: sorsa, rank: 9}", "method.rank is 9"},
		{"{name: pissa, rank: 9}", "method.rank is 9"},
		{"{name: lift, block: 1x8, rank: 1}", ""},
		{"{name: lift, rank: 100}", ""}, // all of each weight, as much as there is
		{"{name: lift, filter: 9}", "method.filter is 9: model.layers.0.self_attn.q_proj.weight is (8, 8), use up to 8, or method.mode magnitude in its place"},
		{"{name: s2ft, o: 0.4, down: 0.2}", "method.o is 0.4: that is no whole one of the model's 2 heads or channels: use at least 0.5002, or 0"},
		{"{name: s2ft, o: 0.5003, down: 0.1}", "method.down is 0.1"},
		{"{name: lora, budget: 1%}", `method.budget is "1%", 4 values of 448: the least that lora can train is rank 1, 112 values`},
		{"{name: pissa, budget: 2000}", "the most that pissa can train is rank 8, 896 values"},
		{"{name: lift, budget: 100000}", "lift trains at most 448"},
		{"{name: s2ft, budget: 8}", "method.o takes at least"},
	} {
		_, err := Resolve(parse(t, "model: base\ndata: {train: [train.jsonl]}\nmethod: "+c.method+"\nsteps: 2\n"), dir)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: error is %v, want %q", c.method, err, c.want)
		}
	}
}

func TestResolveTakesWeightsColumnsAndSplits(t *testing.T) {
	dir := write(t, base(t, map[string]string{
		"a.jsonl": strings.Repeat(line, 10), "b.jsonl": strings.Repeat(`{"body": "b", "id": 1}`+"\n", 20) + "{}\n",
	}))
	s := parse(t, small, "data={train: [a.jsonl, {path: 'b*.jsonl', weight: 0.5, columns: {text: body}}], split: 6, bad_rows: skip}", "validate.every=5", "seed=1")
	r, err := Resolve(s, dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"train/0=a.jsonl", "train/1=b.jsonl", "validation/0=a.jsonl", "validation/1=b.jsonl"}
	if got := roles(r)[3:]; !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	if r.BadRows != 1 || len(r.Bad) != 1 || !strings.Contains(r.Bad[0].Error(), "b.jsonl:21: has no") {
		t.Errorf("%d bad rows, %v", r.BadRows, r.Bad)
	}
	again, err := FromJSON(marshal(t, r))
	if err != nil {
		t.Fatal(err)
	}
	var files []sharding.File
	for _, f := range again.Files[3:5] {
		files = append(files, sharding.File{Path: f.Path, Name: "n"})
	}
	train, err := again.Dataset("train", files, "")
	if err != nil || train.Len() != r.Samples {
		t.Fatalf("a member has %d samples, the spec %d (%v)", train.Len(), r.Samples, err)
	}
	valid, err := again.Dataset("validation", files, t.TempDir())
	if err != nil || valid.Len() != 6 {
		t.Fatalf("6 samples are to be held out, %d are (%v)", valid.Len(), err)
	}
	if r.Samples <= 12 || r.Samples >= 24 { // 24 remain, those of b at half weight
		t.Errorf("%d samples", r.Samples)
	}
	if _, err := again.Dataset("train", files[:1], ""); err == nil {
		t.Error("a missing file is not noticed")
	}
}

func TestResolveTakesWhatWasFound(t *testing.T) {
	dir := write(t, base(t, map[string]string{"one": line, "two": line + line}))
	s := parse(t, small, "model=org/name", "data={train: ['https://x/a*.jsonl'], validation: [{path: 'https://x/b', sha256: "+strings.Repeat("00", 32)+"}]}")
	found := Found{"org/name": {filepath.Join(dir, "base")}, "https://x/a*.jsonl": {filepath.Join(dir, "one"), filepath.Join(dir, "two")}, "https://x/b": {filepath.Join(dir, "two")}}
	_, err := ResolveFound(s, dir, found)
	if err == nil || !strings.Contains(err.Error(), "data.validation[0]: ") || !strings.Contains(err.Error(), "it is another file") {
		t.Errorf("a file with another hash: %v", err)
	}
	s.Data.Sources = nil
	r, err := ResolveFound(s, dir, found)
	if err != nil || r.Samples != 3 || r.Model != "org/name" {
		t.Errorf("resolved to %+v, %v", r, err)
	}
}

func TestResolveMakesStepsOfEpochs(t *testing.T) {
	dir := write(t, base(t, map[string]string{"ten.jsonl": strings.Repeat(line, 10)}))
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
		{"base/config.json", nil, "", []string{"model: read model", "base/config.json"}},
		{"base/tokenizer.json", nil, "", []string{"model: ", "base/tokenizer.json", "download the model's tokenizer.json"}},
		{"base/model.safetensors", nil, "", []string{"model: ", "has neither model.safetensors nor"}},
		{"base/model.safetensors", map[string]string{"base/model.safetensors.index.json": "{"}, "", []string{"model: read", "index.json"}},
		{"base/model.safetensors", map[string]string{"base/model.safetensors.index.json": "{}"}, "", []string{"index.json: its weight_map is missing or empty"}},
		{"base/model.safetensors", map[string]string{"base/model.safetensors.index.json": `{"weight_map": {"a": "../x.safetensors"}}`}, "", []string{`"a"`, "only names of files beside the index"}},
		{"base/model.safetensors", map[string]string{"base/model.safetensors.index.json": `{"weight_map": {"a": "x.safetensors"}}`}, "", []string{"model: open model", "x.safetensors is missing"}},
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
		dir := write(t, base(t, c.add))
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
	for name, text := range base(t, nil) {
		files["a[1]*/"+name] = text
	}
	dir := filepath.Join(write(t, files), "a[1]*")
	if _, err := Resolve(parse(t, small, "data.train=tr*.jsonl"), dir); err != nil {
		t.Error(err)
	}
}
