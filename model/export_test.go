package model

// AllLogits are the logits (T, V) of a full forward pass of one sequence.
func (m *Llama) AllLogits(tokens []int32) []float32 {
	var b Batch
	all := make([]bool, len(tokens)+1)
	b.Add(append(append([]int32{}, tokens...), 0), all) // the last token of a sequence is no input
	m.forward(b, m.c.Layers)
	T, C, V := len(tokens), m.c.Hidden, m.c.Vocab
	h, rstd, logits := make([]float32, T*C), make([]float32, T), make([]float32, T*V)
	m.k.RMSNorm(h, rstd, m.x, m.finalNorm.Matrix, m.c.Eps, T)
	m.k.Linear(logits, h, m.head.Matrix, T)
	return logits
}

// BufferBytes is the memory of all buffers by the kinds of MemoryUse.
func (m *Llama) BufferBytes() MemoryUse {
	sum := func(buffers ...[]float32) int64 {
		n := 0
		for _, b := range buffers {
			n += 4 * cap(b)
		}
		return int64(n)
	}
	var u MemoryUse
	tape := func(t *tape) int64 {
		return sum(t.x, t.qIn, t.kIn, t.q, t.k, t.v, t.o, t.lse, t.mid, t.gate, t.up)
	}
	for i := range m.tape {
		u.Activations += tape(&m.tape[i])
	}
	u.Scratch = tape(&m.spare) + sum(m.x, m.xn, m.y, m.rstd, m.act, m.dx, m.dxn, m.do, m.dq, m.dk, m.dv, m.xT, m.dyT, m.vector, m.ones,
		m.rope.cos, m.rope.sin, m.rope.back) + int64(4*cap(m.pos))
	u.Logits = sum(m.hx, m.h, m.hstd, m.loss, m.logits, m.dh, m.dhx) + int64(4*(cap(m.rows)+cap(m.targets)))
	u.Gradient = sum(m.whole)
	return u
}

// SetChunk sets the number of rows that pass the head together.
func (m *Llama) SetChunk(rows int) { m.chunk = rows }

// HeadRows is headRows.
func HeadRows(vocab int) int { return headRows(vocab) }

// Normal is normal.
func Normal(bits uint64) float64 { return normal(bits) }

// KeptLayers counts the layers that have a tape.
func (m *Llama) KeptLayers() int {
	n := 0
	for i := range m.tape {
		if m.tape[i].q != nil {
			n++
		}
	}
	return n
}
