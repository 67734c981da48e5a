package tokenizer

import (
	"bytes"
	"cmp"
	"container/heap"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Trainer learns a byte-level BPE vocabulary from text.
type Trainer struct {
	Vocab    int      // most ids, at least 256 + len(Specials)
	Specials []string // special tokens, different and not empty
	Digits   bool     // each digit is a piece of its own, as in SmolLM: numbers are read digit by digit
}

// Train returns the tokenizer.json of what it learned, which Load and the Hugging Face library read alike. Ids are: specials in
// their order, the 256 bytes, then merges, until Vocab ids are given or no pair of symbols occurs twice, whichever comes
// first. It is a function of its arguments alone: the most frequent pair is merged first, among equals the one whose left,
// then right symbol is smaller in bytes.
func (t Trainer) Train(text io.Reader) ([]byte, error) {
	if least := len(runeOfByte) + len(t.Specials); t.Vocab < least || t.Vocab > maxID {
		return nil, fmt.Errorf("train tokenizer: vocab is %d, want %d (256 bytes and %d special tokens) to %d", t.Vocab, least, len(t.Specials), maxID)
	}
	taken := map[string]bool{"": true}
	for _, special := range t.Specials {
		if taken[special] {
			return nil, fmt.Errorf("train tokenizer: special token %q is empty or listed twice", special)
		}
		taken[special] = true
	}
	for _, r := range runeOfByte {
		if taken[string(r)] {
			return nil, fmt.Errorf("train tokenizer: special token %q is also the spelling of a byte", string(r))
		}
	}
	data, err := io.ReadAll(text)
	if err != nil {
		return nil, fmt.Errorf("train tokenizer: read text: %w", err)
	}
	l := newLearner(t, valid(string(data)))
	l.learn(t.Vocab)
	return t.file(l)
}

// learner holds the pieces of a text while pairs of their symbols are merged.
type learner struct {
	tokens []string         // by id, as the file spells them
	raw    []string         // by id, the bytes they stand for; "" for specials
	ids    map[string]int32 // of tokens
	merges [][2]string      // as the file spells them
	merged map[pair]bool    // the pairs in merges
	pieces []learned
	stats  map[pair]*stat
	queue  pairQueue
}

// learned is a piece of the text and how often it occurs.
type learned struct {
	symbols []int32
	count   int64
}

// stat is how often a pair occurs, and the pieces where it may.
type stat struct {
	count  int64
	pieces map[int]struct{}
}

func newLearner(t Trainer, text string) *learner {
	l := &learner{ids: map[string]int32{}, merged: map[pair]bool{}, stats: map[pair]*stat{}}
	for _, special := range t.Specials {
		l.add(special, "")
	}
	var ofByte [256]int32
	spelled := slices.Clone(runeOfByte[:])
	slices.Sort(spelled)
	for _, r := range spelled {
		b := byteOfRune[r]
		ofByte[b] = l.add(string(r), string([]byte{b}))
	}
	counts := map[string]int64{}
	pre := preTokenizer{steps: []step{stepScan(scanGPT2)}}
	if t.Digits {
		pre.steps = []step{stepDigits(true), stepScan(scanGPT2)}
	}
	for _, piece := range pre.cut(text, true, new(buffers)) {
		counts[piece]++
	}
	for _, piece := range slices.Sorted(maps.Keys(counts)) {
		symbols := make([]int32, len(piece))
		for i := range len(piece) {
			symbols[i] = ofByte[piece[i]]
		}
		l.pieces = append(l.pieces, learned{symbols, counts[piece]})
	}
	l.queue.raw = &l.raw
	for i := range l.pieces {
		l.count(i, +1, nil)
	}
	for p, s := range l.stats {
		l.queue.pairs = append(l.queue.pairs, queued{p, s.count})
	}
	heap.Init(&l.queue)
	return l
}

func (l *learner) add(token, raw string) int32 {
	id := int32(len(l.tokens))
	l.tokens, l.raw, l.ids[token] = append(l.tokens, token), append(l.raw, raw), id
	return id
}

// count adds sign times the pairs of piece i to the statistics, and to grown the pairs it adds to, if not nil.
func (l *learner) count(i int, sign int64, grown map[pair]struct{}) {
	piece := l.pieces[i]
	for k := range len(piece.symbols) - 1 {
		p := pair{piece.symbols[k], piece.symbols[k+1]}
		s := l.stats[p]
		if s == nil {
			s = &stat{pieces: map[int]struct{}{}}
			l.stats[p] = s
		}
		s.count += sign * piece.count
		if sign > 0 {
			s.pieces[i] = struct{}{}
			if grown != nil {
				grown[p] = struct{}{}
			}
		}
	}
}

// learn merges the first pair of the queue until vocab ids are given.
func (l *learner) learn(vocab int) {
	for len(l.tokens) < vocab && len(l.queue.pairs) > 0 {
		top := heap.Pop(&l.queue).(queued)
		count := l.stats[top.pair].count
		if count < 2 {
			continue
		}
		if count != top.count { // counted again since it was queued
			heap.Push(&l.queue, queued{top.pair, count})
			continue
		}
		l.apply(top.pair)
	}
}

// apply merges a pair wherever it occurs. Two pairs may make one token: the second merge gives no new id, and brings
// back pairs that were merged before, which are merged again without being listed again.
func (l *learner) apply(p pair) {
	left, right := l.tokens[p.left], l.tokens[p.right]
	id, known := l.ids[left+right]
	if known && l.raw[id] == "" {
		return // it would be a special token
	}
	if !known {
		id = l.add(left+right, l.raw[p.left]+l.raw[p.right])
	}
	if !l.merged[p] {
		l.merged[p] = true
		l.merges = append(l.merges, [2]string{left, right})
	}
	grown := map[pair]struct{}{}
	touched := l.stats[p].pieces
	l.stats[p].pieces = map[int]struct{}{} // none has it any more
	for i := range touched {
		l.count(i, -1, nil)
		l.pieces[i].symbols = replace(l.pieces[i].symbols, p, id)
		l.count(i, +1, grown)
	}
	for g := range grown {
		heap.Push(&l.queue, queued{g, l.stats[g].count})
	}
}

// replace writes id for each p in symbols, from the left.
func replace(symbols []int32, p pair, id int32) []int32 {
	out := symbols[:0]
	for i := 0; i < len(symbols); i++ {
		if i+1 < len(symbols) && symbols[i] == p.left && symbols[i+1] == p.right {
			out = append(out, id)
			i++
			continue
		}
		out = append(out, symbols[i])
	}
	return out
}

type queued struct {
	pair
	count int64
}

// pairQueue has the pair to be merged next on top.
type pairQueue struct {
	pairs []queued
	raw   *[]string // by id
}

func (q *pairQueue) Len() int { return len(q.pairs) }
func (q *pairQueue) Less(i, j int) bool {
	a, b, raw := q.pairs[i], q.pairs[j], *q.raw
	return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(raw[a.left], raw[b.left]), cmp.Compare(raw[a.right], raw[b.right])) < 0
}
func (q *pairQueue) Swap(i, j int) { q.pairs[i], q.pairs[j] = q.pairs[j], q.pairs[i] }
func (q *pairQueue) Push(x any)    { q.pairs = append(q.pairs, x.(queued)) }
func (q *pairQueue) Pop() any {
	last := q.pairs[len(q.pairs)-1]
	q.pairs = q.pairs[:len(q.pairs)-1]
	return last
}

