package checkpoints

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
)

func tinyWeights(t *testing.T, d model.DType) *model.Weights {
	t.Helper()
	c, err := model.ParseConfig([]byte(`{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_act":"silu","hidden_size":32,
		"intermediate_size":48,"num_hidden_layers":2,"num_attention_heads":2,"num_key_value_heads":1,"vocab_size":40,
		"max_position_embeddings":64,"rms_norm_eps":1e-5,"rope_theta":10000.0,"tie_word_embeddings":true,"initializer_range":0.02,
		"torch_dtype":"bfloat16"}`))
	if err != nil {
		t.Fatal(err)
	}
	return model.NewRandom(c, d, 5)
}

// content is what companions hold in these tests.
const content = `{"eos_token_id": 2}`

// write makes a base directory with some companions and one file that is nobody's business.
func write(t *testing.T, w *model.Weights) string {
	t.Helper()
	empty, base := t.TempDir(), filepath.Join(t.TempDir(), "base")
	if err := ExportHF(base, empty, w, ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tokenizer.json", "generation_config.json", "README.md"} {
		if err := os.WriteFile(filepath.Join(base, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return base
}

func same(t *testing.T, a, b *model.Weights) {
	t.Helper()
	for i := range a.Params {
		x, y := a.Params[i], b.Params[i]
		if x.Name != y.Name || x.DType != y.DType || !slices.Equal(x.F32, y.F32) || !slices.Equal(x.U16, y.U16) {
			t.Errorf("%s differs", x.Name)
		}
	}
}

func TestExportedModelLoadsAsItWas(t *testing.T) {
	w := tinyWeights(t, model.BF16)
	base := write(t, w)
	for name, o := range map[string]ExportOptions{"one file": {}, "several files": {MaxFileBytes: 10_000}} {
		dst := filepath.Join(t.TempDir(), "not", "yet", "there")
		if err := ExportHF(dst, base, w, o); err != nil {
			t.Fatal(err)
		}
		got, err := model.Load(dst)
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, w)
		_, err = os.Stat(filepath.Join(dst, "model.safetensors.index.json"))
		if several := err == nil; several != (o.MaxFileBytes > 0) {
			t.Errorf("%s: index exists: %v", name, several)
		}
		for file, want := range map[string]bool{"tokenizer.json": true, "generation_config.json": true, "config.json": true, "README.md": false} {
			text, err := os.ReadFile(filepath.Join(dst, file))
			if (err == nil) != want || want && file != "config.json" && string(text) != content {
				t.Errorf("%s: %s is %q (%v)", name, file, text, err)
			}
		}
		info, err := os.Stat(dst)
		if err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: mode %v (%v), want rwxr-xr-x", name, info.Mode(), err)
		}
	}
}

func TestExportInAnotherTypeSaysSo(t *testing.T) {
	w := tinyWeights(t, model.BF16)
	base := write(t, w)
	dst, f32 := filepath.Join(t.TempDir(), "f32"), model.F32
	if err := ExportHF(dst, base, w, ExportOptions{DType: &f32}); err != nil {
		t.Fatal(err)
	}
	got, err := model.Load(dst)
	if err != nil {
		t.Fatal(err)
	}
	if got.Config.DType != model.F32 {
		t.Errorf("config.json says %v", got.Config.DType)
	}
	for i, p := range got.Params {
		for j := range p.Len() {
			if p.DType != model.F32 || p.At(j) != w.Params[i].At(j) {
				t.Fatalf("%s, %v: element %d is %v, want %v", p.Name, p.DType, j, p.At(j), w.Params[i].At(j))
			}
		}
	}
}

func TestExportTakesAnEmptyDirectoryAndNoOther(t *testing.T) {
	w := tinyWeights(t, model.BF16)
	base := write(t, w)
	dst := t.TempDir()
	if err := ExportHF(dst, base, w, ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	err := ExportHF(dst, base, w, ExportOptions{})
	if err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a second time: error is %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ExportHF(file, base, w, ExportOptions{}); err == nil {
		t.Error("a file as directory: no error")
	}
}

func TestFailedExportLeavesNothing(t *testing.T) {
	w := tinyWeights(t, model.BF16)
	base := write(t, w)
	if err := os.Mkdir(filepath.Join(base, "vocab.json"), 0o700); err != nil { // cannot be read as a file
		t.Fatal(err)
	}
	parent := t.TempDir()
	dst := filepath.Join(parent, "out")
	if err := ExportHF(dst, base, w, ExportOptions{}); err == nil || !strings.Contains(err.Error(), "vocab.json") {
		t.Errorf("error is %v, want one about vocab.json", err)
	}
	if _, err := os.Stat(dst); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s exists (%v)", dst, err)
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

// A state and the base weights give the weights that training left, bit for bit, after the state went through its bytes.
func TestStateAndBaseGiveTheTrainedWeights(t *testing.T) {
	for _, c := range []methods.Config{
		{Name: "lift", Modules: "linear", Rank: 2, Refresh: 2},
		methods.Default("full"),
		{Name: "full", Modules: "linear"},
		{Name: "sorsa", Rank: 2, Lambda: "paper", Penalty: "frobenius"},
		{Name: "pissa", Rank: 2},
		{Name: "lora", Rank: 2},
	} {
		w := tinyWeights(t, model.BF16)
		m, err := methods.New(c, w, 1)
		if err != nil {
			t.Fatal(err)
		}
		kernels := []model.Kernels{cpu.Ref()}
		if err := methods.Prepare(m, kernels, w); err != nil {
			t.Fatal(err)
		}
		s := &State{Theta: m.Start(w), M: make([]float32, m.Len()), V: make([]float32, m.Len())}
		for step := uint64(1); step <= 4; step++ {
			if r, ok := m.(methods.Refresher); ok && r.Due(step) {
				refresh(t, r, w, s)
			}
			for i := range s.Theta {
				s.Theta[i] += float32(rng.New(3).Sub(step).Float64(uint64(i))-0.5) * 0.1
			}
			m.Push(s.Theta, w)
			s.Step = step
		}
		var pipe strings.Builder
		if _, err := s.WriteTo(&pipe); err != nil {
			t.Fatal(err)
		}
		read, err := ReadState(strings.NewReader(pipe.String()))
		if err != nil {
			t.Fatal(err)
		}
		fresh := tinyWeights(t, model.BF16)
		again, err := methods.New(c, fresh, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := read.Merge(kernels, again, fresh); err != nil {
			t.Fatal(err)
		}
		if f, ok := m.(methods.Factored); ok {
			f.Merge(kernels[0], s.Theta, w)
		}
		for _, p := range fresh.Params {
			if p.DType != model.BF16 || p.Side != nil {
				t.Errorf("%s: %s is stored as %v, side path %v", c.Name, p.Name, p.DType, p.Side)
			}
		}
		same(t, fresh, w)
	}
}

func TestApplyWantsPreparedWeights(t *testing.T) {
	w := tinyWeights(t, model.BF16)
	m, err := methods.New(methods.Config{Name: "lora", Rank: 2}, w, 1)
	if err != nil {
		t.Fatal(err)
	}
	k := m.Len()
	s := &State{Theta: make([]float32, k), M: make([]float32, k), V: make([]float32, k)}
	if err := s.Apply(m, w); err == nil || !strings.Contains(err.Error(), "methods.Prepare") {
		t.Errorf("error is %v, want one that names methods.Prepare", err)
	}
}

func refresh(t *testing.T, r methods.Refresher, w *model.Weights, s *State) {
	t.Helper()
	var sets [][]uint32
	for _, sel := range r.Selected() {
		set, err := r.Select(cpu.Ref(), sel.Weight, w.Params[sel.Weight].Matrix)
		if err != nil {
			t.Fatal(err)
		}
		sets = append(sets, set)
	}
	if err := r.Adopt(sets, w, s.Theta, s.M, s.V); err != nil {
		t.Fatal(err)
	}
	s.Sets, s.Retired = r.Sets(), r.Retired()
}

func TestApplyRefusesTheStateOfAnotherRun(t *testing.T) {
	w := tinyWeights(t, model.BF16)
	full, err := methods.New(methods.Default("full"), w, 1)
	if err != nil {
		t.Fatal(err)
	}
	k := full.Len()
	for name, s := range map[string]*State{
		"another length": {Theta: []float32{1}, M: []float32{1}, V: []float32{1}},
		"sets":           {Theta: make([]float32, k), M: make([]float32, k), V: make([]float32, k), Sets: [][]uint32{{1}}},
		"uneven lengths": {Theta: make([]float32, k), M: make([]float32, k)},
	} {
		before := tinyWeights(t, model.BF16)
		if err := s.Apply(full, w); err == nil {
			t.Errorf("%s: applied", name)
		}
		same(t, w, before)
	}
}
