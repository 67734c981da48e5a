package model_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/torctrain/torc/model"
)

func TestConfigsThatMeanTheSameParseToTheSame(t *testing.T) {
	llama3 := map[string]any{"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 8192}
	nested := map[string]any{"rope_theta": 5e5}
	for k, v := range llama3 {
		nested[k] = v
	}
	for name, pair := range map[string][2]map[string]any{
		"nested rope":        {{"rope_theta": 5e5, "rope_scaling": llama3}, {"rope_parameters": nested}},
		"no scaling":         {{"rope_scaling": nil}, {"rope_parameters": map[string]any{"rope_type": "default", "rope_theta": 10000.0}}},
		"type of old files":  {{"rope_scaling": map[string]any{"type": "linear", "factor": 2}}, {"rope_scaling": map[string]any{"rope_type": "linear", "factor": 2}}},
		"harmless fields":    {{}, {"use_cache": true, "bos_token_id": 1, "pretraining_tp": 1, "attention_dropout": 0.0, "rope_interleaved": false, "is_llama_config": true}},
		"null is absent":     {{}, {"some_new_field": nil, "quantization_config": nil}},
		"names of the types": {{"dtype": "bfloat16"}, {"torch_dtype": "torch.bfloat16"}},
		"mistral default":    {{"model_type": "mistral"}, {"model_type": "mistral", "sliding_window": 4096}},
		"mistral v0.2":       {{"model_type": "mistral", "sliding_window": nil}, {"model_type": "mistral", "sliding_window": nil, "head_dim": 4}},
		"one or many ends":   {{"eos_token_id": 2}, {"eos_token_id": []int{2}}},
		"window not in use":  {{"model_type": "qwen2", "use_sliding_window": false, "sliding_window": 9}, {"model_type": "qwen2", "sliding_window": nil}},
	} {
		a, b := tiny(t, pair[0]), tiny(t, pair[1])
		if describe(a) != describe(b) {
			t.Errorf("%s:\n%s\n%s", name, describe(a), describe(b))
		}
	}
	if describe(tiny(t, map[string]any{"model_type": "mistral"})) == describe(tiny(t, map[string]any{"model_type": "mistral", "sliding_window": nil})) {
		t.Error("mistral without a window is mistral with one")
	}
}

// describe is all of a Config but the text it came from.
func describe(c *model.Config) string {
	var all map[string]any
	text, err := json.Marshal(c)
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	return fmt.Sprint(all, err)
}

func TestConfigsThatAreNotSupportedAreRefusedByName(t *testing.T) {
	for name, c := range map[string]struct {
		changes map[string]any
		want    string
	}{
		"model type":         {map[string]any{"model_type": "gpt2"}, `"gpt2" is not supported`},
		"no model type":      {map[string]any{"model_type": nil}, `"model_type"`},
		"architecture":       {map[string]any{"architectures": []string{"LlamaForSequenceClassification"}}, "LlamaForSequenceClassification"},
		"unknown field":      {map[string]any{"logit_scale": 0.5}, `field "logit_scale": 0.5 is unknown`},
		"quantised":          {map[string]any{"quantization_config": map[string]any{"bits": 4}}, "quantization_config"},
		"activation":         {map[string]any{"hidden_act": "gelu"}, `"hidden_act": "gelu" is not supported, only "silu"`},
		"mlp bias of qwen3":  {map[string]any{"model_type": "qwen3", "mlp_bias": true}, "mlp_bias"},
		"dropout":            {map[string]any{"attention_dropout": 0.1}, "attention_dropout"},
		"bias of mistral":    {map[string]any{"model_type": "mistral", "attention_bias": true}, "attention_bias"},
		"window of llama":    {map[string]any{"sliding_window": 7}, "sliding_window"},
		"yarn":               {map[string]any{"rope_scaling": map[string]any{"rope_type": "yarn", "factor": 4}}, `"yarn" is not supported`},
		"rope field":         {map[string]any{"rope_scaling": map[string]any{"rope_type": "linear", "factor": 4, "beta": 1}}, "rope_scaling.beta"},
		"rope factor":        {map[string]any{"rope_scaling": map[string]any{"rope_type": "linear"}}, `"rope_scaling.factor": it is missing`},
		"rope twice":         {map[string]any{"rope_scaling": map[string]any{"type": "linear", "factor": 2}, "rope_parameters": map[string]any{"rope_theta": 1}}, "both"},
		"rope no object":     {map[string]any{"rope_scaling": 2}, "not an object"},
		"llama3 inverted":    {map[string]any{"rope_scaling": map[string]any{"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1, "original_max_position_embeddings": 8}}, "high_freq_factor"},
		"partial rotary":     {map[string]any{"partial_rotary_factor": 0.5}, "partial_rotary_factor"},
		"missing size":       {map[string]any{"hidden_size": nil}, `"hidden_size": it is missing`},
		"size as text":       {map[string]any{"hidden_size": "8"}, `"hidden_size": "8" is not a whole number`},
		"size as fraction":   {map[string]any{"hidden_size": 8.5}, "hidden_size"},
		"size zero":          {map[string]any{"num_hidden_layers": 0}, "num_hidden_layers"},
		"size huge":          {map[string]any{"vocab_size": 1 << 40}, "vocab_size"},
		"weight huge":        {map[string]any{"hidden_size": 1 << 20, "intermediate_size": 1 << 20}, "2^32"},
		"heads huge":         {map[string]any{"num_attention_heads": 1 << 20, "num_key_value_heads": 1, "head_dim": 1 << 20}, "too many"},
		"key heads":          {map[string]any{"num_key_value_heads": 4}, "does not divide"},
		"odd head":           {map[string]any{"head_dim": 3}, "odd"},
		"heads and no dim":   {map[string]any{"head_dim": nil}, "no multiple"},
		"eps":                {map[string]any{"rms_norm_eps": 0}, "rms_norm_eps"},
		"dtype":              {map[string]any{"torch_dtype": "float64"}, "float64"},
		"layer types":        {map[string]any{"model_type": "qwen2", "layer_types": []string{"full_attention", "sliding_attention"}}, `layer 1 is "sliding_attention"`},
		"layer types, count": {map[string]any{"model_type": "qwen2", "layer_types": []string{"full_attention"}}, "1 layers are listed"},
	} {
		all := tinyFields()
		for k, v := range c.changes {
			all[k] = v
		}
		dir := t.TempDir()
		raw, _ := json.Marshal(all)
		if err := os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := model.ReadConfig(dir)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), filepath.Join(dir, "config.json")) {
			t.Errorf("%s: %v, want an error with %q and the file", name, err, c.want)
		}
	}
	if _, err := model.ReadConfig(t.TempDir()); err == nil || !strings.Contains(err.Error(), "name a Hugging Face model directory") {
		t.Errorf("no config: %v", err)
	}
	for _, text := range []string{"", "[]", "null", "{", `{"model_type": 3}`} {
		if _, err := model.ParseConfig([]byte(text)); err == nil {
			t.Errorf("config %q is accepted", text)
		}
	}
}

func TestGenerationConfigSaysWhatEndsAText(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, text []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("config.json", tiny(t, map[string]any{"eos_token_id": 2}).JSON())
	for text, want := range map[string]string{`{"eos_token_id": [3, 4], "temperature": 1}`: "[3 4]", `{"eos_token_id": 5}`: "[5]", `{"eos_token_id": null}`: "[2]", `{}`: "[2]"} {
		write("generation_config.json", []byte(text))
		if c, err := model.ReadConfig(dir); err != nil || fmt.Sprint(c.EOS) != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	for _, text := range []string{"{", `{"eos_token_id": "x"}`} {
		write("generation_config.json", []byte(text))
		if _, err := model.ReadConfig(dir); err == nil || !strings.Contains(err.Error(), "generation_config.json") {
			t.Errorf("%s: %v, want an error naming the file", text, err)
		}
	}
}

func FuzzConfig(f *testing.F) {
	raw, _ := json.Marshal(tinyFields())
	f.Add(raw)
	f.Add([]byte(`{"model_type":"qwen2","layer_types":[]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := model.ParseConfig(raw)
		if err != nil || c.Layers > 100 {
			return
		}
		if len(c.Params()) != len(c.BackwardOrder()) {
			t.Fatal("parameters are lost in the backward order")
		}
	})
}

func TestWithChangesOnlyWhatItSays(t *testing.T) {
	c := tiny(t, map[string]any{"rope_theta": 123456.5})
	changed, err := c.With(map[string]any{"vocab_size": 99, "eos_token_id": []int{3, 4}})
	if err != nil {
		t.Fatal(err)
	}
	if changed.Vocab != 99 || fmt.Sprint(changed.EOS) != "[3 4]" || changed.Rope.Theta != 123456.5 || c.Vocab != 13 {
		t.Errorf("changed config is %s", describe(changed))
	}
	if _, err := c.With(map[string]any{"vocab_size": 0}); err == nil {
		t.Error("a bad change is accepted")
	}
	for _, field := range []string{"dtype", "torch_dtype"} {
		half, err := tiny(t, map[string]any{field: "float32"}).WithDType(model.BF16)
		if err != nil || half.DType != model.BF16 {
			t.Fatalf("%v, %v", half, err)
		}
		again, err := model.ParseConfig(half.JSON())
		if err != nil || again.DType != model.BF16 || strings.Contains(string(half.JSON()), "float32") {
			t.Errorf("%s: the text says %s (%v)", field, half.JSON(), err)
		}
	}
}

func TestPresetsAreTheModelsTheyAreNamedAfter(t *testing.T) {
	// trained parameters as published, a tied head counted once
	want := map[string]int{
		"smollm-135m": 134_515_008, "smollm-360m": 361_821_120, "smollm-1.7b": 1_711_376_384, "tinyllama-1.1b": 1_100_048_384,
		"llama-2-7b": 6_738_415_616, "llama-3-8b": 8_030_261_248, "llama-3.1-8b": 8_030_261_248, "llama-3.2-1b": 1_235_814_400,
		"llama-3.2-3b": 3_212_749_824, "tiny": 1_246_848,
	}
	if len(model.Presets()) != len(want) {
		t.Errorf("presets are %v", model.Presets())
	}
	for _, name := range model.Presets() {
		c, err := model.Preset(name, model.BF16)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, p := range c.Params() {
			n += p.Len()
		}
		if n != want[name] || c.DType != model.BF16 {
			t.Errorf("%s has %d parameters in %v, want %d in BF16", name, n, c.DType, want[name])
		}
	}
	if _, err := model.Preset("gpt-5", model.F32); err == nil || !strings.Contains(err.Error(), "llama-3.2-1b") {
		t.Errorf("unknown preset: %v, want an error naming the known ones", err)
	}
}

// The order that methods lay θ out by: worked by hand for two layers.
func TestBackwardOrder(t *testing.T) {
	names := func(c *model.Config) string {
		var all []string
		for _, id := range c.BackwardOrder() {
			p := c.Params()[id]
			all = append(all, strings.TrimSuffix(strings.TrimPrefix(p.Name, "model."), ".weight"))
		}
		return strings.Join(all, " ")
	}
	layer := func(l int, suffixes string) string {
		var all []string
		for _, s := range strings.Fields(suffixes) {
			all = append(all, fmt.Sprintf("layers.%d.%s", l, s))
		}
		return strings.Join(all, " ")
	}
	plain := "mlp.down_proj mlp.gate_proj mlp.up_proj post_attention_layernorm self_attn.o_proj self_attn.q_proj self_attn.k_proj self_attn.v_proj input_layernorm"
	if got, want := names(tiny(t, nil)), "norm "+layer(1, plain)+" "+layer(0, plain)+" embed_tokens"; got != want {
		t.Errorf("tied:\n%s\nwant\n%s", got, want)
	}
	if got, want := names(tiny(t, map[string]any{"tie_word_embeddings": false})), "lm_head norm "+layer(1, plain)+" "+layer(0, plain)+" embed_tokens"; got != want {
		t.Errorf("untied:\n%s\nwant\n%s", got, want)
	}
	full := "mlp.down_proj mlp.gate_proj mlp.up_proj post_attention_layernorm self_attn.o_proj self_attn.o_proj.bias self_attn.q_norm self_attn.k_norm " +
		"self_attn.q_proj self_attn.q_proj.bias self_attn.k_proj self_attn.k_proj.bias self_attn.v_proj self_attn.v_proj.bias input_layernorm"
	if got, want := names(tiny(t, map[string]any{"model_type": "qwen3", "attention_bias": true})), "norm "+layer(1, full)+" "+layer(0, full)+" embed_tokens"; got != want {
		t.Errorf("biases and norms:\n%s\nwant\n%s", got, want)
	}
	mlp := strings.NewReplacer("down_proj", "down_proj mlp.down_proj.bias", "gate_proj", "gate_proj mlp.gate_proj.bias", "up_proj", "up_proj mlp.up_proj.bias").Replace(plain)
	if got, want := names(tiny(t, map[string]any{"mlp_bias": true})), "norm "+layer(1, mlp)+" "+layer(0, mlp)+" embed_tokens"; got != want {
		t.Errorf("biases of the MLP:\n%s\nwant\n%s", got, want)
	}
}
