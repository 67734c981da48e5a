package cpu

import (
	"math"

	"github.com/torctrain/torc/internal/detmath"
	"github.com/torctrain/torc/model"
)

// keyBlock is the number of keys that the online softmax takes at a time, and of queries that one part computes. Blocks
// count from the start of a sequence, so that a sequence has the same bits in any batch. This number decides result bits.
const keyBlock = 64

// hidden is the score of a key that a query does not see: its exponential is exactly 0.
const hidden = -math.MaxFloat32

// attendState is the attention in work and the buffers of the workers.
type attendState struct {
	o, lse, q, k, v        []float32
	do, dq, dk, dv         []float32
	s                      model.AttnShape
	group                  int    // query heads of one key-value head
	tiles                  []tile // of all sequences
	buffers                []attendBuffers
	delta                  []float32 // (T, H): do·o
	pairs                  []pair    // what one worker computes whole
	rest                   []block   // what several workers share
	forward, deltas, grads func(worker, i int)
}

// tile is a block of tokens [at, at+rows) of a sequence that has n tokens from token first on.
type tile struct{ first, n, at, rows int }

// attendBuffers are packed operands and blocks of one worker; P is a row of whole panels that hold D columns.
type attendBuffers struct {
	kT, vT     []float32 // panels of (D, cols): the keys or values of a block as columns
	kN, vN     []float32 // panels of (64, cols): the same as rows
	qT, doT    []float32 // (D, 64)
	p, dp      []float32 // (64, 64): scores, then probabilities; and their gradients
	out        []float32 // (group, 64, P): sums of values; (2, D, 64) for gradients of keys and values
	top, sum   []float32 // (group, 64): greatest score so far and sum of exponentials
	old, added []float32 // (64)
}

func (s *attendState) init(k *Kernels) {
	s.buffers = make([]attendBuffers, k.Threads())
	s.forward, s.deltas, s.grads = k.attendTask, k.deltaTask, k.attendGradTask
}

// Attention computes o and lse.
func (k *Kernels) Attention(o, lse, q, kk, v []float32, starts []int32, shape model.AttnShape) {
	mustSequences("Attention", o, lse, q, kk, v, starts, shape)
	s := &k.vec.attend
	s.o, s.lse, s.q, s.k, s.v = o, lse, q, kk, v
	k.prepare(starts, shape, shape.Skip)
	k.spread(len(s.tiles)*shape.KV, len(s.tiles)*vecSmallest, s.forward)
	s.forget()
}

// prepare cuts the sequences into tiles, leaving out those before token skip of each, and sizes the buffers.
func (k *Kernels) prepare(starts []int32, shape model.AttnShape, skip int) {
	s := &k.vec.attend
	s.s, s.group, s.tiles = shape, shape.H/shape.KV, s.tiles[:0]
	for i := range len(starts) - 1 {
		first, n := int(starts[i]), int(starts[i+1]-starts[i])
		for at := skip / keyBlock * keyBlock; at < n; at += keyBlock {
			s.tiles = append(s.tiles, tile{first, n, at, min(keyBlock, n-at)})
		}
	}
	wide := parts(shape.D, k.ops.cols) * k.ops.cols
	for i := range s.buffers {
		b := &s.buffers[i]
		for _, v := range []*[]float32{&b.kT, &b.vT, &b.qT, &b.doT} {
			grow(v, keyBlock*shape.D)
		}
		for _, v := range []*[]float32{&b.kN, &b.vN} {
			grow(v, keyBlock*wide)
		}
		grow(&b.p, keyBlock*keyBlock)
		grow(&b.dp, keyBlock*keyBlock)
		grow(&b.out, keyBlock*max(s.group*wide, 2*shape.D))
		grow(&b.top, s.group*keyBlock)
		grow(&b.sum, s.group*keyBlock)
		grow(&b.old, keyBlock)
		grow(&b.added, keyBlock)
	}
}

func (s *attendState) forget() {
	s.o, s.lse, s.q, s.k, s.v, s.do, s.dq, s.dk, s.dv = nil, nil, nil, nil, nil, nil, nil, nil, nil
}

// at is the place of a token's head in a slice of rows of heads·D.
func (s *attendState) at(token, heads, head int) int { return (token*heads + head) * s.s.D }

