package model

import (
	"fmt"
	"strings"
)

// presets are the shapes of well-known models, as their config.json has them.
const presets = `
smollm-135m    {"hidden_size":576,"intermediate_size":1536,"num_hidden_layers":30,"num_attention_heads":9,"num_key_value_heads":3,"vocab_size":49152,"max_position_embeddings":2048,"rms_norm_eps":1e-5,"rope_theta":10000.0,"tie_word_embeddings":true}
smollm-360m    {"hidden_size":960,"intermediate_size":2560,"num_hidden_layers":32,"num_attention_heads":15,"num_key_value_heads":5,"vocab_size":49152,"max_position_embeddings":2048,"rms_norm_eps":1e-5,"rope_theta":10000.0,"tie_word_embeddings":true}
smollm-1.7b    {"hidden_size":2048,"intermediate_size":8192,"num_hidden_layers":24,"num_attention_heads":32,"num_key_value_heads":32,"vocab_size":49152,"max_position_embeddings":2048,"rms_norm_eps":1e-5,"rope_theta":10000.0,"tie_word_embeddings":true}
tinyllama-1.1b {"hidden_size":2048,"intermediate_size":5632,"num_hidden_layers":22,"num_attention_heads":32,"num_key_value_heads":4,"vocab_size":32000,"max_position_embeddings":2048,"rms_norm_eps":1e-5,"rope_theta":10000.0,"tie_word_embeddings":false}
llama-2-7b     {"hidden_size":4096,"intermediate_size":11008,"num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":32,"vocab_size":32000,"max_position_embeddings":4096,"rms_norm_eps":1e-5,"rope_theta":10000.0,"tie_word_embeddings":false}
llama-3-8b     {"hidden_size":4096,"intermediate_size":14336,"num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":8,"vocab_size":128256,"max_position_embeddings":8192,"rms_norm_eps":1e-5,"rope_theta":500000.0,"tie_word_embeddings":false}
llama-3.1-8b   {"hidden_size":4096,"intermediate_size":14336,"num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":8,"vocab_size":128256,"max_position_embeddings":131072,"rms_norm_eps":1e-5,"rope_theta":500000.0,"rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192},"tie_word_embeddings":false}
llama-3.2-1b   {"hidden_size":2048,"intermediate_size":8192,"num_hidden_layers":16,"num_attention_heads":32,"num_key_value_heads":8,"head_dim":64,"vocab_size":128256,"max_position_embeddings":131072,"rms_norm_eps":1e-5,"rope_theta":500000.0,"rope_scaling":{"rope_type":"llama3","factor":32.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192},"tie_word_embeddings":true}
llama-3.2-3b   {"hidden_size":3072,"intermediate_size":8192,"num_hidden_layers":28,"num_attention_heads":24,"num_key_value_heads":8,"head_dim":128,"vocab_size":128256,"max_position_embeddings":131072,"rms_norm_eps":1e-5,"rope_theta":500000.0,"rope_scaling":{"rope_type":"llama3","factor":32.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192},"tie_word_embeddings":true}
tiny           {"hidden_size":128,"intermediate_size":384,"num_hidden_layers":6,"num_attention_heads":4,"num_key_value_heads":2,"vocab_size":512,"max_position_embeddings":1024,"rms_norm_eps":1e-5,"rope_theta":10000.0,"tie_word_embeddings":true}
`

// Presets are the names Preset knows. tiny is the demo's.
func Presets() []string {
	var names []string
	for line := range strings.Lines(strings.TrimSpace(presets)) {
		names = append(names, strings.Fields(line)[0])
	}
	return names
}

// Preset returns the shape of a well-known model, to be filled with fresh weights of type d.
func Preset(name string, d DType) (*Config, error) {
	for line := range strings.Lines(strings.TrimSpace(presets)) {
		fields := strings.Fields(line)
		if fields[0] == name {
			common := `{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_act":"silu","attention_bias":false,"mlp_bias":false,"initializer_range":0.02,`
			c, err := ParseConfig([]byte(common + fields[1][1:]))
			if err != nil {
				return nil, fmt.Errorf("preset %s: %w", name, err)
			}
			return c.WithDType(d)
		}
	}
	return nil, fmt.Errorf("preset %q is unknown: known are %s", name, strings.Join(Presets(), ", "))
}