// vocabulary is written as an object from tokens to ids, in the order of ids.
type vocabulary []string

// MarshalJSON writes the object.
func (v vocabulary) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	for id, token := range v {
		if id > 0 {
			out.WriteByte(',')
		}
		key, err := json.Marshal(token)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "%s:%d", key, id)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// file writes tokenizer.json.
func (t Trainer) file(l *learner) ([]byte, error) {
	type object = map[string]any
	added := make([]addedToken, len(t.Specials))
	for i, special := range t.Specials {
		id := int32(i)
		added[i] = addedToken{ID: &id, Content: special, Special: true}
	}
	byteLevel := object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
	split := byteLevel
	if t.Digits {
		split = object{"type": "Sequence", "pretokenizers": []object{{"type": "Digits", "individual_digits": true}, byteLevel}}
	}
	if l.merges == nil {
		l.merges = [][2]string{}
	}
	data, err := json.Marshal(struct {
		Version       string       `json:"version"`
		Truncation    any          `json:"truncation"`
		Padding       any          `json:"padding"`
		AddedTokens   []addedToken `json:"added_tokens"`
		Normalizer    any          `json:"normalizer"`
		PreTokenizer  object       `json:"pre_tokenizer"`
		PostProcessor object       `json:"post_processor"`
		Decoder       object       `json:"decoder"`
		Model         object       `json:"model"`
	}{
		Version: "1.0", AddedTokens: added, PreTokenizer: split, PostProcessor: byteLevel, Decoder: byteLevel,
		Model: object{
			"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
			"fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocabulary(l.tokens), "merges": l.merges,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("train tokenizer: %w", err)
	}
	return append(data, '\n'), nil
}
