package spec

import (
	"strings"

	"github.com/torctrain/torc/model"
)

// GCPercent is by how many percent the heap of a node may grow before garbage is collected. Nearly all of a member's memory are
// buffers that are made once, so that there is little to collect, and no reason for the usual 100.
const GCPercent = 20

// Memory is what a run takes on a member in bytes, by kind, with their "total": the model's own kinds for one lane of the
// longest samples; "state", θ with its moments and index sets; "sum", the integer vectors of the exact sum and of the last
// record, and the gradient of one weight; "checkpoint", the copy of State that is being written; "runtime", what the garbage
// collector lets pile up before it runs.
func Memory(s *Spec, c *model.Config, trained int) map[string]int64 {
	use := model.Memory(c, c.DType, s.Data.MaxTokens*s.Batch.Micro, s.Method.Name == "full")
	k := int64(trained)
	state := 12 * k
	if s.Method.Name == "lift" {
		state += 4 * k
		if s.Method.Age {
			state += 2 * k
		}
		if s.Method.Lead > 0 {
			state += 4 * k // θ while a selection is under way
		}
	}
	if name := s.Method.Name; name == "sorsa" || name == "pissa" || name == "lora" {
		state += 4 * k // the model's copy of the factors
		if s.Method.Residual == "base" {
			state += 4 * k // and what they were
		}
	}
	decomposes := s.Method.Name == "sorsa" || s.Method.Name == "pissa"
	widened := decomposes && (s.Method.Residual == "" || s.Method.Residual == "fp32") // what their start leaves is kept in float32
	longest := 0
	for _, p := range c.Params() {
		longest = max(longest, p.Len())
		if widened && p.Module.Linear() {
			use.Weights += int64(p.Len()) * int64(model.F32.Size()-c.DType.Size())
		}
	}
	bytes := map[string]int64{
		"weights": use.Weights, "activations": use.Activations, "scratch": use.Scratch, "logits": use.Logits,
		"gradient": use.Gradient, "state": state, "sum": 12*k + 4*min(k, int64(longest)), "checkpoint": 0,
	}
	if s.Checkpoint.Every > 0 {
		bytes["checkpoint"] = state
	}
	if s.Method.Name == "s2ft" && strings.HasSuffix(s.Method.Select, "-gradient") {
		bytes["gradient"] += 4 * int64(longest) // of one weight at a time, to choose by
	}
	total := int64(0)
	for _, n := range bytes {
		total += n
	}
	bytes["runtime"] = total * GCPercent / 100
	bytes["total"] = total + bytes["runtime"]
	return bytes
}
