package tokenizer

import (
	"strings"
	"sync"
)

// Tokenizer turns text into ids and back. It does not change after Load and is safe for concurrent use.
type Tokenizer struct {
	tokens    []string // by id; "" where no token has the id
	ids       map[string]int32
	added     added
	normalize func(string) string // nil for none
	pieces    preTokenizer
	model     bpe
	prefix    []int32 // special tokens before and behind a text
	suffix    []int32
	decode    []decoder
	names     names
	chats     templates
	parsed    sync.Map // of *jinja.Template, by name
	hash      [32]byte
	workers   sync.Pool // of *worker
}

// Encode returns the ids of text; with special, also the special tokens that the post-processor puts around it.
// Special tokens written out in text become their ids either way, as in the library.
func (t *Tokenizer) Encode(text string, special bool) []int32 {
	text = valid(text)
	ids := make([]int32, 0, len(text)/3+len(t.prefix)+len(t.suffix)+1)
	if special {
		ids = append(ids, t.prefix...)
	}
	w, _ := t.workers.Get().(*worker)
	if w == nil {
		w = new(worker)
	}
	defer t.workers.Put(w)
	t.added.raw.split(text, func(id int32, part string, first bool) {
		if id != none {
			ids = append(ids, id)
			return
		}
		if t.normalize != nil {
			part = t.normalize(part)
		}
		t.added.normalized.split(part, func(id int32, part string, also bool) {
			if id != none {
				ids = append(ids, id)
				return
			}
			for _, piece := range t.pieces.cut(part, first && also, &w.buffers) {
				ids = t.model.encode(ids, piece, w)
			}
		})
	})
	if special {
		ids = append(ids, t.suffix...)
	}
	return ids
}

// Decode returns the text of ids, without special tokens if skipSpecial. Ids that no token has are passed over.
// Bytes that are not UTF-8 when put together come out as U+FFFD.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	parts := make([]string, 0, len(ids))
	for _, id := range ids {
		token, ok := t.Token(id)
		if !ok || skipSpecial && t.added.special[token] {
			continue
		}
		if n, ok := t.added.spelling[id]; ok {
			token = n
		}
		parts = append(parts, token)
	}
	if t.decode == nil {
		return strings.Join(parts, " ")
	}
	for _, step := range t.decode {
		parts = step(parts)
	}
	return strings.Join(parts, "")
}

// VocabSize returns the number of ids: one more than the largest. A model's embedding may have more rows.
func (t *Tokenizer) VocabSize() int { return len(t.tokens) }

// Token returns the token with an id as tokenizer.json spells it, byte-level spelling included.
func (t *Tokenizer) Token(id int32) (token string, ok bool) {
	if id < 0 || int(id) >= len(t.tokens) || t.tokens[id] == "" {
		return "", false
	}
	return t.tokens[id], true
}

// ID returns the id of a token as tokenizer.json spells it.
func (t *Tokenizer) ID(token string) (id int32, ok bool) {
	id, ok = t.ids[token]
	return id, ok
}

// Special reports whether id is a special token, one that Decode can skip.
func (t *Tokenizer) Special(id int32) bool {
	token, ok := t.Token(id)
	return ok && t.added.special[token]
}

// EOS returns the token that ends a text: eos_token of tokenizer_config.json, or else of special_tokens_map.json,
// generation_config.json or config.json.
func (t *Tokenizer) EOS() (id int32, ok bool) { return t.names.eos, t.names.eos != none }

// BOS returns the token that begins a text, looked for in the same files. Encode writes it only if the post-processor does.
func (t *Tokenizer) BOS() (id int32, ok bool) { return t.names.bos, t.names.bos != none }

// Stops returns the ids at which generation ends: EOS and those that generation_config.json names, ascending.
func (t *Tokenizer) Stops() []int32 { return append([]int32(nil), t.names.stops...) }

// Hash identifies all that ids depend on: tokenizer.json, what other files change of it, and the special tokens.
func (t *Tokenizer) Hash() [32]byte { return t.hash }
