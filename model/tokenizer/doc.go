// Package tokenizer turns text into token ids and back, exactly as the Hugging Face tokenizers library does it.
//
//	tokenizer.json ── Load ─→ Tokenizer ── Encode(text) ─→ ids
//	                                    └─ Decode(ids)  ─→ text
//
//	Encode:  added tokens → normalizer → pre-tokenizer → byte-pair merges → post-processor
//	                                     (split, digits,                   (template of
//	                                      byte level)                       special tokens)
//
//	Chat(messages) ─→ chat template (model/jinja) ─→ text with what the assistant says ─→ ids, which of them count
//
// It knows the parts that byte-level BPE models of the Llama family use (GPT-2, Llama 3, SmolLM and Qwen 2 splitting)
// and those of Llama 2 (Metaspace, byte fallback). A part, a pattern or a field that it does not know is refused by name when the file
// is loaded: an approximated tokenizer trains a model on other text than its user sees.
//
// Ids are a function of the files and the text alone. The tables of letters and numbers are the package's own, because
// those of the standard library follow the version of Go.
//
// Differences from the library, on purpose: invalid UTF-8 is read as U+FFFD; truncation and padding settings in
// tokenizer.json are left to the caller, as transformers does; Decode never "cleans up" spaces; Chat lets no token reach from a
// prompt into an answer, where the tokenizer's own marks allow it.
//
// Start reading at tokenizer.go, then split.go (the patterns as hand-written scanners) and bpe.go.
package tokenizer