// attendTask computes one tile of queries for the query heads of one key-value head. The last tiles of a sequence, which
// see the most keys, come first.
func (k *Kernels) attendTask(worker, i int) {
	s, b := &k.vec.attend, &k.vec.attend.buffers[worker]
	t, kv := s.tiles[len(s.tiles)-1-i/s.s.KV], i%s.s.KV
	wide := parts(s.s.D, k.ops.cols) * k.ops.cols
	size := keyBlock * wide
	out, tops, sums := b.out[:s.group*size], b.top[:s.group*keyBlock], b.sum[:s.group*keyBlock]
	clear(out)
	clear(sums)
	for r := range tops {
		tops[r] = hidden
	}
	for j := s.firstKey(t); j <= t.at; j += keyBlock {
		n := min(keyBlock, t.n-j)
		key := s.at(t.first+j, s.s.KV, kv)
		k.packColumns(b.kT, s.k[key:], s.s.KV*s.s.D, n, s.s.D)
		k.packRows(b.vN, s.v[key:], s.s.KV*s.s.D, n, s.s.D)
		for g := range s.group {
			q := s.q[s.at(t.first+t.at, s.s.H, kv*s.group+g):]
			k.score(b.p, keyBlock, q, s.s.H*s.s.D, b.kT, t.rows, n)
			s.hide(b.p, t, j, keyBlock)
			k.softmaxBlock(b, t, j, tops[g*keyBlock:(g+1)*keyBlock], sums[g*keyBlock:(g+1)*keyBlock])
			k.ops.scaleRows(out[g*size:g*size+t.rows*wide], b.old[:t.rows], wide)
			for c := 0; c < wide; c += k.ops.cols {
				k.ops.mul(out[g*size+c:], wide, b.p, keyBlock, b.vN[c*n:], t.rows, n, true)
			}
		}
	}
	for g := range s.group {
		for r := range t.rows {
			token, h := t.first+t.at+r, kv*s.group+g
			sum := sums[g*keyBlock+r]
			s.lse[token*s.s.H+h] = float32(float64(tops[g*keyBlock+r]) + detmath.Log(float64(sum)))
			row, by := out[g*size+r*wide:g*size+(r+1)*wide], 1/sum
			scale(row, by)
			copy(s.o[s.at(token, s.s.H, h):s.at(token, s.s.H, h)+s.s.D], row)
		}
	}
}

// firstKey is the first block of keys that any query of t sees.
func (s *attendState) firstKey(t tile) int {
	if s.s.Window == 0 {
		return 0
	}
	return max(0, t.at-s.s.Window+1) / keyBlock * keyBlock
}

// score computes the products of rows queries or gradients a with the n keys or values packed in bT, in blocks of cols
// columns. Their rows are ldc long; with ldc = cols the blocks lie one behind the other, each as mul reads a panel.
func (k *Kernels) score(c []float32, ldc int, a []float32, lda int, bT []float32, rows, n int) {
	D, cols := k.vec.attend.s.D, k.ops.cols
	step := cols
	if ldc == cols {
		step = keyBlock * cols
	}
	for i := range parts(n, cols) {
		k.ops.mul(c[i*step:], ldc, a, lda, bT[i*cols*D:], rows, D, false)
	}
}

// sees is the range of keys of the block from key j on that query a of a sequence sees, counted from j.
func (s *attendState) sees(a, j int) (lo, hi int) {
	hi = max(0, min(keyBlock, a+1-j))
	if s.s.Window > 0 {
		lo = min(hi, max(0, a-s.s.Window+1-j))
	}
	return lo, hi
}

// hide overwrites the scores of keys that the queries of t do not see. The block is stored in panels of width columns.
func (s *attendState) hide(p []float32, t tile, j, width int) {
	if lo, hi := s.sees(t.at, j); hi == keyBlock && lo == 0 {
		if lo, _ := s.sees(t.at+t.rows-1, j); lo == 0 {
			return
		}
	}
	for r := range t.rows {
		lo, hi := s.sees(t.at+r, j)
		for c := 0; c < keyBlock; c += width {
			row := p[c*keyBlock+r*width:][:width]
			for i := range min(width, max(0, lo-c)) {
				row[i] = hidden
			}
			for i := max(0, hi-c); i < width; i++ {
				row[i] = hidden
			}
		}
	}
}

// softmaxBlock turns the scores b.p of the block from key j on into exponentials relative to the greatest score so far and
// carries top and sum on. It leaves in b.old what earlier sums are to be multiplied with.
func (k *Kernels) softmaxBlock(b *attendBuffers, t tile, j int, top, sum []float32) {
	s := &k.vec.attend
	p, old, added := b.p[:t.rows*keyBlock], b.old[:keyBlock], b.added[:t.rows]
	copy(old, top)
	k.ops.scoreRows(p, top[:t.rows], s.s.Scale)
	k.ops.expDiff(old, top)
	k.ops.expRows(p, top[:t.rows], added)
	for r := range added {
		if s.s.Window > 0 {
			if lo, hi := s.sees(t.at+r, j); lo == hi { // nothing to see: what stands there is exp(0)
				clear(p[r*keyBlock : (r+1)*keyBlock])
				added[r] = 0
			}
		}
		sum[r] = float32(sum[r]*old[r]) + added[r]
	}
}
