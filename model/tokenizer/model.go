package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// parseModel reads vocabulary and merges. It needs the pre-tokenizer, which decides what a symbol is.
func (t *Tokenizer) parseModel(raw json.RawMessage) error {
	var c struct {
		Type         string           `json:"type"`
		Dropout      *float64         `json:"dropout"`
		Unknown      *string          `json:"unk_token"`
		Prefix       *string          `json:"continuing_subword_prefix"`
		Suffix       *string          `json:"end_of_word_suffix"`
		FuseUnknown  bool             `json:"fuse_unk"`
		ByteFallback bool             `json:"byte_fallback"`
		IgnoreMerges bool             `json:"ignore_merges"`
		Vocab        map[string]int64 `json:"vocab"`
		Merges       json.RawMessage  `json:"merges"`
	}
	if absent(raw) {
		return errors.New("missing")
	}
	if name, err := kind(raw); err != nil {
		return err
	} else if name != "BPE" && name != "" {
		return unknown("type", name)
	}
	if err := strict(raw, &c); err != nil {
		return err
	}
	if c.Type == "" && absent(c.Merges) {
		return errors.New("without type and merges: want a BPE model")
	}
	if c.Dropout != nil && *c.Dropout != 0 {
		return fmt.Errorf("dropout %v: %w", *c.Dropout, ErrUnknown)
	}
	if c.Prefix != nil && *c.Prefix != "" {
		return unknown("continuing_subword_prefix", *c.Prefix)
	}
	if c.Suffix != nil && *c.Suffix != "" {
		return unknown("end_of_word_suffix", *c.Suffix)
	}
	if err := t.setVocabulary(c.Vocab); err != nil {
		return fmt.Errorf("vocab: %w", err)
	}
	b := &t.model
	b.fuse, b.fallback = c.FuseUnknown, c.ByteFallback
	if err := t.setSymbols(c.Unknown); err != nil {
		return err
	}
	if c.IgnoreMerges {
		b.whole = t.wholePieces()
	}
	merges, err := parseMerges(c.Merges)
	if err != nil {
		return fmt.Errorf("merges: %w", err)
	}
	return t.setMerges(merges)
}

func (t *Tokenizer) setVocabulary(vocab map[string]int64) error {
	t.ids = make(map[string]int32, len(vocab))
	for token, id := range vocab {
		if id < 0 || id >= maxID {
			return fmt.Errorf("token %q has id %d, want 0 to %d", token, id, maxID-1)
		}
		if err := t.set(int32(id), token); err != nil {
			return err
		}
	}
	return nil
}

// set gives id to token; an id can be given once.
func (t *Tokenizer) set(id int32, token string) error {
	for int(id) >= len(t.tokens) {
		t.tokens = append(t.tokens, "")
	}
	if was := t.tokens[id]; was != "" && was != token {
		return fmt.Errorf("id %d belongs to two tokens, %q and %q", id, min(was, token), max(was, token))
	}
	t.tokens[id], t.ids[token] = token, id
	return nil
}

// setSymbols finds the ids of the symbols that merging starts with.
func (t *Tokenizer) setSymbols(unknown *string) error {
	b := &t.model
	b.bytes = t.pieces.bytes
	complete := true
	for i := range b.ofByte {
		name := fallbackToken(byte(i))
		if b.bytes {
			name = string(runeOfByte[i])
		}
		id, ok := t.ids[name]
		if !ok {
			id, complete = none, false
		}
		b.ofByte[i] = id
	}
	if !b.bytes {
		complete = complete && b.fallback
		b.ofRune = map[rune]int32{}
		for token, id := range t.ids {
			if r, width := utf8.DecodeRuneInString(token); width == len(token) && width > 0 {
				b.ofRune[r] = id
			}
		}
	} else if b.fallback {
		// The library would look for <0x..> tokens of the bytes that spell the missing byte's character.
		if !complete {
			return fmt.Errorf("byte_fallback in a byte-level vocabulary that lacks bytes: %w", ErrUnknown)
		}
		b.fallback = false
	}
	b.unknown = none
	if unknown != nil {
		if id, ok := t.ids[*unknown]; ok {
			b.unknown = id
		} else if !complete {
			return fmt.Errorf("unk_token %q is not in the vocabulary", *unknown)
		}
	}
	return nil
}

