package model

import "fmt"

// Decoder runs a model token by token and keeps keys and values of what it has seen. Its logits have the bits of a full
// forward pass over the same tokens: every kernel treats rows alone, and attention is the same kernel with queries left out.
type Decoder struct {
	m         *Llama
	max, len  int
	k, v      [][]float32 // per layer (max, KV·D)
	q, o, lse []float32   // (max, H·D), (max, H·D), (max, H); the rows of cached tokens hold nothing of use
	starts    [2]int32
	tape      tape
	hn, hstd  []float32 // the last token's row before the head
	logits    []float32 // (V)
}

// Decoder makes a decoder with room for maxTokens tokens, prompt included.
func (m *Llama) Decoder(maxTokens int) *Decoder {
	q, kv := m.c.Heads*m.c.HeadDim, m.c.KVHeads*m.c.HeadDim
	d := &Decoder{m: m, max: maxTokens, logits: make([]float32, m.c.Vocab), hn: make([]float32, m.c.Hidden), hstd: make([]float32, 1)}
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
// are good until the next call. It panics when Room does not suffice or the model has no embedding for an id.
func (d *Decoder) Next(ids []int32) []float32 {
	m, c, T := d.m, d.m.c, len(ids)
	if T == 0 || T > d.Room() {
		panic(fmt.Sprintf("model: Decoder.Next: %d tokens, want 1 to %d", T, d.Room()))
	}
	if err := c.CheckTokens(ids); err != nil {
		panic("model: Decoder.Next: " + err.Error())
	}
	m.training = false
	m.grow(T)
	for i := range ids {
		m.pos[i] = int32(d.len + i)
	}
	m.k.Embed(m.x, m.embed.Matrix, ids)
	for l := range m.layers {
		d.layer(l)
	}
	d.len += T
	m.k.RMSNorm(d.hn, d.hstd, m.x[(T-1)*c.Hidden:], m.finalNorm.Matrix, c.Eps, 1)
	m.k.Linear(d.logits, d.hn, m.head.Matrix, 1)
	return d.logits
}

// layer passes the m.T new tokens through layer l.
func (d *Decoder) layer(l int) {
	m, t := d.m, &d.tape
	attn := m.layers[l].attn
	q, kv := attn.H*attn.D, attn.KV*attn.D
	from, to := d.len, d.len+m.T
	m.growTape(&m.spare)
	*t = m.spare
	t.q, t.o = d.q[from*q:to*q], d.o[from*q:to*q]
	t.k, t.v = d.k[l][from*kv:to*kv], d.v[l][from*kv:to*kv]
	m.project(l, t)
	attn.Skip = from
	d.starts[1] = int32(to)
	m.k.Attention(d.o[:to*q], d.lse[:to*attn.H], d.q[:to*q], d.k[l][:to*kv], d.v[l][:to*kv], d.starts[:], attn)
	m.attended(l, t)
	m.mlp(l, t)
}

// Greedy resets d and continues prompt with the most probable token, the lowest id on ties, at most maxNew times and as long
// as d has room. It ends after the first token for which stop is true, which is part of the result; a nil stop never is.
func Greedy(d *Decoder, prompt []int32, maxNew int, stop func(id int32) bool) []int32 {
	d.Reset()
	var ids []int32
	next := prompt
	for len(ids) < maxNew && len(next) <= d.Room() {
		id := argmax(d.Next(next))
		ids = append(ids, id)
		if stop != nil && stop(id) {
			break
		}
		next = ids[len(ids)-1:]
	}
	return ids
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
