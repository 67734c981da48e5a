package model

import (
	"fmt"

	"github.com/torctrain/torc/internal/rng"
)

// Batch is a micro-batch: sequences laid end to end, never padded.
type Batch struct {
	Tokens  []int32 // (T)
	Targets []int32 // (T) the token to predict after each, −1 where the prediction does not count
	Starts  []int32 // (sequences+1) the first token of each sequence; the last is T
	Chance  rng.Key // names the random numbers of Gradient: what dropout, where a Side has it, leaves out
}

// Add appends a sequence. Token i is to be predicted from those before it where counted[i]; counted[0] has no meaning.
// The last token of a longer sequence is only ever predicted, so it is a target and not among Tokens.
func (b *Batch) Add(tokens []int32, counted []bool) {
	if len(tokens) != len(counted) {
		panic(fmt.Sprintf("model: Batch.Add: %d tokens, %d counted", len(tokens), len(counted)))
	}
	if len(b.Starts) == 0 {
		b.Starts = append(b.Starts, 0)
	}
	for i := range max(len(tokens)-1, min(len(tokens), 1)) {
		target := int32(-1)
		if i+1 < len(tokens) && counted[i+1] {
			target = tokens[i+1]
		}
		b.Tokens = append(b.Tokens, tokens[i])
		b.Targets = append(b.Targets, target)
	}
	b.Starts = append(b.Starts, int32(len(b.Tokens)))
}

// Reset empties the batch and keeps its memory and Chance.
func (b *Batch) Reset() { b.Tokens, b.Targets, b.Starts = b.Tokens[:0], b.Targets[:0], b.Starts[:0] }

// Sequences is the number of sequences.
func (b *Batch) Sequences() int { return max(0, len(b.Starts)-1) }

// Counted is the number of predictions that count.
func (b *Batch) Counted() int {
	n := 0
	for _, t := range b.Targets {
		if t >= 0 {
			n++
		}
	}
	return n
}

// mustFit panics when the batch is not one of this model; see Config.CheckTokens.
func (b *Batch) mustFit(c *Config) {
	T := len(b.Tokens)
	if len(b.Targets) != T || len(b.Starts) < 2 || b.Starts[0] != 0 || int(b.Starts[len(b.Starts)-1]) != T {
		panic(fmt.Sprintf("model: batch of %d tokens has %d targets and starts %v", T, len(b.Targets), b.Starts))
	}
	for i := 1; i < len(b.Starts); i++ {
		if b.Starts[i] < b.Starts[i-1] {
			panic(fmt.Sprintf("model: batch: starts[%d]=%d after %d", i, b.Starts[i], b.Starts[i-1]))
		}
	}
	if err := c.CheckTokens(b.Tokens); err != nil {
		panic("model: batch: " + err.Error())
	}
	for t, id := range b.Targets {
		if int(id) >= c.Vocab {
			panic(fmt.Sprintf("model: batch: target %d at %d is not in the vocabulary of %d", id, t, c.Vocab))
		}
	}
}
