package model

import (
	"fmt"
	"math"

	"github.com/torctrain/torc/internal/rng"
)

// Llama is a model of the Llama family over weights and kernels. Per layer, with x the residual stream (T, C):
//
//	x += O·attention(rope(Q·n), rope(K·n), V·n)   with n = norm(x)
//	x += Down·(silu(Gate·m) ⊙ Up·m)               with m = norm(x)
//
// where Qwen2 adds biases to Q, K, V and Qwen3 normalises each head before rope. Afterwards a norm and the head give logits.
//
// A Llama and its Decoders are used by one goroutine at a time and share buffers that grow to the largest batch seen; then
// nothing is allocated any more. The weights may change between calls. Linear weights may have side paths, see Side.
type Llama struct {
	c *Config
	k Kernels

	layers    []layer
	embed     weight
	finalNorm weight
	head      weight // the embeddings when tied
	chunk     int    // rows that pass the head together, headRows
	rope      ropeTable

	training bool                                  // a pass of Gradient: side paths drop
	chance   rng.Key                               // what they drop
	watch    func(id WeightID, x []float32, T int) // of Watch, else nil

	plan  plan
	tape  []tape // of the layers that backward visits, from plan.low on
	spare tape   // of all others, one after the other
	buffers

	ahead [][]float32 // what NextAll returned last
}

// weight is a parameter, its name, and its side path if it has one.
type weight struct {
	id WeightID
	*Matrix
	side *side
}

// layer is one layer's weights by Module, and its attention.
type layer struct {
	w    [DownBias + 1]weight
	attn AttnShape
}

// buffers are what a batch of T tokens needs besides the tapes. Each is exactly as long as its shape says.
type buffers struct {
	T   int
	pos []int32 // (T) position in the sequence

	x    []float32 // (T, C) the residual stream
	xn   []float32 // (T, C) normalised
	y    []float32 // (T, C) what a block adds to x
	rstd []float32 // (T), or (T, H) where heads are normalised
	act  []float32 // (T, F) silu(gate)·up
	thin []float32 // what dropout leaves of the widest input of a side path

	headBuffers
	gradBuffers
}

// tape is what backward needs of one layer's forward pass. Norms and silu(gate)·up are computed again.
type tape struct {
	x        []float32 // (T, C) the residual stream before the layer
	qIn, kIn []float32 // (T, H·D), (T, KV·D) before the norms of q and k, where the model has them
	q, k, v  []float32 // (T, H·D), (T, KV·D), (T, KV·D) as attention reads them
	o        []float32 // (T, H·D)
	lse      []float32 // (T, H)
	mid      []float32 // (T, C) the residual stream between attention and MLP
	gate, up []float32 // (T, F)
}

// New makes a model over w, which it reads at each call. It panics when w does not have the parameters of its Config.
func New(w *Weights, k Kernels) *Llama {
	c := w.Config
	m := &Llama{c: c, k: k, layers: make([]layer, c.Layers), chunk: headRows(c.Vocab), rope: ropeTable{freq: c.Rope.Frequencies(c.HeadDim)}}
	for l := range m.layers {
		m.layers[l].attn = AttnShape{
			H: c.Heads, KV: c.KVHeads, D: c.HeadDim, Window: c.Windows[l],
			Scale: float32(1 / math.Sqrt(float64(c.HeadDim))),
		}
	}
	shapes := c.Params()
	if len(shapes) != len(w.Params) {
		panic(fmt.Sprintf("model: New: %d parameters, want %d", len(w.Params), len(shapes)))
	}
	for i, shape := range shapes {
		p := w.Params[i]
		if p.Name != shape.Name || p.Rows != shape.Rows || p.Cols != shape.Cols {
			panic(fmt.Sprintf("model: New: parameter %d is %s (%d, %d), want %s (%d, %d)", i, p.Name, p.Rows, p.Cols, shape.Name, shape.Rows, shape.Cols))
		}
		x := weight{id: WeightID(i), Matrix: p.Matrix}
		if p.Side != nil {
			x.side = &side{Side: p.Side}
		}
		m.put(shape, x)
	}
	if c.Tied {
		m.head = m.embed
	}
	m.Train(func(WeightID) Want { return Nothing })
	return m
}

func (m *Llama) put(shape ParamShape, w weight) {
	switch shape.Module {
	case Embed:
		m.embed = w
	case FinalNorm:
		m.finalNorm = w
	case Head:
		m.head = w
	default:
		m.layers[shape.Layer].w[shape.Module] = w
	}
}

// Loss returns the sum of the losses, in nats, of the predictions that count, added in float64 in token order, and how many
// count. perSequence, unless nil, has one element for each sequence and receives its sum.
func (m *Llama) Loss(b Batch, perSequence []float64) (lossSum float64, counted int) {
	b.mustFit(m.c)
	if perSequence != nil && len(perSequence) != b.Sequences() {
		panic(fmt.Sprintf("model: Loss: len(perSequence)=%d, want %d", len(perSequence), b.Sequences()))
	}
	clear(perSequence)
	if b.Counted() == 0 {
		return 0, 0
	}
	m.training = false
	m.forward(b, m.c.Layers)
	m.gather(b)
	m.crossEntropy(nil)
	return m.sumLosses(b, perSequence), len(m.rows)
}

