package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// addedToken is an entry of added_tokens: a token looked for in the text before anything else is done to it.
type addedToken struct {
	ID         *int32 `json:"id,omitempty"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// added are all added tokens, in the two groups in which they are looked for.
type added struct {
	raw        matcher          // found in the text as it is
	normalized matcher          // found, normalized, in the normalized rest
	special    map[string]bool  // contents that Decode can skip
	spelling   map[int32]string // what Decode reads instead of the content: its normalized form, where that differs
}

// matcher finds tokens in a text: the leftmost first, the longest of those that begin there.
type matcher struct {
	root   node
	starts [256]bool // bytes that some token begins with
	tokens map[int32]addedToken
}

type node struct {
	next map[byte]*node
	id   int32 // of the token that ends here, or none
}

func newMatcher() matcher {
	return matcher{root: node{id: none}, tokens: map[int32]addedToken{}}
}

// insert adds token, found where text has content. It returns false if another token is found there.
func (m *matcher) insert(token addedToken, content string) bool {
	at := &m.root
	for i := range len(content) {
		if at.next == nil {
			at.next = map[byte]*node{}
		}
		if at.next[content[i]] == nil {
			at.next[content[i]] = &node{id: none}
		}
		at = at.next[content[i]]
	}
	if at.id != none {
		return false
	}
	m.starts[content[0]] = true
	at.id = *token.ID
	m.tokens[*token.ID] = token
	return true
}

// longest returns the longest token that s begins with.
func (m *matcher) longest(s string) (id int32, length int) {
	id = none
	at := &m.root
	for i := 0; i < len(s) && at.next != nil; i++ {
		if at = at.next[s[i]]; at == nil {
			break
		}
		if at.id != none {
			id, length = at.id, i+1
		}
	}
	return id, length
}

// split calls emit for each part of text in order: a token (id) or what stands between (id = none, part not empty).
// start tells whether the part begins where text does.
func (m *matcher) split(text string, emit func(id int32, part string, start bool)) {
	done := 0
	for at := 0; len(m.tokens) > 0 && at < len(text); {
		if !m.starts[text[at]] {
			at++
			continue
		}
		id, length := m.longest(text[at:])
		if id == none {
			at++
			continue
		}
		token, from, to := m.tokens[id], at, at+length
		at = to // the search goes on behind the match, also where rstrip takes more
		if token.LStrip {
			from = len(trimRightSpace(text[:from])) // before done if the token before it took the spaces
		}
		if token.RStrip {
			to = len(text) - len(trimLeftSpace(text[to:]))
		}
		if done < from {
			emit(none, text[done:from], done == 0)
		}
		emit(id, "", false)
		done = to
	}
	if done < len(text) {
		emit(none, text[done:], done == 0)
	}
}

func trimLeftSpace(s string) string { return strings.TrimLeftFunc(s, isSpace) }

func trimRightSpace(s string) string {
	for len(s) > 0 {
		r, width := utf8.DecodeLastRuneInString(s)
		if !isSpace(r) {
			break
		}
		s = s[:len(s)-width]
	}
	return s
}
