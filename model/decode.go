package model

import (
	"fmt"
	"iter"
)

// Decoder runs a model token by token and keeps keys and values of what it has seen. Its logits have the bits of a full
// forward pass over the same tokens: every kernel treats rows alone, and attention is the same kernel with queries left out.
type Decoder struct {
	m         *Llama
	max, len  int
	k, v      [][]float32 // per layer (max, KV·D)
	q, o, lse []float32   // (max, H·D), (max, H·D), (max, H); the rows of cached tokens hold nothing of use
	starts    [2]int32
}

// Decoder makes a decoder with room for maxTokens tokens, prompt included.
func (m *Llama) Decoder(maxTokens int) *Decoder {
	q, kv := m.c.Heads*m.c.HeadDim, m.c.KVHeads*m.c.HeadDim
	d := &Decoder{m: m, max: maxTokens}
	d.q, d.o, d.lse = make([]float32, maxTokens*q), make([]float32, maxTokens*q), make([]float32, maxTokens*m.c.Heads)
	for range m.layers {
		d.k, d.v = append(d.k, make([]float32, maxTokens*kv)), append(d.v, make([]float32, maxTokens*kv))
	}
	m.rope.grow(maxTokens)
	return d
}

// Len is the number of tokens seen since Reset.
func (d *Decoder) Len() int { return d.len }

// Room is the number of tokens that Next still takes.
func (d *Decoder) Room() int { return d.max - d.len }

// Reset forgets all tokens.
func (d *Decoder) Reset() { d.len = 0 }

// Next appends ids, at least one, to what the decoder has seen and returns the logits (V) of the token after them. They
// are good until the next call for any decoder of the model. It panics when Room does not suffice or the model has no embedding for an id.
func (d *Decoder) Next(ids []int32) []float32 { return NextAll([]*Decoder{d}, [][]int32{ids})[0] }

// NextAll is Next for several decoders of one model at once, each with tokens of its own. All have the bits that they would
// have alone, but each weight is read once for all of them, which is what decoding one token at a time mostly does. The result is
// good as long as that of Next.
func NextAll(ds []*Decoder, ids [][]int32) [][]float32 {
	m, c := ds[0].m, ds[0].m.c
	rows := 0
	for i, d := range ds {
		n := len(ids[i])
		if n == 0 || n > d.Room() {
			panic(fmt.Sprintf("model: Decoder.Next: %d tokens, want 1 to %d", n, d.Room()))
		}
		if err := c.CheckTokens(ids[i]); err != nil {
			panic("model: Decoder.Next: " + err.Error())
		}
		rows += n
	}
	m.training = false
	m.grow(rows)
	row := 0
	for i, d := range ds {
		for j := range ids[i] {
			m.pos[row+j] = int32(d.len + j)
		}
		m.k.Embed(m.x[row*c.Hidden:(row+len(ids[i]))*c.Hidden], m.embed.Matrix, ids[i])
		row += len(ids[i])
	}
	for l := range m.layers {
		m.growTape(&m.spare)
		m.project(l, &m.spare)
		row := 0
		for i, d := range ds {
			d.attend(l, &m.spare, row, len(ids[i]))
			row += len(ids[i])
		}
		m.attended(l, &m.spare)
		m.mlp(l, &m.spare)
	}
	last := m.y[:0] // one row of each, before the head
	row = 0
	for i, d := range ds {
		d.len += len(ids[i])
		row += len(ids[i])
		last = append(last, m.x[(row-1)*c.Hidden:row*c.Hidden]...)
	}
	m.k.RMSNorm(m.xn[:len(last)], m.rstd[:len(ds)], last, m.finalNorm.Matrix, c.Eps, len(ds))
	logits := need(&m.logits, len(ds)*c.Vocab)
	m.k.Linear(logits, m.xn[:len(last)], m.head.Matrix, len(ds))
	m.ahead = m.ahead[:0]
	for i := range ds {
		m.ahead = append(m.ahead, logits[i*c.Vocab:(i+1)*c.Vocab:(i+1)*c.Vocab])
	}
	return m.ahead
}