// forward leaves the residual stream after the last layer in m.x, and tapes of the layers from low on.
func (m *Llama) forward(b Batch, low int) {
	m.grow(len(b.Tokens))
	longest := 0
	for s := range b.Sequences() {
		for t := b.Starts[s]; t < b.Starts[s+1]; t++ {
			m.pos[t] = t - b.Starts[s]
		}
		longest = max(longest, int(b.Starts[s+1]-b.Starts[s]))
	}
	m.rope.grow(longest)
	m.k.Embed(m.x, m.embed.Matrix, b.Tokens)
	for l := range m.layers {
		t := &m.spare
		if l >= low {
			t = &m.tape[l]
			t.x = need(&t.x, len(m.x))
			copy(t.x, m.x)
		}
		m.growTape(t)
		m.project(l, t)
		m.k.Attention(t.o, t.lse, t.q, t.k, t.v, b.Starts, m.layers[l].attn)
		m.attended(l, t)
		if l >= low {
			t.mid = need(&t.mid, len(m.x))
			copy(t.mid, m.x)
		}
		m.mlp(l, t)
	}
}

// project makes q, k and v of the residual stream.
func (m *Llama) project(l int, t *tape) {
	k, w, c := m.k, &m.layers[l].w, m.c
	k.RMSNorm(m.xn, m.rstd[:m.T], m.x, w[AttnNorm].Matrix, c.Eps, m.T)
	q, key := t.q, t.k
	if c.QKNorm {
		q, key = t.qIn, t.kIn
	}
	m.linear(q, m.xn, w[Q])
	m.linear(key, m.xn, w[K])
	m.linear(t.v, m.xn, w[V])
	if c.QKVBias {
		k.AddBias(q, w[QBias].Matrix, m.T)
		k.AddBias(key, w[KBias].Matrix, m.T)
		k.AddBias(t.v, w[VBias].Matrix, m.T)
	}
	if c.QKNorm {
		k.RMSNorm(t.q, m.rstd[:m.T*c.Heads], q, w[QNorm].Matrix, c.Eps, m.T*c.Heads)
		k.RMSNorm(t.k, m.rstd[:m.T*c.KVHeads], key, w[KNorm].Matrix, c.Eps, m.T*c.KVHeads)
	}
	k.Rope(t.q, m.pos, m.rope.cos, m.rope.sin, c.Heads, c.HeadDim)
	k.Rope(t.k, m.pos, m.rope.cos, m.rope.sin, c.KVHeads, c.HeadDim)
}

// attended adds what attention found to the residual stream.
func (m *Llama) attended(l int, t *tape) {
	w := &m.layers[l].w
	m.linear(m.y, t.o, w[O])
	if m.c.OBias {
		m.k.AddBias(m.y, w[OBias].Matrix, m.T)
	}
	m.k.Add(m.x, m.y)
}

func (m *Llama) mlp(l int, t *tape) {
	k, w := m.k, &m.layers[l].w
	k.RMSNorm(m.xn, m.rstd[:m.T], m.x, w[MLPNorm].Matrix, m.c.Eps, m.T)
	m.linear(t.gate, m.xn, w[Gate])
	m.linear(t.up, m.xn, w[Up])
	if m.c.MLPBias {
		k.AddBias(t.gate, w[GateBias].Matrix, m.T)
		k.AddBias(t.up, w[UpBias].Matrix, m.T)
	}
	k.SwiGLU(m.act, t.gate, t.up)
	m.linear(m.y, m.act, w[Down])
	if m.c.MLPBias {
		k.AddBias(m.y, w[DownBias].Matrix, m.T)
	}
	k.Add(m.x, m.y)
}

// grow makes the buffers fit T tokens.
func (m *Llama) grow(T int) {
	c := m.c
	m.T = T
	m.pos = need(&m.pos, T)
	m.x, m.xn, m.y = need(&m.x, T*c.Hidden), need(&m.xn, T*c.Hidden), need(&m.y, T*c.Hidden)
	m.act = need(&m.act, T*c.FFN)
	norms := T
	if c.QKNorm {
		norms = T * c.Heads
	}
	m.rstd = need(&m.rstd, norms)
}

// growTape makes a tape fit T tokens, but for x and mid, which only layers that backward visits have.
func (m *Llama) growTape(t *tape) {
	c := m.c
	q, kv := m.T*c.Heads*c.HeadDim, m.T*c.KVHeads*c.HeadDim
	if c.QKNorm {
		t.qIn, t.kIn = need(&t.qIn, q), need(&t.kIn, kv)
	}
	t.q, t.k, t.v, t.o = need(&t.q, q), need(&t.k, kv), need(&t.v, kv), need(&t.o, q)
	t.lse = need(&t.lse, m.T*c.Heads)
	t.gate, t.up = need(&t.gate, m.T*c.FFN), need(&t.up, m.T*c.FFN)
}

// need returns buf with length n, in its own memory when that suffices. What it holds is unspecified.
func need[E any](buf *[]E, n int) []E {
	if cap(*buf) < n {
		*buf = make([]E, n)
	}
	return (*buf)[:n]
}
