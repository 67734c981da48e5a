package hub

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tiny puts a model onto h, in one file or in two.
func tiny(h *fakeHub, id string, shards bool) {
	put := func(name, text string) { h.files["models/"+id+"/"+name] = []byte(text) }
	put("config.json", `{"model_type":"llama"}`)
	put("tokenizer.json", `{}`)
	put("README.md", "not needed")
	put("pytorch_model.bin", "not wanted")
	put("onnx/model.safetensors", "not wanted")
	if !shards {
		put("model.safetensors", strings.Repeat("weights ", 1000))
		return
	}
	put("model.safetensors.index.json", `{"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}}`)
	put("model-1.safetensors", strings.Repeat("one ", 1000))
	put("model-2.safetensors", strings.Repeat("two ", 1000))
	put("consolidated.safetensors", "not wanted")
}

func mustModel(t *testing.T, c *Client, name string) string {
	t.Helper()
	dir, ok, err := c.Model(t.Context(), name, nil)
	if err != nil || !ok {
		t.Fatalf("%s: %v, %v", name, ok, err)
	}
	return dir
}

func same(t *testing.T, path string, want []byte) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s has %d bytes, want %d (%v)", path, len(got), len(want), err)
	}
}

func TestAModelComesIntoTheCacheOfTheHub(t *testing.T) {
	for _, shards := range []bool{false, true} {
		h := newFakeHub(t)
		h.token = "hf_secret"
		tiny(h, "org/name", shards)
		c := h.client(t, nil)
		dir := mustModel(t, c, "hf://org/name")
		if want := filepath.Join(c.Cache, "models--org--name", "snapshots", commitA); dir != want {
			t.Errorf("the model is at %s, want %s", dir, want)
		}
		list, _ := os.ReadDir(dir)
		var names []string
		for _, e := range list {
			names = append(names, e.Name())
			same(t, filepath.Join(dir, e.Name()), h.files["models/org/name/"+e.Name()])
			if to, err := os.Readlink(filepath.Join(dir, e.Name())); err != nil || !strings.HasPrefix(to, "../../blobs/") {
				t.Errorf("%s is no link to a blob: %q, %v", e.Name(), to, err)
			}
		}
		want := "config.json model.safetensors tokenizer.json"
		if shards {
			want = "config.json model-1.safetensors model-2.safetensors model.safetensors.index.json tokenizer.json"
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("files %s, want %s", got, want)
		}
		same(t, filepath.Join(c.Cache, "models--org--name", "refs", "main"), []byte(commitA))
		if h.leaked {
			t.Error("the token was sent to the host that has the large files")
		}
		before := len(h.requests)
		for name, asks := range map[string]int{"hf://org/name": 1, "hf://org/name@" + commitA: 0, "org/name": 0, filepath.Dir(filepath.Dir(dir)): 0} {
			if again := mustModel(t, c, name); again != dir {
				t.Errorf("%s is %s the second time", name, again)
			}
			if n := len(h.requests) - before; n != asks {
				t.Errorf("%s: %d requests for what is there, want %d", name, n, asks)
			}
			before = len(h.requests)
		}
		c.Offline = true
		mustModel(t, c, "hf://org/name")
	}
}

func TestACutDownloadGoesOnWhereItEnded(t *testing.T) {
	h := newFakeHub(t)
	tiny(h, "org/name", false)
	h.cut, h.fail = 4, 2
	c := h.client(t, nil)
	dir := mustModel(t, c, "hf://org/name")
	same(t, filepath.Join(dir, "model.safetensors"), h.files["models/org/name/model.safetensors"])
	if n := h.asked("bytes="); n < 2 {
		t.Errorf("%d requests for a rest: %q", n, h.requests)
	}
}

