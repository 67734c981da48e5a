package jinja

// Limits on a template. The largest templates in use have 20 KB and render some thousand nodes for a conversation.
const (
	maxSourceBytes = 256 << 10 // of a template
	maxNesting     = 100       // of expressions and statements in each other, and of macros that call macros
	maxWork        = 2_000_000 // nodes evaluated in one rendering, and one for every 64 bytes or items that they handle
	maxValueBytes  = 16 << 20  // of a string that a template makes, its output included
	maxItems       = 100_000   // of a list that a template makes; transformers allows a range as many
)
