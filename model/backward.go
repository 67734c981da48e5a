package model

// plan is what Train decided.
type plan struct {
	wants []Want
	end   int // Config.place of the last wanted weight; before everything else when none is
	low   int // the lowest layer that backward visits; Config.Layers when it visits none
}

// gradBuffers are what backward needs besides what forward has.
type gradBuffers struct {
	dx         []float32 // (T, C) gradient of the residual stream
	dxn        []float32 // (T, C) of its normalised form
	do, dq     []float32 // (T, H·D)
	dk, dv     []float32 // (T, KV·D)
	xT, dyT    []float32 // the transposes of Outer
	whole      []float32 // (V, C) gradient of head or embeddings
	vector     []float32 // gradient of a norm or bias
	ones       []float32 // (T, 1): a bias is a weight whose input is always 1
	out        Outer
	transposed bool // out.X into xT
}

// Train says what of each weight's gradient later calls of Gradient hand over. The backward pass ends at the last weight of
// BackwardOrder that is wanted; of layers below it nothing is kept.
func (m *Llama) Train(wants func(WeightID) Want) {
	params := m.c.Params()
	p := plan{wants: make([]Want, len(params)), end: m.c.place(-1, Head) - 1, low: m.c.Layers}
	for i, param := range params {
		p.wants[i] = wants(WeightID(i))
		if p.wants[i] != Nothing {
			p.end = max(p.end, m.c.place(param.Layer, param.Module))
		}
	}
	if p.end >= 0 {
		p.low = max(0, m.c.Layers-1-p.end/layerPlaces)
	}
	m.plan = p
	if m.tape == nil {
		m.tape = make([]tape, m.c.Layers)
	}
	clear(m.tape[:p.low])
}

// Gradient computes the gradient of the sum of the losses of b and hands it to sink weight by weight, in BackwardOrder.
// It returns what Loss returns. When no prediction counts, the gradient is zero and sink receives nothing.
func (m *Llama) Gradient(b Batch, sink GradSink) (lossSum float64, counted int) {
	b.mustFit(m.c)
	if b.Counted() == 0 {
		return 0, 0
	}
	m.training, m.chance = true, b.Chance
	m.forward(b, m.plan.low)
	m.gather(b)
	m.crossEntropy(sink)
	lossSum, counted = m.sumLosses(b, nil), len(m.rows)
	m.backward(b, sink)
	return lossSum, counted
}

// backward goes from dh, the gradient at the head's input, down to the last wanted weight.
func (m *Llama) backward(b Batch, sink GradSink) {
	if m.plan.end < m.c.place(-1, FinalNorm) {
		return
	}
	m.backwardNorm(sink)
	for l := m.c.Layers - 1; l >= m.plan.low; l-- {
		if !m.backwardMLP(l, sink) || !m.backwardAttention(l, b, sink) {
			return
		}
	}
	if m.plan.wants[m.embed.id] == Nothing {
		return
	}
	if !m.c.Tied {
		m.whole = need(&m.whole, m.c.Vocab*m.c.Hidden)
		clear(m.whole)
	}
	m.k.EmbedGrad(m.whole, m.dx, b.Tokens)
	sink.Whole(m.embed.id, m.whole)
}

// backwardNorm passes the final norm and spreads the rows that count over all tokens.
func (m *Llama) backwardNorm(sink GradSink) {
	C := m.c.Hidden
	m.dhx = need(&m.dhx, len(m.hx))
	clear(m.dhx)
	m.normGrad(sink, m.finalNorm, m.dhx, m.dh, m.hx, m.hstd, len(m.rows))
	m.dx = need(&m.dx, m.T*C)
	clear(m.dx)
	for i, t := range m.rows {
		copy(m.dx[int(t)*C:int(t+1)*C], m.dhx[i*C:(i+1)*C])
	}
}

// backwardMLP turns dx, the gradient of the stream after layer l, into that before its MLP. Like backwardAttention it
// returns false when nothing further is wanted, and then leaves dx anyhow. Gradients of gate and up replace them in the tape.
func (m *Llama) backwardMLP(l int, sink GradSink) bool {
	k, w, t, T := m.k, &m.layers[l].w, &m.tape[l], m.T
	if m.plan.wants[w[Down].id] != Nothing { // the input of a frozen weight is not made again
		k.SwiGLU(m.act, t.gate, t.up)
	}
	m.input(m.act)
	m.outer(sink, w[Down], m.dx)
	m.biasGrad(sink, w[DownBias], m.dx)
	if !m.below(l, DownBias) {
		return false
	}
	clear(m.act)
	m.linearGradX(m.act, m.dx, w[Down])
	k.SwiGLUGrad(t.gate, t.up, m.act, t.gate, t.up)
	k.RMSNorm(m.xn, m.rstd[:T], t.mid, w[MLPNorm].Matrix, m.c.Eps, T)
	m.input(m.xn)
	m.outer(sink, w[Gate], t.gate)
	m.biasGrad(sink, w[GateBias], t.gate)
	m.outer(sink, w[Up], t.up)
	m.biasGrad(sink, w[UpBias], t.up)
	if !m.below(l, UpBias) {
		return false
	}
	m.dxn = need(&m.dxn, len(m.xn))
	clear(m.dxn)
	m.linearGradX(m.dxn, t.gate, w[Gate])
	m.linearGradX(m.dxn, t.up, w[Up])
	m.normGrad(sink, w[MLPNorm], m.dx, m.dxn, t.mid, m.rstd[:T], T)
	return m.below(l, MLPNorm)
}

