package model_test

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/safetensors"
)

// save writes a model directory in files of at most maxBytes.
func save(t *testing.T, dir string, w *model.Weights, tensors []safetensors.Tensor, maxBytes int64) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), w.Config.JSON(), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := safetensors.WriteModel(dir, tensors, maxBytes, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
}

func TestWeightsSurviveTheirFilesBitForBit(t *testing.T) {
	for _, d := range []model.DType{model.F32, model.F16, model.BF16} {
		for _, maxBytes := range []int64{1 << 30, 500} {
			w := weights(tiny(t, map[string]any{"tie_word_embeddings": false}), d)
			dir := t.TempDir()
			save(t, dir, w, w.Tensors(), maxBytes)
			got, err := model.Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			for i, p := range got.Params {
				want := w.Params[i]
				if p.Name != want.Name || p.Layer != want.Layer || p.Module != want.Module || p.DType != d || p.Rows != want.Rows || p.Cols != want.Cols ||
					!slices.Equal(p.F32, want.F32) || !slices.Equal(p.U16, want.U16) {
					t.Errorf("%v: parameter %s comes back as %s (%d, %d) of layer %d", d, want.Name, p.Name, p.Rows, p.Cols, p.Layer)
				}
				if id, ok := got.ID(p.Name); !ok || int(id) != i {
					t.Errorf("ID(%s) is %d", p.Name, id)
				}
			}
			if _, ok := got.ID("absent"); ok {
				t.Error("an absent name has an ID")
			}
		}
	}
}

func TestConvertedWeightsAreRoundedToNearest(t *testing.T) {
	for _, from := range []model.DType{model.F32, model.F16, model.BF16} {
		for _, to := range []model.DType{model.F32, model.F16, model.BF16} {
			w := weights(tiny(t, nil), from)
			dir := t.TempDir()
			save(t, dir, w, w.TensorsAs(to), 1<<30)
			got, err := model.Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			one := model.NewMatrix(to, 1, 1)
			for i, p := range got.Params {
				if p.DType != to {
					t.Fatalf("%s is %v, want %v", p.Name, p.DType, to)
				}
				for j := range p.Len() {
					if want := one.Set(0, w.Params[i].At(j)); p.At(j) != want {
						t.Fatalf("%v to %v: element %d of %s is %v, want %v", from, to, j, p.Name, p.At(j), want)
					}
				}
			}
		}
	}
}

func TestModelsThatDoNotFitTheirConfigAreRefused(t *testing.T) {
	u8 := func(name string, n int) safetensors.Tensor {
		return safetensors.Tensor{Name: name, Info: safetensors.Info{DType: "U8", Shape: []int{n}, Data: make([]byte, n)}}
	}
	const gate = "model.layers.1.mlp.gate_proj.weight"
	find := func(tensors []safetensors.Tensor, name string) *safetensors.Tensor {
		for i := range tensors {
			if tensors[i].Name == name {
				return &tensors[i]
			}
		}
		t.Fatalf("no tensor %s", name)
		return nil
	}
	for name, c := range map[string]struct {
		breakIt func(w *model.Weights, tensors []safetensors.Tensor) []safetensors.Tensor
		want    string
	}{
		"missing": {func(_ *model.Weights, tensors []safetensors.Tensor) []safetensors.Tensor {
			return slices.DeleteFunc(tensors, func(x safetensors.Tensor) bool { return x.Name == gate })
		}, `no tensor "` + gate + `"`},
		"shape": {func(_ *model.Weights, tensors []safetensors.Tensor) []safetensors.Tensor {
			find(tensors, gate).Shape = []int{8, 10}
			return tensors
		}, `"` + gate + `": shape [8 10], config.json makes it [10 8]`},
		"dtype": {func(_ *model.Weights, tensors []safetensors.Tensor) []safetensors.Tensor {
			x := find(tensors, gate)
			x.DType, x.Fill, x.Data = "F64", nil, make([]byte, 8*80)
			return tensors
		}, `"` + gate + `": dtype F64 is not supported`},
		"extra": {func(_ *model.Weights, tensors []safetensors.Tensor) []safetensors.Tensor {
			return append(tensors, u8("model.layers.0.mlp.gate_proj.qzeros", 3))
		}, `"model.layers.0.mlp.gate_proj.qzeros" is not part of a llama model`},
		"other head": {func(w *model.Weights, tensors []safetensors.Tensor) []safetensors.Tensor {
			x := *find(tensors, "model.embed_tokens.weight")
			x.Name = "lm_head.weight"
			x.Fill = func(dst []byte) { clear(dst) }
			return append(tensors, x)
		}, "differs from the embeddings"},
	} {
		w := weights(tiny(t, nil), model.BF16)
		dir := t.TempDir()
		save(t, dir, w, c.breakIt(w, w.Tensors()), 1<<30)
		_, err := model.Load(dir)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v, want an error with %q and the file", name, err, c.want)
		}
	}
	w := weights(tiny(t, nil), model.F16)
	dir := t.TempDir()
	untied, err := w.Config.With(map[string]any{"tie_word_embeddings": false})
	if err != nil {
		t.Fatal(err)
	}
	save(t, dir, &model.Weights{Config: untied}, w.Tensors(), 1<<30)
	if _, err := model.Load(dir); err == nil || !strings.Contains(err.Error(), `"tie_word_embeddings": true`) {
		t.Errorf("missing head: %v, want an error saying how to tie it", err)
	}
}

