package model

// headElements bounds the logits that exist at a time. A chunk of rows depends on the vocabulary alone.
const headElements = 1 << 23

// headRows is the number of rows whose logits are computed together.
func headRows(vocab int) int { return min(max(headElements/vocab&^15, 16), 512) }

// headBuffers belong to the N predictions of a batch that count: only they pass the final norm and the head.
type headBuffers struct {
	rows    []int32   // (N) their tokens
	targets []int32   // (N)
	hx      []float32 // (N, C) the residual stream there
	h       []float32 // (N, C) normalised
	hstd    []float32 // (N)
	loss    []float32 // (N)
	logits  []float32 // (chunk, V)
	dh, dhx []float32 // (N, C) gradients of h and hx
}

// gather picks the rows that count from m.x and normalises them.
func (m *Llama) gather(b Batch) {
	C := m.c.Hidden
	N := b.Counted()
	m.rows, m.targets = need(&m.rows, N)[:0], need(&m.targets, N)[:0]
	m.hx, m.h, m.hstd, m.loss = need(&m.hx, N*C), need(&m.h, N*C), need(&m.hstd, N), need(&m.loss, N)
	for t, target := range b.Targets {
		if target < 0 {
			continue
		}
		copy(m.hx[len(m.rows)*C:], m.x[t*C:(t+1)*C])
		m.rows, m.targets = append(m.rows, int32(t)), append(m.targets, target)
	}
	m.k.RMSNorm(m.h, m.hstd, m.hx, m.finalNorm.Matrix, m.c.Eps, N)
}

// crossEntropy writes the losses. With a sink it also makes dh, if anything below the head is wanted, and the head's
// gradient, which a tied model leaves in m.whole.
func (m *Llama) crossEntropy(sink GradSink) {
	C, V, N := m.c.Hidden, m.c.Vocab, len(m.rows)
	below := sink != nil && m.plan.end >= m.c.place(-1, FinalNorm)
	wanted := sink != nil && m.plan.wants[m.head.id] != Nothing
	if below {
		m.dh = need(&m.dh, N*C)
		clear(m.dh)
	}
	if wanted {
		m.whole = need(&m.whole, V*C)
		clear(m.whole)
	}
	m.logits = need(&m.logits, min(m.chunk, N)*V)
	for i := 0; i < N; i += m.chunk {
		n := min(m.chunk, N-i)
		logits, h := m.logits[:n*V], m.h[i*C:(i+n)*C]
		m.k.Linear(logits, h, m.head.Matrix, n)
		m.k.CrossEntropy(m.loss[i:i+n], logits, m.targets[i:i+n], n)
		if wanted {
			m.k.GradDense(m.whole, logits, h, n)
		}
		if below {
			m.k.LinearGradX(m.dh[i*C:(i+n)*C], logits, m.head.Matrix, n)
		}
	}
	if wanted && !m.c.Tied {
		sink.Whole(m.head.id, m.whole)
	}
}

// sumLosses adds the losses in token order.
func (m *Llama) sumLosses(b Batch, perSequence []float64) float64 {
	sum, s := 0.0, 0
	for i, t := range m.rows {
		sum += float64(m.loss[i])
		for t >= b.Starts[s+1] {
			s++
		}
		if perSequence != nil {
			perSequence[s] += float64(m.loss[i])
		}
	}
	return sum
}
