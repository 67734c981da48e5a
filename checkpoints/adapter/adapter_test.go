package adapter

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
	"github.com/torctrain/torc/model/safetensors"
)

// base is a small model with four query heads for two key-value heads.
func base(t testing.TB, d model.DType) *model.Weights {
	t.Helper()
	c, err := model.ParseConfig([]byte(`{"model_type":"llama","architectures":["LlamaForCausalLM"],"hidden_act":"silu","hidden_size":16,
		"intermediate_size":24,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":4,"vocab_size":20,
		"rms_norm_eps":1e-5,"max_position_embeddings":64,"initializer_range":0.5,"rope_theta":10000.0,"tie_word_embeddings":true}`))
	if err != nil {
		t.Fatal(err)
	}
	return model.NewRandom(c, d, 3)
}

// trained is what a run made of the base: its delta, and the weights as an export has them.
func trained(t testing.TB, c methods.Config, d model.DType, seed uint64) (*Delta, *model.Weights) {
	t.Helper()
	w := base(t, d)
	m, err := methods.New(c, w, seed)
	if err != nil {
		t.Fatal(err)
	}
	if err := methods.Prepare(m, []model.Kernels{cpu.Ref()}, w); err != nil {
		t.Fatal(err)
	}
	start := m.Start(w)
	theta := slices.Clone(start)
	jolt := func(by uint64) {
		for i := range theta {
			theta[i] += float32(0.2 * (rng.New(by).Float64(uint64(i)) - 0.5))
		}
		m.Push(theta, w)
	}
	if r, ok := m.(methods.Refresher); ok {
		mom, v := make([]float32, m.Len()), make([]float32, m.Len())
		refreshes := 1
		if c.Refresh > 0 {
			refreshes = 2 // so that some coordinates are retired
		}
		for i := range refreshes {
			var sets [][]uint32
			for _, s := range r.Selected() {
				set, err := r.Select(cpu.Ref(), s.Weight, w.Params[s.Weight].Matrix)
				if err != nil {
					t.Fatal(err)
				}
				sets = append(sets, set)
			}
			if err := r.Adopt(sets, w, theta, mom, v); err != nil {
				t.Fatal(err)
			}
			jolt(uint64(i))
		}
	}
	jolt(seed + 9)
	delta, err := Of(m, theta, start, base(t, d), c.Name)
	if err != nil {
		t.Fatal(err)
	}
	if f, ok := m.(methods.Factored); ok {
		f.Merge(cpu.Ref(), theta, w)
	}
	return delta, w
}

func configs() []methods.Config {
	return []methods.Config{
		{Name: "lift", Modules: "linear", Rank: 2, Refresh: 5},
		{Name: "lift", Modules: "mlp", Rank: 1},
		{Name: "s2ft", O: 0.4, Down: 0.2, V: 0.5, Up: 0.1, Select: "random"},
		{Name: "sorsa", Rank: 3, Lambda: "published", Penalty: "frobenius"},
		{Name: "sorsa", Rank: 2, Lambda: "0", Penalty: "squared", Residual: "base"},
		{Name: "pissa", Rank: 2},
		{Name: "lora", Rank: 2, Alpha: 3, RSLoRA: true},
	}
}

func factored(c methods.Config) bool { return c.Rank > 0 && c.Name != "lift" }

// same says how two models differ: bit for bit, or by no more than the rounding of factors.
func same(t *testing.T, what string, got, want *model.Weights, near float64) {
	t.Helper()
	for id := range want.Params {
		for i := range want.Params[id].Len() {
			x, y := float64(got.Params[id].At(i)), float64(want.Params[id].At(i))
			if !(math.Abs(x-y) <= near*(1+math.Abs(y))) {
				t.Fatalf("%s: %s[%d] is %v, want %v", what, want.Params[id].Name, i, x, y)
			}
		}
	}
}

func TestBaseAndDeltaAreTheTrainedModel(t *testing.T) {
	for _, d := range []model.DType{model.F32, model.BF16, model.F16} {
		for _, c := range configs() {
			delta, want := trained(t, c, d, 1)
			path := filepath.Join(t.TempDir(), "x.delta")
			if err := delta.Write(path); err != nil {
				t.Fatal(err)
			}
			read, err := Read(path)
			if err != nil {
				t.Fatal(err)
			}
			got := base(t, d)
			undo, err := Apply(got, Weighted{read, 1})
			if err != nil {
				t.Fatal(err)
			}
			near := 0.0
			if factored(c) {
				near = map[model.DType]float64{model.F32: 1e-6, model.BF16: 0x1p-8, model.F16: 0x1p-11}[d]
			}
			same(t, c.Name+" "+d.String(), got, want, near)

			kept := filepath.Join(t.TempDir(), "undo")
			if err := undo.Write(kept); err != nil {
				t.Fatal(err)
			}
			if undo, err = ReadUndo(kept); err != nil {
				t.Fatal(err)
			}
			if err := undo.Revert(got); err != nil || Hash(got) != Hash(base(t, d)) {
				t.Errorf("%s: reverting does not give the bits of the base (%v)", c.Name, err)
			}
		}
	}
}