func TestRedundantTensorsAreLeftOut(t *testing.T) {
	w := weights(tiny(t, nil), model.BF16)
	head := w.Tensors()[0]
	head.Name = "lm_head.weight"
	dir := t.TempDir()
	save(t, dir, w, append(w.Tensors(), head, safetensors.Tensor{
		Name: "model.layers.0.self_attn.rotary_emb.inv_freq",
		Info: safetensors.Info{DType: "F32", Shape: []int{1}, Data: make([]byte, 4)},
	}), 1<<30)
	got, err := model.Load(dir)
	if err != nil || len(got.Params) != len(w.Params) {
		t.Errorf("%d parameters, want %d (%v)", len(got.Params), len(w.Params), err)
	}
}

func TestRandomWeightsAreNormalAndAPureFunction(t *testing.T) {
	c := tiny(t, map[string]any{"hidden_size": 64, "intermediate_size": 128, "vocab_size": 501, "initializer_range": 0.02, "attention_bias": true})
	w, again, other := model.NewRandom(c, model.F32, 5), model.NewRandom(c, model.F32, 5), model.NewRandom(c, model.F32, 6)
	for i, p := range w.Params {
		if !slices.Equal(p.F32, again.Params[i].F32) {
			t.Errorf("%s differs between two calls", p.Name)
		}
		shape := c.Params()[i]
		if shape.Vector() {
			want := float32(1)
			if strings.HasSuffix(p.Name, ".bias") {
				want = 0
			}
			if slices.ContainsFunc(p.F32, func(v float32) bool { return v != want }) {
				t.Errorf("%s is not all %v", p.Name, want)
			}
			continue
		}
		if slices.Equal(p.F32, other.Params[i].F32) {
			t.Errorf("%s is the same for another seed", p.Name)
		}
		var sum, square, beyond float64
		for _, v := range p.F32 {
			x := float64(v) / 0.02
			sum, square = sum+x, square+x*x
			if math.Abs(x) > 1.959964 {
				beyond++
			}
		}
		n := float64(p.Len())
		if z := sum / math.Sqrt(n); math.Abs(z) > 5 {
			t.Errorf("%s: mean is %.1f standard errors off", p.Name, z)
		}
		if z := (square - n) / math.Sqrt(2*n); math.Abs(z) > 5 {
			t.Errorf("%s: variance is %.1f standard errors off", p.Name, z)
		}
		if z := (beyond - 0.05*n) / math.Sqrt(0.0475*n); math.Abs(z) > 5 {
			t.Errorf("%s: %.2f %% lie outside the central 95 %%", p.Name, 100*beyond/n)
		}
	}
	for i, a := range w.Params {
		for _, b := range w.Params[:i] {
			if !c.Params()[i].Vector() && slices.Equal(a.F32, b.F32) {
				t.Errorf("%s equals %s", a.Name, b.Name)
			}
		}
	}
	if half := model.NewRandom(c, model.BF16, 5); half.Params[0].U16[0] != model.ToBF16(w.Params[0].F32[0]) {
		t.Error("a bf16 weight is not the rounded one")
	}
}

func TestNormalIsTheQuantileFunction(t *testing.T) {
	for i := range 4096 {
		bits := uint64(i)<<52 | uint64(i)*0x9e3779b97f4a7
		p := (float64(bits>>12) + 0.5) * 0x1p-52
		want := -math.Sqrt2 * math.Erfcinv(2*p)
		if got := model.Normal(bits); math.Abs(got-want) > 3e-7*math.Abs(want) {
			t.Errorf("quantile of %v is %v, want %v", p, got, want)
		}
	}
	if lo, hi := model.Normal(0), model.Normal(math.MaxUint64); math.IsInf(lo, 0) || lo > -8 || hi != -lo {
		t.Errorf("extremes are %v and %v", lo, hi)
	}
}
