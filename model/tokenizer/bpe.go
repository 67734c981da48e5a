package tokenizer

import (
	"container/heap"
	"slices"
	"strings"
	"unicode/utf8"
)

// none stands for "no id".
const none = int32(-1)

// bpe cuts a piece of text into the ids of a byte-pair vocabulary. Its symbols are bytes (byte-level vocabularies,
// whose spelling is undone at load) or runes (Llama 2). It does not change after load.
type bpe struct {
	bytes    bool             // symbols are bytes
	ofByte   [256]int32       // id of a byte, or of its fallback token <0xNN> when symbols are runes
	ofRune   map[rune]int32   // id of a rune, when symbols are runes
	whole    map[string]int32 // ids of whole pieces, taken before any merge; nil unless ignore_merges
	merges   map[pair]merge
	unknown  int32 // id of what has none; none drops it
	fuse     bool  // neighbouring unknowns are one
	fallback bool  // a rune without id is its bytes' fallback tokens, if all have one
}

// worker is what one Encode needs besides the tables: lists that are used again, and the ids of pieces seen before.
type worker struct {
	buffers
	word word
	seen map[string][]int32
}

// Pieces of a text repeat, so a few thousand remembered ones answer for most of it.
const (
	seenPieces = 1 << 15
	seenBytes  = 32 // longer pieces are not remembered
)

type pair struct{ left, right int32 }

type merge struct {
	rank uint32 // its place in the file: the lowest goes first
	id   int32  // what the pair becomes
}

// encode appends the ids of piece to dst.
func (b *bpe) encode(dst []int32, piece string, w *worker) []int32 {
	if len(piece) > seenBytes {
		return b.encodeNew(dst, piece, w)
	}
	if ids, ok := w.seen[piece]; ok {
		return append(dst, ids...)
	}
	start := len(dst)
	dst = b.encodeNew(dst, piece, w)
	if w.seen == nil || len(w.seen) == seenPieces {
		w.seen = map[string][]int32{}
	}
	w.seen[strings.Clone(piece)] = slices.Clone(dst[start:])
	return dst
}

// encodeNew is encode without memory. Merges are applied lowest rank first, leftmost first among equals.
func (b *bpe) encodeNew(dst []int32, piece string, w *worker) []int32 {
	if id, ok := b.whole[piece]; ok {
		return append(dst, id)
	}
	start := len(dst)
	dst = b.symbols(dst, piece)
	symbols := dst[start:]
	if len(symbols) <= scanSymbols {
		return dst[:start+b.mergeScan(symbols)]
	}
	return dst[:start+b.mergeHeap(symbols, &w.word)]
}

// symbols appends the ids of piece before any merge.
func (b *bpe) symbols(dst []int32, piece string) []int32 {
	pending := none // an unknown not yet appended, for the next may be fused with it
	put := func(id int32) {
		if pending != none {
			dst, pending = append(dst, pending), none
		}
		dst = append(dst, id)
	}
	for i := 0; i < len(piece); {
		id, width := b.symbol(piece[i:])
		raw := piece[i : i+width]
		i += width
		switch {
		case id != none:
			put(id)
		case b.fallback && b.hasBytes(raw):
			// The library does not put a pending unknown before these.
			for k := range len(raw) {
				dst = append(dst, b.ofByte[raw[k]])
			}
		case b.unknown != none:
			if pending != none && !b.fuse {
				dst = append(dst, pending)
			}
			pending = b.unknown
		}
	}
	if pending != none {
		dst = append(dst, pending)
	}
	return dst
}

// symbol returns the id of the first symbol of s, or none, and its width in bytes.
func (b *bpe) symbol(s string) (id int32, width int) {
	if b.bytes {
		return b.ofByte[s[0]], 1
	}
	r, width := utf8.DecodeRuneInString(s)
	if id, ok := b.ofRune[r]; ok {
		return id, width
	}
	return none, width
}

func (b *bpe) hasBytes(s string) bool {
	for i := range len(s) {
		if b.ofByte[s[i]] == none {
			return false
		}
	}
	return true
}

