package hub

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The cache is that of the Python libraries: each finds what the other fetched. The test needs huggingface_hub: TORC_PYTHON names a
// Python that has it.
func TestPythonAndTorcShareTheCache(t *testing.T) {
	python := os.Getenv("TORC_PYTHON")
	if python == "" {
		t.Skip("TORC_PYTHON names no Python with huggingface_hub: the cache is not tried with it")
	}
	h := newFakeHub(t)
	tiny(h, "org/mine", true)
	tiny(h, "org/theirs", false)
	home := t.TempDir()
	c := h.client(t, map[string]string{"HF_HOME": home})
	dir := mustModel(t, c, "hf://org/mine")
	run := func(code string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), python, "-c", "from huggingface_hub import *\n"+code)
		cmd.Env = append(os.Environ(), "HF_HOME="+home, "HF_ENDPOINT="+h.hub.URL, "HF_HUB_DISABLE_TELEMETRY=1", "HF_HUB_DISABLE_XET=1", "HF_HUB_DISABLE_PROGRESS_BARS=1")
		cmd.Stderr = t.Output()
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	got := run(`print(hf_hub_download("org/mine", "model-2.safetensors", local_files_only=True))`)
	if want := filepath.Join(dir, "model-2.safetensors"); got != want {
		t.Errorf("Python finds %s, want %s", got, want)
	}
	theirs, version, _ := strings.Cut(run(`import huggingface_hub, os
for name in ("config.json", "tokenizer.json", "model.safetensors"):
    path = hf_hub_download("org/theirs", name)
print(os.path.dirname(path), huggingface_hub.__version__)`), " ")
	before := len(h.requests)
	if found := mustModel(t, c, "org/theirs"); found != theirs || len(h.requests) != before {
		t.Errorf("torc finds %s, want %s", found, theirs)
	}
	t.Logf("huggingface_hub %s", version)
}
