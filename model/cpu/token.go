package cpu

import (
	"math"

	"github.com/torctrain/torc/internal/detmath"
	"github.com/torctrain/torc/model"
)

// tokenState is the kernel in work that looks at token ids.
type tokenState struct {
	loss, logits []float32
	ids          []int32
	V            int

	y, dw, dy []float32
	w         *model.Matrix
	C, rows   int

	entropy, embed, embedD func(worker, i int)
}

func (s *tokenState) init(k *Kernels) {
	s.entropy, s.embed, s.embedD = k.entropyTask, k.embedTask, k.embedGradTask
}

func (s *tokenState) forget() {
	s.loss, s.logits, s.ids, s.y, s.dw, s.dy, s.w = nil, nil, nil, nil, nil, nil, nil
}

// CrossEntropy replaces logits by their gradients and writes the losses.
func (k *Kernels) CrossEntropy(loss, logits []float32, targets []int32, T int) {
	mustLen("CrossEntropy", "loss", len(loss), T)
	mustLen("CrossEntropy", "targets", len(targets), T)
	if T == 0 {
		return
	}
	V := mustRows("CrossEntropy", "logits", len(logits), T)
	mustIDs("CrossEntropy", targets, V)
	s := &k.vec.token
	s.loss, s.logits, s.ids, s.V = loss, logits, targets, V
	k.spread(T, T*V, s.entropy)
	s.forget()
}

// entropyBlock is the number of exponentials that are added in float32; the sums of the blocks are added in float64.
const entropyBlock = 4096

// entropyTask computes row t.
func (k *Kernels) entropyTask(worker, t int) {
	s := &k.vec.token
	row, target := s.logits[t*s.V:(t+1)*s.V], s.ids[t]
	n, b := whole(s.V), &k.vec.scratch[worker]
	top := float32(math.Inf(-1))
	if n > 0 {
		top = k.ops.top(row[:n])
	}
	for _, v := range row[n:] {
		top = max32(top, v)
	}
	logit, sum := row[target], 0.0
	for from := 0; from < s.V; from += entropyBlock {
		block := row[from:min(s.V, from+entropyBlock)]
		p := b.padded(0, block, float32(math.Inf(-1)))
		k.ops.expSub(p, top)
		sum += float64(k.ops.sum(p))
		if len(p) != len(block) {
			copy(block, p)
		}
	}
	s.loss[t] = float32(detmath.Log(sum) + (float64(top) - float64(logit)))
	by := float32(1 / sum)
	k.ops.scale(row[:n], by)
	scale(row[n:], by)
	row[target]--
}

// Embed copies rows of w.
func (k *Kernels) Embed(y []float32, w *model.Matrix, ids []int32) {
	mustLen("Embed", "y", len(y), len(ids)*w.Cols)
	mustIDs("Embed", ids, w.Rows)
	s := &k.vec.token
	s.y, s.w, s.ids, s.C = y, w, ids, w.Cols
	s.rows = max(1, elementPart/max(1, s.C))
	k.spread(parts(len(ids), s.rows), len(y), s.embed)
	s.forget()
}

func (k *Kernels) embedTask(_, i int) {
	s := &k.vec.token
	for t := i * s.rows; t < min(len(s.ids), (i+1)*s.rows); t++ {
		s.w.Read(s.y[t*s.C:(t+1)*s.C], int(s.ids[t])*s.C)
	}
}

// EmbedGrad adds rows of dy to rows of dw.
func (k *Kernels) EmbedGrad(dw, dy []float32, ids []int32) {
	if len(ids) == 0 {
		return
	}
	C := mustRows("EmbedGrad", "dy", len(dy), len(ids))
	mustIDs("EmbedGrad", ids, mustRows("EmbedGrad", "dw", len(dw), C))
	s := &k.vec.token
	s.dw, s.dy, s.ids, s.C = dw, dy, ids, C
	k.spread(parts(C, columnPart), len(dy), s.embedD)
	s.forget()
}

// embedGradTask owns a part of the columns, so that tokens are added in order.
func (k *Kernels) embedGradTask(_, i int) {
	s := &k.vec.token
	from, to := i*columnPart, min(s.C, (i+1)*columnPart)
	mid := from + whole(to-from)
	for t, id := range s.ids {
		dw, dy := s.dw[int(id)*s.C:(int(id)+1)*s.C], s.dy[t*s.C:(t+1)*s.C]
		k.ops.add(dw[from:mid], dy[from:mid])
		add(dw[mid:to], dy[mid:to])
	}
}