// What a killed process left is gone on with by the next.
func TestAnotherProcessGoesOn(t *testing.T) {
	h := newFakeHub(t)
	tiny(h, "org/name", false)
	text := h.files["models/org/name/model.safetensors"]
	c := h.client(t, nil)
	blob := filepath.Join(c.Cache, "models--org--name", "blobs", fmt.Sprintf("%x", sha256.Sum256(text)))
	if err := os.MkdirAll(filepath.Dir(blob), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, left := range map[string][]byte{"part": text[:5000], "all": text, "more": append(text, 'x')} {
		os.Remove(blob)
		if err := os.WriteFile(blob+".incomplete", left, 0o644); err != nil {
			t.Fatal(err)
		}
		dir := mustModel(t, c, "hf://org/name")
		same(t, filepath.Join(dir, "model.safetensors"), text)
		if n := h.asked("model.safetensorsbytes=5000-"); name == "part" && n == 0 {
			t.Errorf("begins anew: %q", h.requests)
		}
	}
	os.Remove(blob)
	if err := os.WriteFile(blob+".incomplete", []byte("other bytes"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Model(t.Context(), "hf://org/name", nil); err == nil || !strings.Contains(err.Error(), "should have") {
		t.Errorf("a foreign part: %v", err)
	}
	mustModel(t, c, "hf://org/name") // which is then gone
}

func TestDamagedFilesAreRefused(t *testing.T) {
	h := newFakeHub(t)
	tiny(h, "org/name", false)
	h.damaged = true
	c := h.client(t, nil)
	_, _, err := c.Model(t.Context(), "hf://org/name", nil)
	if err == nil || !strings.Contains(err.Error(), "was damaged on its way") {
		t.Errorf("error %v", err)
	}
	if found, _ := filepath.Glob(filepath.Join(c.Cache, "*", "snapshots", "*", "*")); len(found) > 0 {
		t.Errorf("files appear all the same: %q", found)
	}
}

func TestAModelMayBeRefusedBeforeItsWeightsCome(t *testing.T) {
	h := newFakeHub(t)
	tiny(h, "org/name", true)
	no := errors.New("not this one")
	_, _, err := h.client(t, nil).Model(t.Context(), "hf://org/name", func(dir string) error {
		same(t, filepath.Join(dir, "config.json"), h.files["models/org/name/config.json"])
		return no
	})
	if !errors.Is(err, no) || h.asked("model-1") > 0 {
		t.Errorf("error %v, requests %q", err, h.requests)
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	h := newFakeHub(t)
	h.token = "right"
	tiny(h, "org/name", false)
	h.files["models/org/bin/pytorch_model.bin"] = []byte("x")
	h.files["datasets/org/data/a.jsonl"] = []byte("x")
	c := h.client(t, nil)
	none, wrong, offline := h.client(t, map[string]string{"HF_TOKEN": ""}), h.client(t, map[string]string{"HF_TOKEN": "wrong"}), h.client(t, map[string]string{"HF_HUB_OFFLINE": "1"})
	model := func(c *Client, name string) error {
		_, _, err := c.Model(t.Context(), name, nil)
		return err
	}
	data := func(c *Client, name string) error {
		_, err := c.Data(t.Context(), name, "")
		return err
	}
	for want, err := range map[string]error{
		"set HF_TOKEN to a token that may read it":           model(none, "hf://org/name"),
		"to the owner of this token":                         model(wrong, "hf://org/name"),
		"HF_HUB_OFFLINE forbids":                             model(offline, "hf://org/name"),
		"HF_HUB_OFFLINE forbids to ask":                      data(offline, "hf://datasets/org/data/a.jsonl"),
		"has no org/none@main: correct name":                 model(c, "hf://org/none"),
		"has no org/name@v9":                                 model(c, "hf://org/name@v9"),
		"it has no weights as safetensors":                   model(c, "hf://org/bin"),
		"names no model of a hub":                            model(c, "hf://a/b/c"),
		`"hf://datasets/org/data" names no model`:            model(c, "hf://datasets/org/data"),
		"is a URL: name a directory":                         model(c, "https://x/y"),
		"write hf://org/other to fetch it":                   model(c, "org/other"),
		"names no file of a hub's dataset":                   data(c, "hf://org/data/a.jsonl"),
		`has no file "b.jsonl" at commit 0123456: it has a.`: data(c, "hf://datasets/org/data/b.jsonl"),
		"syntax error in pattern":                            data(c, "hf://datasets/org/data/[.jsonl"),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	h.files["models/org/name/../../x"] = []byte("x")
	if err := model(c, "hf://org/name"); err == nil || !strings.Contains(err.Error(), "leads elsewhere") {
		t.Errorf("a file that leads elsewhere: %v", err)
	}
}

func TestPathsAreLeftToOthers(t *testing.T) {
	dir := t.TempDir()
	c := newFakeHub(t).client(t, nil)
	for _, name := range []string{dir, "base", "./org/name", "/org/name", "../a/b", "a/b/c", filepath.Join(dir, "none")} {
		if got, ok, err := c.Model(t.Context(), name, nil); ok || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestAHubThatDoesNotAnswerIsNotNeededForWhatIsThere(t *testing.T) {
	h := newFakeHub(t)
	tiny(h, "org/name", false)
	c := h.client(t, nil)
	dir := mustModel(t, c, "hf://org/name")
	h.hub.Close()
	noted := ""
	c.Note = func(line string) { noted += line }
	if again := mustModel(t, c, "hf://org/name"); again != dir || !strings.Contains(noted, "taking what the cache has") {
		t.Errorf("%s, noted %q", again, noted)
	}
}

func TestFilesOfADatasetComeInOrder(t *testing.T) {
	h := newFakeHub(t)
	for _, name := range []string{"data/b-2.parquet", "data/b-1.parquet", "data/c.parquet", "README.md"} {
		h.files["datasets/org/data/"+name] = []byte("PAR1" + name)
	}
	c := h.client(t, nil)
	for _, revision := range []string{"", "@" + commitA, "@refs/convert/parquet", "@refs%2Fconvert%2Fparquet"} {
		got, err := c.Data(t.Context(), "hf://datasets/org/data"+revision+"/data/b-*.parquet", "")
		dir := filepath.Join(c.Cache, "datasets--org--data", "snapshots", commitA, "data")
		if err != nil || len(got) != 2 || got[0] != filepath.Join(dir, "b-1.parquet") || got[1] != filepath.Join(dir, "b-2.parquet") {
			t.Fatalf("%s: %q, %v", revision, got, err)
		}
		same(t, got[0], []byte("PAR1data/b-1.parquet"))
	}
	c.Offline = true
	if got, err := c.Data(t.Context(), "hf://datasets/org/data/data/b-*.parquet", ""); err != nil || len(got) != 2 {
		t.Errorf("offline: %q, %v", got, err)
	}
}

func TestFilesOfTheWebAreKeptUntilTheyChange(t *testing.T) {
	h := newFakeHub(t)
	h.files["a.jsonl"] = bytes.Repeat([]byte("{}\n"), 2000)
	c := h.client(t, nil)
	url := h.store.URL + "/a.jsonl?x=1"
	h.cut = 3
	fetch := func(sum string) string {
		t.Helper()
		got, err := c.Data(t.Context(), url, sum)
		if err != nil || len(got) != 1 || filepath.Base(got[0]) != "a.jsonl" {
			t.Fatalf("%q, %v", got, err)
		}
		same(t, got[0], h.files["a.jsonl"])
		return got[0]
	}
	path := fetch("")
	if h.asked("bytes=") == 0 {
		t.Errorf("a cut download begins anew: %q", h.requests)
	}
	before := len(h.requests)
	fetch("")
	if n := len(h.requests) - before; n != 1 {
		t.Errorf("%d requests for what has not changed, want 1", n)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(h.files["a.jsonl"]))
	before = len(h.requests)
	fetch(strings.ToUpper(sum))
	if n := len(h.requests) - before; n != 0 {
		t.Errorf("%d requests for what has the hash it must have", n)
	}
	h.files["a.jsonl"] = bytes.Repeat([]byte("{1}\n"), 1000)
	if again := fetch(""); again != path {
		t.Errorf("the new file is at %s", again)
	}
	if _, err := c.Data(t.Context(), url, sum); err == nil || !strings.Contains(err.Error(), "should have "+sum) {
		t.Errorf("a file with another hash: %v", err)
	}
	c.Offline = true
	if _, err := c.Data(t.Context(), h.store.URL+"/b.jsonl", ""); err == nil || !strings.Contains(err.Error(), "HF_HUB_OFFLINE") {
		t.Errorf("offline: %v", err)
	}
}

// A part is gone on with only if the server says that it is of the same file.
func TestAPartOfAnOlderFileIsThrownAway(t *testing.T) {
	h := newFakeHub(t)
	h.files["a.jsonl"] = bytes.Repeat([]byte("old "), 5000)
	c := h.client(t, nil)
	url := h.store.URL + "/a.jsonl"
	h.cut = 1
	h.onCut = func() { h.files["a.jsonl"] = bytes.Repeat([]byte("new "), 5000) }
	got, err := c.Data(t.Context(), url, "")
	if err != nil {
		t.Fatal(err)
	}
	same(t, got[0], h.files["a.jsonl"])
	if h.asked("bytes=") == 0 {
		t.Error("the part was not offered")
	}
}

func TestSettingsAreThoseOfThePythonLibraries(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("kept\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		env                    map[string]string
		endpoint, token, cache string
		offline                bool
	}{
		{map[string]string{"HOME": "/home/x"}, DefaultEndpoint, "", "/home/x/.cache/huggingface/hub", false},
		{map[string]string{"HF_HOME": dir, "HF_ENDPOINT": "https://mirror/"}, "https://mirror", "kept", filepath.Join(dir, "hub"), false},
		{map[string]string{"XDG_CACHE_HOME": "/c", "HF_TOKEN": " mine ", "HF_TOKEN_PATH": "/none", "HF_HUB_OFFLINE": "ON"}, DefaultEndpoint, "mine", "/c/huggingface/hub", true},
		{map[string]string{"HF_HUB_CACHE": "/h", "HF_TOKEN_PATH": filepath.Join(dir, "token")}, DefaultEndpoint, "kept", "/h", false},
	} {
		got, err := New(func(key string) string { return c.env[key] }, "/torc")
		if err != nil || got.Endpoint != c.endpoint || got.Token != c.token || got.Cache != c.cache || got.Offline != c.offline || got.Files != "/torc/cache/fetched" {
			t.Errorf("%v: %+v, %v", c.env, got, err)
		}
	}
}
