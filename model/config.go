package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Config is the shape of a model: a Hugging Face config.json, parsed and checked. It comes from ReadConfig, ParseConfig or
// Preset only, and does not change afterwards.
type Config struct {
	ModelType string // llama, mistral, qwen2 or qwen3
	Layers    int
	Hidden    int // C, features of the residual stream
	FFN       int // features between gate/up and down
	Vocab     int // V
	Heads     int // H, query heads
	KVHeads   int // divides Heads
	HeadDim   int // D, even
	Eps       float32
	Rope      Rope
	Tied      bool  // the head is the embedding
	QKVBias   bool  // q, k, v have a bias
	OBias     bool  // o has a bias
	MLPBias   bool  // gate, up and down have a bias
	QKNorm    bool  // q and k are normalised per head before rope
	Windows   []int // per layer: how many positions a query sees, its own included; 0 means all

	MaxPositions int     // the longest sequence the model was made for; nothing breaks beyond
	InitRange    float64 // standard deviation of fresh weights
	DType        DType   // the type the file says it is in; what counts is the type of each weight
	EOS          []int32 // tokens that end a text, as far as the directory says so

	raw []byte
}

// family is what a model_type fixes.
type family struct {
	architecture string
	qkvBias      bool // always
	qkNorm       bool
	maySlide     bool // knows sliding windows
	mayBias      bool // knows attention_bias
	mlpMayBias   bool // knows mlp_bias
}

func families(modelType string) (family, bool) {
	switch modelType {
	case "llama":
		return family{architecture: "LlamaForCausalLM", mayBias: true, mlpMayBias: true}, true
	case "mistral":
		return family{architecture: "MistralForCausalLM", maySlide: true}, true
	case "qwen2":
		return family{architecture: "Qwen2ForCausalLM", qkvBias: true, maySlide: true}, true
	case "qwen3":
		return family{architecture: "Qwen3ForCausalLM", qkNorm: true, maySlide: true, mayBias: true}, true
	}
	return family{}, false
}

// harmless are fields of config.json that do not change what the model computes.
func harmless(name string) bool {
	switch name {
	case "_name_or_path", "transformers_version", "transformers.js_config", "is_llama_config", "bos_token_id", "pad_token_id",
		"unk_token_id", "use_cache", "pretraining_tp", "max_sequence_length", "tokenizer_class", "task_specific_params",
		"chunk_size_feed_forward", "output_attentions", "output_hidden_states", "return_dict", "torchscript", "id2label", "label2id",
		"problem_type", "finetuning_task", "is_encoder_decoder", "auto_map", "unsloth_fixed", "unsloth_version", "model_max_length",
		"begin_suppress_tokens", "suppress_tokens", "forced_bos_token_id", "forced_eos_token_id", "max_length", "min_length",
		"do_sample", "temperature", "top_k", "top_p", "num_beams", "repetition_penalty", "_attn_implementation_autoset":
		return true
	}
	return false
}

// ReadConfig reads config.json of a model directory, and from generation_config.json, if it is there, which tokens end a text.
func ReadConfig(dir string) (*Config, error) {
	path := filepath.Join(dir, "config.json")
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read model %s: %w: name a Hugging Face model directory", dir, err)
	}
	c, err := ParseConfig(raw)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	path = filepath.Join(dir, "generation_config.json")
	raw, err = os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		err = c.readGeneration(raw)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return c, nil
}

func (c *Config) readGeneration(raw []byte) error {
	f, err := parseFields("", raw)
	if err != nil {
		return fmt.Errorf("parse JSON: %w", err)
	}
	if f.has("eos_token_id") {
		c.EOS = f.ids("eos_token_id")
	}
	return f.err
}

// ParseConfig checks the text of a config.json. It refuses, by name, a model_type or architecture it does not know, and
// every field that it does not know to be without influence on the result.
func ParseConfig(raw []byte) (*Config, error) {
	f, err := parseFields("", raw)
	if err != nil {
		return nil, fmt.Errorf("parse JSON: %w", err)
	}
	fam, err := knownFamily(f)
	if err != nil {
		return nil, err
	}
	c := &Config{raw: slices.Clone(raw), ModelType: f.text("model_type", "")}
	if c.readSizes(f); f.err != nil {
		return nil, f.err
	}
	c.readAttention(f, fam)
	c.Eps = float32(f.positive("rms_norm_eps", 1e-6))
	c.Rope = readRope(f)
	c.Tied = f.bool("tie_word_embeddings")
	c.InitRange = f.positive("initializer_range", 0.02)
	c.MaxPositions = f.count("max_position_embeddings", 2048, 1, maxCount)
	c.EOS = f.ids("eos_token_id")
	c.DType = readDType(f)
	f.must("hidden_act", "silu")
	if fam.mlpMayBias {
		c.MLPBias = f.bool("mlp_bias")
	} else {
		f.must("mlp_bias", false)
	}
	f.must("attention_dropout", 0)
	f.must("rope_interleaved", false)
	f.must("partial_rotary_factor", 1)
	f.must("add_cross_attention", false)
	f.must("is_decoder", true)
	f.rest(harmless)
	if f.err != nil {
		return nil, f.err
	}
	return c, nil
}

func knownFamily(f *fields) (family, error) {
	modelType := f.text("model_type", "")
	fam, ok := families(modelType)
	if !ok && f.err == nil {
		f.failf("model_type", "%q is not supported: supported are llama, mistral, qwen2 and qwen3", modelType)
	}
	var names []string
	if f.has("architectures") {
		f.value("architectures", &names, "a list of names")
	}
	for _, name := range names {
		if name != fam.architecture {
			f.failf("architectures", "%q is not supported: a %s model must be a %s", name, modelType, fam.architecture)
		}
	}
	return fam, f.err
}