// attend lets the decoder's n new tokens, from row on in t, attend to all that it has seen in layer l.
func (d *Decoder) attend(l int, t *tape, row, n int) {
	attn := d.m.layers[l].attn
	q, kv := attn.H*attn.D, attn.KV*attn.D
	from, to := d.len, d.len+n
	copy(d.q[from*q:], t.q[row*q:(row+n)*q])
	copy(d.k[l][from*kv:], t.k[row*kv:(row+n)*kv])
	copy(d.v[l][from*kv:], t.v[row*kv:(row+n)*kv])
	attn.Skip = from
	d.starts[1] = int32(to)
	d.m.k.Attention(d.o[:to*q], d.lse[:to*attn.H], d.q[:to*q], d.k[l][:to*kv], d.v[l][:to*kv], d.starts[:], attn)
	copy(t.o[row*q:(row+n)*q], d.o[from*q:to*q])
}

// Greedy resets d and continues prompt with the most probable token, the lowest id on ties, at most maxNew times and as long
// as d has room. It ends after the first token for which stop is true, which is part of the result; a nil stop never is.
func Greedy(d *Decoder, prompt []int32, maxNew int, stop func(id int32) bool) []int32 {
	for _, ids := range greedy([]*Decoder{d}, [][]int32{prompt}, maxNew, stop) {
		return ids
	}
	return nil
}

// GreedyAll continues each prompt as Greedy does, width of them at a time, and yields index and continuation of each as it
// ends. The continuations do not depend on width; memory does: each of the width prompts under way has keys and values for the
// longest prompt and maxNew tokens.
func GreedyAll(m *Llama, prompts [][]int32, maxNew, width int, stop func(id int32) bool) iter.Seq2[int, []int32] {
	longest := 0
	for _, p := range prompts {
		longest = max(longest, len(p))
	}
	ds := make([]*Decoder, min(width, len(prompts)))
	for i := range ds {
		ds[i] = m.Decoder(longest + maxNew)
	}
	return greedy(ds, prompts, maxNew, stop)
}

// greedy continues prompts with these decoders, each of which takes up the next prompt when it has ended one.
func greedy(ds []*Decoder, prompts [][]int32, maxNew int, stop func(id int32) bool) iter.Seq2[int, []int32] {
	type continuation struct {
		prompt int
		d      *Decoder
		ids    []int32
	}
	return func(yield func(int, []int32) bool) {
		var active []*continuation
		free, waiting := ds, 0
		for {
			for ; len(free) > 0 && waiting < len(prompts); waiting++ {
				d := free[0]
				d.Reset()
				if maxNew < 1 || len(prompts[waiting]) > d.Room() {
					if !yield(waiting, nil) {
						return
					}
					continue
				}
				free = free[1:]
				active = append(active, &continuation{prompt: waiting, d: d})
			}
			if len(active) == 0 {
				return
			}
			next, using := make([][]int32, len(active)), make([]*Decoder, len(active))
			for i, a := range active {
				using[i], next[i] = a.d, prompts[a.prompt]
				if n := len(a.ids); n > 0 {
					next[i] = a.ids[n-1:]
				}
			}
			going := active[:0]
			for i, logits := range NextAll(using, next) {
				a := active[i]
				id := argmax(logits)
				a.ids = append(a.ids, id)
				if len(a.ids) < maxNew && a.d.Room() > 0 && (stop == nil || !stop(id)) {
					going = append(going, a)
					continue
				}
				free = append(free[:len(free):len(free)], a.d)
				if !yield(a.prompt, a.ids) {
					return
				}
			}
			active = going
		}
	}
}

func argmax(v []float32) int32 {
	best := 0
	for i, x := range v {
		if x > v[best] {
			best = i
		}
	}
	return int32(best)
}
