// Package jinja renders the chat templates of Hugging Face models, to the letter of what transformers renders.
//
//	source ── Parse ─→ Template ── Render(variables) ─→ text, and where {% generation %} marks it
//	          lex.go → parse.go → nodes              eval.go, filters.go, methods.go, tests.go over value.go
//
// It is the part of Jinja that chat templates are written in, with the settings that transformers gives it (trim_blocks,
// lstrip_blocks, break and continue, an immutable sandbox, its own tojson) and Python's meaning of values: None is not
// undefined, dicts keep their order, strings are sequences of characters, // rounds down. What is not known is refused by name
// when the template is parsed, never approximated: a template rendered otherwise trains a model on other text.
//
// A template comes with a model from anywhere, so it is bounded (limits.go): source, nesting, work and output, each by a
// count and not by a clock, so that the same template fails or succeeds everywhere. It reads no file, no clock and no chance.
//
// The package is its own because no library is exact: the one for Go that comes nearest finds nothing at messages[-1] of one
// message, strips spaces in front of any block, prints None as nothing, sorts dicts, and ends the process on a macro
// that calls itself.
//
// Start reading at template.go.
package jinja