// backwardAttention turns dx, the gradient of the stream between attention and MLP of layer l, into that before the layer.
func (m *Llama) backwardAttention(l int, b Batch, sink GradSink) bool {
	k, w, t, T := m.k, &m.layers[l].w, &m.tape[l], m.T
	m.input(t.o)
	m.outer(sink, w[O], m.dx)
	m.biasGrad(sink, w[OBias], m.dx)
	if !m.below(l, OBias) {
		return false
	}
	m.do, m.dq = need(&m.do, len(t.q)), need(&m.dq, len(t.q))
	m.dk, m.dv = need(&m.dk, len(t.k)), need(&m.dv, len(t.v))
	clear(m.do)
	m.linearGradX(m.do, m.dx, w[O])
	k.AttentionGrad(m.dq, m.dk, m.dv, m.do, t.o, t.lse, t.q, t.k, t.v, b.Starts, m.layers[l].attn)
	k.Rope(m.dq, m.pos, m.rope.cos, m.rope.back, m.c.Heads, m.c.HeadDim)
	k.Rope(m.dk, m.pos, m.rope.cos, m.rope.back, m.c.KVHeads, m.c.HeadDim)
	if m.c.QKNorm {
		m.headNormGrad(sink, w[QNorm], m.dq, t.qIn)
		m.headNormGrad(sink, w[KNorm], m.dk, t.kIn)
	}
	k.RMSNorm(m.xn, m.rstd[:T], t.x, w[AttnNorm].Matrix, m.c.Eps, T)
	m.input(m.xn)
	m.outer(sink, w[Q], m.dq)
	m.biasGrad(sink, w[QBias], m.dq)
	m.outer(sink, w[K], m.dk)
	m.biasGrad(sink, w[KBias], m.dk)
	m.outer(sink, w[V], m.dv)
	m.biasGrad(sink, w[VBias], m.dv)
	if !m.below(l, VBias) {
		return false
	}
	m.dxn = need(&m.dxn, len(m.xn))
	clear(m.dxn)
	m.linearGradX(m.dxn, m.dq, w[Q])
	m.linearGradX(m.dxn, m.dk, w[K])
	m.linearGradX(m.dxn, m.dv, w[V])
	m.normGrad(sink, w[AttnNorm], m.dx, m.dxn, t.x, m.rstd[:T], T)
	return m.below(l, AttnNorm)
}

// headNormGrad takes d, the gradient of normalised heads, back to that of x before their norm.
func (m *Llama) headNormGrad(sink GradSink, w weight, d, x []float32) {
	heads := len(x) / m.c.HeadDim
	scratch, rstd := m.do[:len(x)], m.rstd[:heads]
	m.k.RMSNorm(scratch, rstd, x, w.Matrix, m.c.Eps, heads) // for rstd
	clear(scratch)
	m.normGrad(sink, w, scratch, d, x, rstd, heads)
	copy(d, scratch)
}

// below says whether a weight is wanted whose gradient comes after that of the given one.
func (m *Llama) below(layer int, module Module) bool { return m.plan.end > m.c.place(layer, module) }

// normGrad adds to dx the gradient through a norm of x and hands over that of its weight w.
func (m *Llama) normGrad(sink GradSink, w weight, dx, dy, x, rstd []float32, T int) {
	if m.plan.wants[w.id] == Nothing {
		m.k.RMSNormGrad(dx, nil, dy, x, rstd, w.Matrix, T)
		return
	}
	m.vector = need(&m.vector, w.Len())
	clear(m.vector)
	m.k.RMSNormGrad(dx, m.vector, dy, x, rstd, w.Matrix, T)
	sink.Whole(w.id, m.vector)
}

// biasGrad hands over the gradient of a bias, if the model has it.
func (m *Llama) biasGrad(sink GradSink, w weight, dy []float32) {
	if w.Matrix == nil || m.plan.wants[w.id] == Nothing {
		return
	}
	if m.ones = need(&m.ones, m.T); m.T > 0 && m.ones[m.T-1] != 1 {
		for i := range m.ones {
			m.ones[i] = 1
		}
	}
	m.vector = need(&m.vector, w.Len())
	clear(m.vector)
	m.k.GradDense(m.vector, dy, m.ones, m.T)
	sink.Whole(w.id, m.vector)
}

// input names the X of the linear weights that follow.
func (m *Llama) input(x []float32) { m.out.X, m.transposed = x, false }

// outer hands over the gradient of a linear weight. X is transposed at most once for all weights that share it.
func (m *Llama) outer(sink GradSink, w weight, dy []float32) {
	o, T, want := &m.out, m.T, m.plan.wants[w.id]
	o.Kernels, o.T, o.DY, o.DYT, o.XT, o.P, o.Q, o.H, o.DP = m.k, T, dy, nil, nil, nil, nil, nil, nil
	if w.side != nil {
		m.sideGrad(dy, w)
	}
	if want == Nothing {
		return
	}
	if want == LowRank {
		x := o.X
		o.X = m.dropped(x, w)
		sink.Outer(w.id, o)
		o.X = x
		return
	}
	if want == Sampled {
		m.growTransposes()
		o.XT, o.DYT = m.xT[:w.Cols*Pad(T)], m.dyT[:w.Rows*Pad(T)]
		if !m.transposed {
			m.k.TransposePad(o.XT, o.X, T, w.Cols)
			m.transposed = true
		}
		m.k.TransposePad(o.DYT, dy, T, w.Rows)
	}
	sink.Outer(w.id, o)
}

// growTransposes makes the transposes fit the widest linear weight.
func (m *Llama) growTransposes() {
	widest := max(m.c.Hidden, m.c.FFN, m.c.Heads*m.c.HeadDim)
	m.xT, m.dyT = need(&m.xT, widest*Pad(m.T)), need(&m.dyT, widest*Pad(m.T))
}