func TestDeltasAreWeighted(t *testing.T) {
	for _, c := range configs() {
		delta, full := trained(t, c, model.F32, 1)
		half, before := base(t, model.F32), base(t, model.F32)
		if _, err := Apply(half, Weighted{delta, 0.5}); err != nil {
			t.Fatal(err)
		}
		want := base(t, model.F32)
		for id, p := range want.Params {
			for i := range p.Len() {
				p.Set(i, float32((float64(full.Params[id].At(i))+float64(before.Params[id].At(i)))/2))
			}
		}
		same(t, c.Name+" by half", half, want, 2e-6)

		none := base(t, model.F32)
		if _, err := Apply(none, Weighted{delta, 0.25}, Weighted{delta, -0.25}); err != nil {
			t.Fatal(err)
		}
		same(t, c.Name+" and its opposite", none, before, 1e-6)
	}
}

// Two S²FT adapters of channels that do not meet are each there in full, and joining them changes nothing.
func TestDisjointSlicesStandBesideEachOther(t *testing.T) {
	c := methods.Config{Name: "s2ft", Down: 0.2, Select: "smallest-weight"}
	a, wa := trained(t, c, model.BF16, 1)
	c.Select = "largest-weight"
	b, wb := trained(t, c, model.BF16, 2)
	both := base(t, model.BF16)
	if _, err := Apply(both, Weighted{a, 1}, Weighted{b, 1}); err != nil {
		t.Fatal(err)
	}
	old, changed := base(t, model.BF16), 0
	for id, p := range both.Params {
		for i := range p.Len() {
			want := wa.Params[id].At(i)
			if want == old.Params[id].At(i) {
				want = wb.Params[id].At(i)
			}
			if p.At(i) != want {
				t.Fatalf("%s[%d] is %v, want %v", p.Name, i, p.At(i), want)
			}
			if want != old.Params[id].At(i) {
				changed++
			}
		}
	}
	if changed == 0 {
		t.Fatal("nothing changed")
	}
	joined, err := Join(Weighted{a, 1}, Weighted{b, 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Apply(old, Weighted{joined, 1}); err != nil {
		t.Fatal(err)
	}
	same(t, "joined", old, both, 0)
}

func TestJoinedDeltasAreThoseAppliedTogether(t *testing.T) {
	for _, names := range [][2]int{{0, 1}, {0, 2}, {3, 5}, {5, 6}} {
		a, _ := trained(t, configs()[names[0]], model.F32, 1)
		b, _ := trained(t, configs()[names[1]], model.F32, 2)
		want, got := base(t, model.F32), base(t, model.F32)
		if _, err := Apply(want, Weighted{a, 0.7}, Weighted{b, 1.5}); err != nil {
			t.Fatal(err)
		}
		joined, err := Join(Weighted{a, 0.7}, Weighted{b, 1.5})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "joined")
		if err := joined.Write(path); err != nil {
			t.Fatal(err)
		}
		if joined, err = Read(path); err != nil {
			t.Fatal(err)
		}
		if _, err := Apply(got, Weighted{joined, 1}); err != nil {
			t.Fatal(err)
		}
		same(t, "joined", got, want, 2e-6)
	}
	a, _ := trained(t, configs()[0], model.F32, 1)
	b, _ := trained(t, configs()[5], model.F32, 1)
	if _, err := Join(Weighted{a, 1}, Weighted{b, 1}); err == nil || !strings.Contains(err.Error(), "apply both to the base instead") {
		t.Errorf("elements and factors: error is %v", err)
	}
}

func TestDeltaOfAnotherBaseIsRefused(t *testing.T) {
	delta, _ := trained(t, configs()[0], model.BF16, 1)
	other := base(t, model.BF16)
	other.Params[2].Set(0, 7)
	hash := Hash(other)
	if _, err := Apply(other, Weighted{delta, 1}); err == nil || !strings.Contains(err.Error(), "use the model that the run started from") || Hash(other) != hash {
		t.Errorf("another base: error is %v, or it changed", err)
	}
	if _, err := Apply(base(t, model.F32), Weighted{delta, 1}); err == nil {
		t.Error("the base in another type: no error")
	}
	foreign := *delta
	foreign.Base[0]++
	if _, err := Join(Weighted{delta, 1}, Weighted{&foreign, 1}); err == nil {
		t.Error("deltas of two bases are joined")
	}
}

func TestModelThatChangedIsNotReverted(t *testing.T) {
	delta, _ := trained(t, configs()[0], model.BF16, 1)
	w := base(t, model.BF16)
	undo, err := Apply(w, Weighted{delta, 1})
	if err != nil {
		t.Fatal(err)
	}
	w.Params[1].Set(0, 9)
	hash := Hash(w)
	if err := undo.Revert(w); err == nil || !strings.Contains(err.Error(), "they changed after the delta was applied") || Hash(w) != hash {
		t.Errorf("error is %v, or it changed", err)
	}
}

func TestFullHasNoDelta(t *testing.T) {
	w := base(t, model.F32)
	m, err := methods.New(methods.Default("full"), w, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Of(m, m.Start(w), m.Start(w), w, "full"); err == nil || !strings.Contains(err.Error(), "--format hf") {
		t.Errorf("error is %v", err)
	}
}

func TestDamagedDeltasAreRefused(t *testing.T) {
	delta, _ := trained(t, configs()[0], model.BF16, 1)
	meta := map[string]string{"format": deltaFormat, "base": strings.Repeat("00", 32), "weights": "1", "w": "4 4 at"}
	at, now, was := words("w.at", []uint32{3, 5}), floats("w.now", []float32{1, 2}, 2), stored("w.was", model.BF16, []uint32{1, 2}, 2)
	for name, edit := range map[string]func(map[string]string) []safetensors.Tensor{
		"sound":     func(map[string]string) []safetensors.Tensor { return []safetensors.Tensor{at, now, was} },
		"no format": func(m map[string]string) []safetensors.Tensor { delete(m, "format"); return []safetensors.Tensor{at} },
		"a later format": func(m map[string]string) []safetensors.Tensor {
			m["format"] = "torc-delta 2"
			return []safetensors.Tensor{at}
		},
		"no base": func(m map[string]string) []safetensors.Tensor {
			m["base"] = "12"
			return []safetensors.Tensor{at, now, was}
		},
		"a weight less": func(m map[string]string) []safetensors.Tensor {
			m["weights"] = "2"
			return []safetensors.Tensor{at, now, was}
		},
		"another form": func(m map[string]string) []safetensors.Tensor {
			m["w"] = "4 4 dense"
			return []safetensors.Tensor{at, now, was}
		},
		"no shape": func(m map[string]string) []safetensors.Tensor {
			m["w"] = "x"
			return []safetensors.Tensor{at, now, was}
		},
		"outside": func(m map[string]string) []safetensors.Tensor {
			m["w"] = "1 5 at"
			return []safetensors.Tensor{at, now, was}
		},
		"huge": func(m map[string]string) []safetensors.Tensor {
			m["w"] = "4000000000 4000000000 columns"
			return []safetensors.Tensor{at, now, was}
		},
		"not ascending": func(map[string]string) []safetensors.Tensor {
			return []safetensors.Tensor{words("w.at", []uint32{5, 5}), now, was}
		},
		"a value less": func(map[string]string) []safetensors.Tensor {
			return []safetensors.Tensor{at, floats("w.now", []float32{1}, 1), was}
		},
		"values missing": func(map[string]string) []safetensors.Tensor { return []safetensors.Tensor{at, now} },
		"integer values": func(map[string]string) []safetensors.Tensor {
			x := words("w.now", []uint32{1, 2})
			return []safetensors.Tensor{at, x, was}
		},
		"factors missing": func(m map[string]string) []safetensors.Tensor {
			m["w"] = "4 4 factors"
			return []safetensors.Tensor{at, now, was}
		},
	} {
		m := map[string]string{}
		for k, v := range meta {
			m[k] = v
		}
		path := filepath.Join(t.TempDir(), "x.delta")
		if err := safetensors.Write(path, edit(m), m); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); (err == nil) != (name == "sound") {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	delta.Changes[0].Now = delta.Changes[0].Now[1:]
	if err := delta.Write(filepath.Join(t.TempDir(), "y")); err == nil {
		t.Error("a delta that does not belong together is written")
	}
}

// What PEFT makes of a LoRA adapter, W + alpha/r·B·A, is the trained model.
func TestLoRAAdapterIsTheTrainedModel(t *testing.T) {
	for _, c := range configs() {
		if !factored(c) {
			continue
		}
		delta, want := trained(t, c, model.F32, 1)
		dir := filepath.Join(t.TempDir(), "adapter")
		if err := delta.WriteLoRA(dir, "base"); err != nil {
			t.Fatal(err)
		}
		config := readConfig(t, dir)
		f, err := safetensors.Open(filepath.Join(dir, weightsName))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		got := base(t, model.F32)
		for _, p := range got.Params {
			if !p.Module.Linear() {
				continue
			}
			name := "base_model.model." + strings.TrimSuffix(p.Name, ".weight")
			a, errA := f.Tensor(name + ".lora_A.weight")
			b, errB := f.Tensor(name + ".lora_B.weight")
			r := int(config["r"].(float64))
			if errA != nil || errB != nil || !slices.Equal(a.Shape, []int{r, p.Cols}) || !slices.Equal(b.Shape, []int{p.Rows, r}) {
				t.Fatalf("%s: %v, %v", name, a.Shape, b.Shape)
			}
			x, y := readFloats(a.Data), readFloats(b.Data)
			for i := range p.Rows {
				for j := range p.Cols {
					sum := 0.0
					for k := range r {
						sum += float64(y[i*r+k]) * float64(x[k*p.Cols+j])
					}
					p.F32[i*p.Cols+j] += float32(sum * config["lora_alpha"].(float64) / float64(r))
				}
			}
		}
		same(t, c.Name, got, want, 2e-6)
		wantRank := float64(2 * c.Rank)
		if c.Name == "lora" {
			wantRank = float64(c.Rank)
		}
		if targets := config["target_modules"].([]any); config["r"] != wantRank || len(targets) != 7 || config["peft_type"] != "LORA" {
			t.Errorf("%s: config is %v", c.Name, config)
		}
		if err := delta.WriteLoRA(dir, "base"); err == nil {
			t.Error("an adapter is written over another")
		}
	}
}

func readConfig(t *testing.T, dir string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, configName))
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	return config
}

func TestSHiRAAdapterIsTheTrainedModel(t *testing.T) {
	delta, want := trained(t, methods.Config{Name: "lift", Modules: "linear", Rank: 2}, model.F32, 1)
	dir := filepath.Join(t.TempDir(), "adapter")
	if err := delta.WriteSHiRA(dir, "base"); err != nil {
		t.Fatal(err)
	}
	if c := readConfig(t, dir); c["r"] != 2.0 || c["peft_type"] != "SHIRA" {
		t.Errorf("config is %v", c)
	}
	values, err := safetensors.Open(filepath.Join(dir, weightsName))
	if err != nil {
		t.Fatal(err)
	}
	defer values.Close()
	places, err := safetensors.Open(filepath.Join(dir, maskName))
	if err != nil {
		t.Fatal(err)
	}
	defer places.Close()
	got := base(t, model.F32)
	for _, p := range got.Params {
		if !p.Module.Linear() {
			continue
		}
		module := strings.TrimSuffix(p.Name, ".weight")
		v, errV := values.Tensor("base_model.model." + module + ".shira_weight")
		at, errAt := places.Tensor(module)
		k := 2 * (p.Rows + p.Cols)
		if errV != nil || errAt != nil || !slices.Equal(at.Shape, []int{2, k}) || !reflect.DeepEqual(v.Shape, []int{k}) {
			t.Fatalf("%s: %v, %v", module, v.Shape, at.Shape)
		}
		diff, index := readFloats(v.Data), readWords(at.Data)
		for j, x := range diff {
			p.F32[int(index[j])*p.Cols+int(index[k+j])] += x
		}
	}
	same(t, "shira", got, want, 1e-6)
}

func TestAdaptersOfTheWrongKindAreRefused(t *testing.T) {
	lift, _ := trained(t, configs()[0], model.F32, 1) // with retired coordinates
	lora, _ := trained(t, configs()[6], model.F32, 1)
	dir := t.TempDir()
	for name, err := range map[string]error{
		"lift, one set": lift.WriteSHiRA(filepath.Join(dir, "a"), ""),
		"has no factors: use --format delta, or shira for lift": lift.WriteLoRA(filepath.Join(dir, "b"), ""),
		"changes no single elements":                            lora.WriteSHiRA(filepath.Join(dir, "c"), ""),
	} {
		want := name
		if name == "lift, one set" {
			want = "SHiRA wants lift with method.rank and one set for the whole run"
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}
