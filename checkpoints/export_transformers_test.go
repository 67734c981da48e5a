package checkpoints

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
)

// exportTolerance is that of the goldens of model: both sides compute in float32 and differ in the order of sums.
const exportTolerance = 2e-5

// What ExportHF writes is a model to transformers too, and the same one. The test needs Python with torch and transformers:
// TORC_PYTHON names it. The goldens of model show the same without Python, for the way in.
func TestTransformersOpensExports(t *testing.T) {
	python := os.Getenv("TORC_PYTHON")
	if python == "" {
		t.Skip("TORC_PYTHON names no Python with torch and transformers: the exports are not compared with theirs")
	}
	bf16, fp16, fp32 := model.BF16, model.F16, model.F32
	options := map[string]ExportOptions{
		"as is": {}, "several files": {MaxFileBytes: 4000}, "bf16": {DType: &bf16}, "fp16": {DType: &fp16, MaxFileBytes: 9000}, "fp32": {DType: &fp32},
	}
	bases, err := filepath.Glob("../model/testdata/*/model.safetensors")
	if err != nil || len(bases) < 5 {
		t.Fatalf("%d models, %v", len(bases), err)
	}
	script, err := filepath.Abs("testdata/logits.py")
	if err != nil {
		t.Fatal(err)
	}
	k, err := cpu.New(1, cpu.Auto)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	tokens := []int32{1, 7, 3, 40, 0, 22, 22, 9, 13, 5, 47}
	var dirs, names []string
	for _, path := range bases {
		base := filepath.Dir(path)
		w, err := model.Load(base)
		if err != nil {
			t.Fatal(err)
		}
		for name, o := range options {
			dir := filepath.Join(t.TempDir(), "export")
			if err := ExportHF(dir, base, w, o); err != nil {
				t.Fatal(err)
			}
			dirs, names = append(dirs, dir), append(names, filepath.Base(base)+", "+name)
		}
	}
	text, err := json.Marshal(tokens)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, append([]string{script, string(text)}, dirs...)...)
	cmd.Stderr = t.Output()
	cmd.Env = append(os.Environ(), "HF_HUB_OFFLINE=1", "HF_HUB_DISABLE_PROGRESS_BARS=1", "TQDM_DISABLE=1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := json.NewDecoder(bytes.NewReader(out))
	for i, dir := range dirs {
		var got struct {
			Torch, Transformers string
			Bad                 map[string][]string
			Logits              []float64
		}
		if err := lines.Decode(&got); err != nil {
			t.Fatal(err)
		}
		if len(got.Bad) > 0 {
			t.Errorf("%s: transformers complains of %v", names[i], got.Bad)
		}
		w, err := model.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		var logits []float32
		for d := model.New(w, k).Decoder(len(tokens)); d.Len() < len(tokens); {
			logits = append(logits, d.Next(tokens[d.Len():d.Len()+1])...)
		}
		t.Logf("torch %s, transformers %s: %s: %s", got.Torch, got.Transformers, names[i], differ(t, logits, got.Logits))
	}
}

// differ fails if logits differ by more than rounding, and says by how much they do.
func differ(t *testing.T, got []float32, want []float64) string {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d logits, transformers has %d", len(got), len(want))
	}
	top, most := 0.0, 0.0
	for i, x := range want {
		top, most = max(top, math.Abs(x)), max(most, math.Abs(x-float64(got[i])))
	}
	if !(most <= exportTolerance*top) {
		t.Errorf("logits up to %g differ by up to %g", top, most)
	}
	return fmt.Sprintf("logits up to %.2f differ by at most %.1e", top, most)
}
