package adapter

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/torctrain/torc/internal/durable"
	"github.com/torctrain/torc/model/safetensors"
)

// Files of an adapter directory as PEFT has them, and the one it lacks: which elements a SHiRA adapter changes.
const (
	configName  = "adapter_config.json"
	weightsName = "adapter_model.safetensors"
	maskName    = "shira_indices.safetensors"
)

// WriteLoRA writes a delta of factors as a LoRA adapter that PEFT loads onto the base, into a new directory dst. The name of the
// base is a hint for whoever loads it. Where training began with factors that were not zero, the adapter has twice their rank:
// what was learned, and less what it began with.
func (d *Delta) WriteLoRA(dst, base string) error {
	rank := 0
	var tensors []safetensors.Tensor
	for i := range d.Changes {
		c := &d.Changes[i]
		if c.Form != Factors {
			return fmt.Errorf("write LoRA adapter: %s of %s has no factors: use --format delta, or shira for lift", d.Method, c.Name)
		}
		if rank != 0 && c.Rank != rank {
			return fmt.Errorf("write LoRA adapter: ranks %d and %d: use --format delta", rank, c.Rank)
		}
		rank = c.Rank
		prefix := peftName(c.Name)
		tensors = append(tensors, floats(prefix+".lora_A.weight", c.A, c.Rank, c.Cols), floats(prefix+".lora_B.weight", transposed(c.B, c.Rank, c.Rows), c.Rows, c.Rank))
	}
	config := map[string]any{
		"peft_type": "LORA", "r": rank, "lora_alpha": rank, // so that the scale, which is in the factors, is 1
		"lora_dropout": 0.0, "use_rslora": false, "init_lora_weights": true, "bias": "none",
	}
	return d.writePEFT(dst, base, config, map[string][]safetensors.Tensor{weightsName: tensors})
}

// WriteSHiRA writes a delta of single elements as a SHiRA adapter, into a new directory dst. PEFT knows how many elements an
// adapter has, R·(m+n) of each weight, and draws which itself; ours stand beside it, in shira_indices.safetensors, as rows and
// columns (2, k) of each module, and docs/guide.md shows how they are loaded.
func (d *Delta) WriteSHiRA(dst, base string) error {
	rank := 0
	var values, places []safetensors.Tensor
	for i := range d.Changes {
		c := &d.Changes[i]
		if c.Form != Sparse {
			return fmt.Errorf("write SHiRA adapter: %s of %s changes no single elements: use --format delta", d.Method, c.Name)
		}
		r := len(c.At) / (c.Rows + c.Cols)
		if r < 1 || r*(c.Rows+c.Cols) != len(c.At) || rank != 0 && r != rank {
			return fmt.Errorf("write SHiRA adapter: %s has %d changed elements, which is no one rank times (%d + %d): SHiRA wants lift with method.rank and one set for the whole run, method.refresh 0; use --format delta",
				c.Name, len(c.At), c.Rows, c.Cols)
		}
		rank = r
		diff, at := make([]float32, len(c.At)), make([]uint32, 2*len(c.At))
		for j, element := range c.At {
			diff[j] = c.Now[j] - fromBits(c.DType, c.Was[j])
			at[j], at[len(c.At)+j] = element/uint32(c.Cols), element%uint32(c.Cols)
		}
		values = append(values, floats(peftName(c.Name)+".shira_weight", diff, len(diff)))
		place := words(strings.TrimSuffix(c.Name, ".weight"), at)
		place.DType, place.Shape = "I32", []int{2, len(c.At)}
		places = append(places, place)
	}
	config := map[string]any{"peft_type": "SHIRA", "r": rank, "mask_type": "torc", "init_weights": true}
	return d.writePEFT(dst, base, config, map[string][]safetensors.Tensor{weightsName: values, maskName: places})
}

// peftName is the name under which PEFT knows the module of a weight.
func peftName(weight string) string {
	return "base_model.model." + strings.TrimSuffix(weight, ".weight")
}

// writePEFT writes an adapter directory, which appears whole.
func (d *Delta) writePEFT(dst, base string, config map[string]any, files map[string][]safetensors.Tensor) error {
	if len(d.Changes) == 0 {
		return errors.New("write adapter: nothing was trained")
	}
	var targets []string
	for _, c := range d.Changes {
		module := strings.TrimSuffix(c.Name, ".weight")
		if name := module[strings.LastIndexByte(module, '.')+1:]; !slices.Contains(targets, name) {
			targets = append(targets, name)
		}
	}
	slices.Sort(targets)
	config["target_modules"], config["base_model_name_or_path"] = targets, base
	config["task_type"], config["inference_mode"], config["fan_in_fan_out"] = "CAUSAL_LM", true, false
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	err = durable.WriteDir(dst, func(dir string) error {
		for name, tensors := range files {
			if err := safetensors.Write(filepath.Join(dir, name), tensors, map[string]string{"format": "pt"}); err != nil {
				return err
			}
		}
		return durable.WriteFile(filepath.Join(dir, configName), append(text, '\n'), 0o644)
	})
	if err != nil {
		return fmt.Errorf("write adapter to %s: %w", dst, err)
	}
	return nil
}

// transposed is x (r, m) as (m, r).
func transposed(x []float32, r, m int) []float32 {
	out := make([]float32, len(x))
	for j := range r {
		for i := range m {
			out[i*r+j] = x[j*m+i]
		}
	}
	return out
}
