// Package model is the transformer that torc trains: the Llama family, forward and hand-written backward, on ragged
// batches (sequences laid end to end, never padded), with weights kept in the type of their file and arithmetic in float32.
//
//	config.json ─→ Config ─┐
//	*.safetensors ─→ Weights ─→ Llama ── Gradient(batch, sink) ─→ GradSink   (a method pulls dθ from factored gradients)
//	                    Kernels ─┘   └── Loss, Decoder
//
// What a batch computes depends on the weights and the batch alone: not on thread count, not on the instruction-set tier
// (see Kernels). The package knows no method, no network and no file layout beyond a Hugging Face model directory.
//
// Which models: llama, mistral, qwen2 and qwen3, with tied or untied head; a config.json that asks for anything else is
// refused by name.
//
// Start reading at llama.go (shape of the network), then head.go and backward.go; config.go says which models are known,
// params.go how their parameters are called and ordered; cpu/ref.go says what each kernel means.
package model