// wholePieces returns the ids of pieces that are tokens, by what they look like in a text.
func (t *Tokenizer) wholePieces() map[string]int32 {
	if !t.pieces.bytes {
		return t.ids
	}
	whole := make(map[string]int32, len(t.ids))
	for token, id := range t.ids {
		if raw, ok := unspell(token); ok {
			whole[raw] = id
		}
	}
	return whole
}

// parseMerges reads both spellings of merges: "a b", and ["a", "b"].
func parseMerges(raw json.RawMessage) ([][2]string, error) {
	if absent(raw) {
		return nil, errors.New("missing")
	}
	var pairs [][]string
	if json.Unmarshal(raw, &pairs) == nil {
		merges := make([][2]string, len(pairs))
		for i, p := range pairs {
			if len(p) != 2 {
				return nil, fmt.Errorf("merge %d has %d parts, want 2", i+1, len(p))
			}
			merges[i] = [2]string(p)
		}
		return merges, nil
	}
	var lines []string
	if err := json.Unmarshal(raw, &lines); err != nil {
		return nil, errors.New(`want a list of "a b" or of ["a", "b"]`)
	}
	merges := make([][2]string, 0, len(lines))
	for i, line := range lines {
		if strings.HasPrefix(line, "#version") { // the first line of merges.txt
			continue
		}
		left, right, ok := strings.Cut(line, " ")
		if !ok || strings.Contains(right, " ") {
			return nil, fmt.Errorf("merge %d is %q, want two tokens with one space between them", i+1, line)
		}
		merges = append(merges, [2]string{left, right})
	}
	return merges, nil
}

func (t *Tokenizer) setMerges(merges [][2]string) error {
	if len(merges) >= math.MaxUint32 {
		return fmt.Errorf("%d merges are too many", len(merges))
	}
	t.model.merges = make(map[pair]merge, len(merges))
	for rank, m := range merges {
		var ids [3]int32
		for i, token := range [3]string{m[0], m[1], m[0] + m[1]} {
			id, ok := t.ids[token]
			if !ok {
				return fmt.Errorf("merge %d of %q and %q: token %q is not in the vocabulary", rank+1, m[0], m[1], token)
			}
			ids[i] = id
		}
		t.model.merges[pair{ids[0], ids[1]}] = merge{rank: uint32(rank), id: ids[2]}
	}
	return nil
}

// addTokens adds tokens in the order listed, the later entry of one content replacing the earlier.
// Like the library it numbers those that have no id yet, and refuses a file that counts otherwise.
func (t *Tokenizer) addTokens(tokens []addedToken) error {
	t.added = added{raw: newMatcher(), normalized: newMatcher(), special: map[string]bool{}, spelling: map[int32]string{}}
	next := int32(len(t.ids))
	latest := map[int32]addedToken{}
	for _, token := range tokens {
		if token.Content == "" {
			continue
		}
		if token.SingleWord {
			return fmt.Errorf("%q: single_word: %w", token.Content, ErrUnknown)
		}
		id, known := t.ids[token.Content]
		if !known {
			id = next
			next++
			if err := t.set(id, token.Content); err != nil {
				return err
			}
		}
		if token.ID == nil || *token.ID != id {
			return fmt.Errorf("%q: the file gives it id %s, by its place in the vocabulary it has id %d", token.Content, show(token.ID), id)
		}
		latest[id] = token
		if token.Special {
			t.added.special[token.Content] = true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(latest)) {
		if !t.search(id, latest[id]) {
			return fmt.Errorf("%q: once normalized it is equal to another added token", latest[id].Content)
		}
	}
	return nil
}

// search lets Encode find token. It returns false if it looks for another one in the same place.
func (t *Tokenizer) search(id int32, token addedToken) bool {
	if !token.Normalized {
		return t.added.raw.insert(token, token.Content)
	}
	content := token.Content
	if t.normalize != nil {
		content = t.normalize(content)
	}
	if content != token.Content {
		t.added.spelling[id] = content
	}
	return content == "" || t.added.normalized.insert(token, content)
}

func show(id *int32) string {
	if id == nil {
		return "none"
	}
	return fmt.Sprint(*id)
}