// noMerge ranks behind every merge.
const noMerge = ^uint32(0)

// scanSymbols is the most symbols for which scanning all pairs at each merge is preferred to a heap.
const scanSymbols = 48

// mergeScan applies all merges to ids, at most scanSymbols, in place and returns how many remain.
func (b *bpe) mergeScan(ids []int32) int {
	n := len(ids)
	if n < 2 {
		return n
	}
	var next [scanSymbols]merge // next[i] is the merge of ids[i] and ids[i+1]
	for i := range n - 1 {
		next[i] = b.merge(ids[i], ids[i+1])
	}
	for n > 1 {
		best := 0
		for i := 1; i < n-1; i++ {
			if next[i].rank < next[best].rank {
				best = i
			}
		}
		if next[best].rank == noMerge {
			break
		}
		ids[best] = next[best].id
		copy(ids[best+1:n-1], ids[best+2:n])
		copy(next[best:n-2], next[best+1:n-1])
		n--
		if best > 0 {
			next[best-1] = b.merge(ids[best-1], ids[best])
		}
		if best < n-1 {
			next[best] = b.merge(ids[best], ids[best+1])
		}
	}
	return n
}

func (b *bpe) merge(left, right int32) merge {
	if m, ok := b.merges[pair{left, right}]; ok {
		return m
	}
	return merge{rank: noMerge}
}

// mergeHeap is mergeScan for many symbols: n log n, on a linked list of symbols and a heap of candidates.
func (b *bpe) mergeHeap(ids []int32, w *word) int {
	w.reset(len(ids))
	for i := range len(ids) - 1 {
		w.offer(b, ids, i)
	}
	for len(w.queue) > 0 {
		c := heap.Pop(&w.queue).(candidate)
		right := w.next[c.at]
		// A candidate is stale when one of its symbols has been merged since.
		if ids[c.at] != c.left || right == len(ids) || ids[right] != c.right {
			continue
		}
		ids[c.at], ids[right] = c.id, none
		after := w.next[right]
		w.next[c.at] = after
		if after < len(ids) {
			w.prev[after] = c.at
			w.offer(b, ids, c.at)
		}
		if before := w.prev[c.at]; before >= 0 {
			w.offer(b, ids, before)
		}
	}
	n := 0
	for i := 0; i < len(ids); i = w.next[i] {
		ids[n] = ids[i]
		n++
	}
	return n
}

// word is the scratch of mergeHeap: prev and next link the symbols that remain, by index.
type word struct {
	prev, next []int
	queue      candidates
}

func (w *word) reset(n int) {
	w.prev, w.next, w.queue = w.prev[:0], w.next[:0], w.queue[:0]
	for i := range n {
		w.prev, w.next = append(w.prev, i-1), append(w.next, i+1)
	}
}

// offer queues the merge of the symbol at index at with its right neighbour, if there is one.
func (w *word) offer(b *bpe, ids []int32, at int) {
	left, right := ids[at], ids[w.next[at]]
	if m, ok := b.merges[pair{left, right}]; ok {
		heap.Push(&w.queue, candidate{merge: m, pair: pair{left, right}, at: at})
	}
}

type candidate struct {
	merge
	pair
	at int
}

type candidates []candidate

func (c candidates) Len() int { return len(c) }
func (c candidates) Less(i, j int) bool {
	return c[i].rank < c[j].rank || c[i].rank == c[j].rank && c[i].at < c[j].at
}
func (c candidates) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c *candidates) Push(x any)   { *c = append(*c, x.(candidate)) }
func (c *candidates) Pop() any {
	last := (*c)[len(*c)-1]
	*c = (*c)[:len(*c)-1]
	return last
}

// fallbackToken spells the fallback token of a byte: <0x0A> for a newline.
func fallbackToken(b byte) string {
	const digits = "0123456789ABCDEF"
	return strings.Join([]string{"<0x", digits[b>>4 : b>>4+1], digits[b&15 : b&15+1], ">"}, "")
}