// maxCount bounds every size, so that products of two cannot overflow.
const maxCount = 1 << 24

func (c *Config) readSizes(f *fields) {
	c.Layers = f.count("num_hidden_layers", required, 1, 1<<12)
	c.Hidden = f.count("hidden_size", required, 1, maxCount)
	c.FFN = f.count("intermediate_size", required, 1, maxCount)
	c.Vocab = f.count("vocab_size", required, 1, maxCount)
	c.Heads = f.count("num_attention_heads", required, 1, maxCount)
	c.KVHeads = f.count("num_key_value_heads", c.Heads, 1, maxCount)
	c.HeadDim = f.count("head_dim", c.defaultHeadDim(f), 1, maxCount)
	if f.err != nil {
		return
	}
	switch {
	case c.Heads%c.KVHeads != 0:
		f.failf("num_key_value_heads", "%d does not divide the %d heads", c.KVHeads, c.Heads)
	case c.HeadDim%2 != 0:
		f.failf("head_dim", "%d is odd, rotary embeddings need pairs", c.HeadDim)
	case c.Heads*c.HeadDim > maxCount:
		f.failf("num_attention_heads", "%d heads of %d features are too many", c.Heads, c.HeadDim)
	case max(c.FFN, c.Heads*c.HeadDim)*c.Hidden >= 1<<32:
		f.failf("hidden_size", "%d: a weight of 2^32 elements or more is not supported", c.Hidden)
	}
}

// defaultHeadDim is what a missing head_dim means.
func (c *Config) defaultHeadDim(f *fields) int {
	if c.ModelType == "qwen3" {
		return 128
	}
	if f.err != nil || f.has("head_dim") {
		return 1
	}
	if c.Hidden%c.Heads != 0 {
		f.failf("hidden_size", "%d is no multiple of the %d heads", c.Hidden, c.Heads)
	}
	return c.Hidden / c.Heads
}

func (c *Config) readAttention(f *fields, fam family) {
	c.QKVBias, c.QKNorm = fam.qkvBias, fam.qkNorm
	if fam.mayBias {
		c.OBias = f.bool("attention_bias")
		c.QKVBias = c.QKVBias || c.OBias
	} else {
		f.must("attention_bias", false)
	}
	c.Windows = make([]int, c.Layers)
	if !fam.maySlide {
		return
	}
	slides, first := true, 0 // from which layer on
	if c.ModelType != "mistral" {
		slides = f.bool("use_sliding_window")
		first = f.count("max_window_layers", 28, 0, maxCount)
	}
	window := f.count("sliding_window", 4096, 1, maxCount)
	if slides && !f.null["sliding_window"] {
		for l := first; l < c.Layers; l++ {
			c.Windows[l] = window
		}
	}
	c.checkLayerTypes(f)
}

// checkLayerTypes refuses layer_types that say something else than the fields it was derived from.
func (c *Config) checkLayerTypes(f *fields) {
	if !f.has("layer_types") {
		return
	}
	var types []string
	f.value("layer_types", &types, "a list of names")
	if len(types) != c.Layers {
		f.failf("layer_types", "%d layers are listed, num_hidden_layers is %d", len(types), c.Layers)
		return
	}
	for l, name := range types {
		want := "full_attention"
		if c.Windows[l] > 0 {
			want = "sliding_attention"
		}
		if name != want {
			f.failf("layer_types", "layer %d is %q, the other fields make it %q", l, name, want)
		}
	}
}

func readDType(f *fields) DType {
	name := strings.TrimPrefix(f.text("dtype", f.text("torch_dtype", "float32")), "torch.")
	for d := F32; d <= BF16; d++ {
		if d.hfName() == name {
			return d
		}
	}
	f.failf("dtype", "%q is not supported: supported are float32, float16 and bfloat16", name)
	return F32
}

// hfName is how config.json calls the type.
func (d DType) hfName() string { return [...]string{"float32", "float16", "bfloat16"}[d] }

// JSON is the text of the config.json this Config was made of. Not to be changed.
func (c *Config) JSON() []byte { return c.raw }

// With returns the Config of the same text with fields of config.json set to other values, as if it had been read so.
func (c *Config) With(fields map[string]any) (*Config, error) {
	var all map[string]any
	d := json.NewDecoder(bytes.NewReader(c.raw))
	d.UseNumber() // numbers stay as they are written
	if err := d.Decode(&all); err != nil {
		return nil, fmt.Errorf("change config: %w", err)
	}
	maps.Copy(all, fields)
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(all); err != nil {
		return nil, fmt.Errorf("change config: %w", err)
	}
	return ParseConfig(text.Bytes())
}

// WithDType returns the Config saying that the weights are stored as d.
func (c *Config) WithDType(d DType) (*Config, error) {
	fields := map[string]any{"torch_dtype": d.hfName()} // the name that all versions of transformers read
	if f, err := parseFields("", c.raw); err == nil && f.has("dtype") {
		fields = map[string]any{"dtype": d.hfName(), "torch_dtype": nil}
	}
	return c.With(fields)
}

// CheckTokens says which of ids, if any, the model has no embedding for.
func (c *Config) CheckTokens(ids []int32) error {
	for i, id := range ids {
		if id < 0 || int(id) >= c.Vocab {
			return fmt.Errorf("token %d at %d is not in the model's vocabulary of %d: tokenizer and model do not belong together", id, i, c.Vocab)
		}
	}
	return nil
}
