package cpu

import (
	"fmt"

	"github.com/torctrain/torc/model"
)

// gradAtCut is the number of tokens after which a sampled product is cut; the pieces are added in order. It is part of the
// arithmetic: with it the rows of xT in use stay small enough for a cache at any T.
const gradAtCut = 512

// Blocking of sampled products. No result bit depends on these.
const (
	gradAtCols  = 128     // rows of xT (256 KiB of a piece) that a worker keeps in its second-level cache
	gradAtSkew  = 16      // extra stride of a copied piece of a row
	gradAtReuse = 4       // uses of a row of xT for which it is copied
	gradAtCall  = 512     // indices per assembly call, about 20 µs
	gradAtLeast = 1 << 17 // multiply-adds not worth waking a goroutine for
)

// gradAtState is the sampled product or transpose in work and the buffers of the workers.
type gradAtState struct {
	dw, dyT, xT    []float32
	at             []uint32
	n, pad, chunks int
	cursors        [][]uint32 // by worker: where each row of its chunk goes on
	task           func(worker, i int)

	dst, src   []float32
	rows, cols int
	transpose  func(worker, i int)
}

func (s *gradAtState) init(k *Kernels) {
	s.cursors = make([][]uint32, k.Threads())
	s.task, s.transpose = k.gradAtTask, k.transposeTask
}

// GradAt computes the gradient of an (m, n) weight at sorted flat indices.
func (k *Kernels) GradAt(dw, dyT, xT []float32, at []uint32, n, T int) {
	mustLen("GradAt", "dw", len(dw), len(at))
	pad := model.Pad(T)
	mustLen("GradAt", "xT", len(xT), n*pad)
	if T == 0 {
		clear(dw)
		return
	}
	if len(at) == 0 {
		return
	}
	if m := mustRows("GradAt", "dyT", len(dyT), pad); int(at[len(at)-1]) >= m*n {
		panic(fmt.Sprintf("cpu: GradAt: index %d into a weight of %d×%d", at[len(at)-1], m, n))
	}
	s := &k.gradAt
	s.dw, s.dyT, s.xT, s.at, s.n, s.pad, s.chunks = dw, dyT, xT, at, n, pad, 1
	if threads := k.Threads(); threads > 1 && len(at)*pad > gradAtLeast {
		s.chunks = 2 * threads // two each, since a thread may be late
	}
	k.parallel(s.chunks, s.task)
	s.dw, s.dyT, s.xT, s.at = nil, nil, nil, nil
}

// gradAtTask computes a chunk of consecutive indices, the same number in each chunk. It goes over the rows once for each
// piece of the tokens and block of columns, so that the rows of xT it reads stay in cache.
func (k *Kernels) gradAtTask(worker, i int) {
	s := &k.gradAt
	b := gradAtBlock{from: i * len(s.at) / s.chunks, to: (i + 1) * len(s.at) / s.chunks}
	if b.from == b.to {
		return
	}
	clear(s.dw[b.from:b.to])
	b.row = int(s.at[b.from]) / s.n
	for b.t = 0; b.t < s.pad; b.t += gradAtCut {
		b.tokens = min(gradAtCut, s.pad-b.t)
		cursors := s.rowStarts(worker, b)
		for b.col = 0; b.col < s.n; b.col += gradAtCols {
			b.end = min(b.col+gradAtCols, s.n)
			b.x, b.stride = s.xT[b.col*s.pad+b.t:], s.pad
			if b.to-b.from > gradAtReuse*s.n {
				b.x, b.stride = s.copyBlock(k.gemm.buffers[worker].b, b), gradAtCut+gradAtSkew
			}
			k.gradAtBlock(cursors, b)
		}
	}
}

// gradAtBlock is a part of a sampled product: indices [from, to), the first of which is in row, at columns [col, end),
// tokens [t, t+tokens). The rows of xT lie at x with a stride.
type gradAtBlock struct {
	from, to, row int
	col, end      int
	t, tokens     int
	x             []float32
	stride        int
}

// copyBlock copies the rows of a block to dst, at a stride that is no power of two: equal low address bits of dy and the
// rows would make them share a few sets and banks of the caches.
func (s *gradAtState) copyBlock(dst []float32, b gradAtBlock) []float32 {
	for j := range b.end - b.col {
		copy(dst[j*(gradAtCut+gradAtSkew):], b.x[j*b.stride:j*b.stride+b.tokens])
	}
	return dst
}

// gradAtBlock adds a block's products, of all indices with columns below its end that the cursors have not passed.
func (k *Kernels) gradAtBlock(cursors []uint32, b gradAtBlock) {
	s := &k.gradAt
	for r := range cursors {
		row, p := b.row+r, int(cursors[r])
		dy := s.dyT[row*s.pad+b.t : row*s.pad+b.t+b.tokens]
		for limit := row*s.n + b.end; p < b.to && int(s.at[p]) < limit; {
			q := p + 1
			for q < min(b.to, p+gradAtCall) && int(s.at[q]) < limit {
				q++
			}
			k.ops.dots(s.dw[p:q], dy, b.x, b.stride, s.at[p:q], uint32(row*s.n+b.col))
			p = q
		}
		cursors[r] = uint32(p)
	}
}

// rowStarts finds where the indices of each row of a block begin.
func (s *gradAtState) rowStarts(worker int, b gradAtBlock) []uint32 {
	starts := append(s.cursors[worker][:0], uint32(b.from))
	begin := b.row * s.n
	for p := b.from; p < b.to; p++ {
		a := int(s.at[p])
		if a < begin {
			panic(fmt.Sprintf("cpu: GradAt: index %d at %d after a larger one", a, p))
		}
		for a >= begin+s.n {
			starts = append(starts, uint32(p))
			begin += s.n
		}
	}
	s.cursors[worker] = starts
	return starts
}

// TransposePad writes src (rows, cols) as dst (cols, Pad(rows)).
func (k *Kernels) TransposePad(dst, src []float32, rows, cols int) {
	mustLen("TransposePad", "dst", len(dst), cols*model.Pad(rows))
	mustLen("TransposePad", "src", len(src), rows*cols)
	s := &k.gradAt
	s.dst, s.src, s.rows, s.cols = dst, src, rows, cols
	k.parallel(parts(cols, transposeCols), s.transpose)
	s.dst, s.src = nil, nil
}

// transposeCols is the number of columns in a part of TransposePad: two cache lines of each row.
const transposeCols = 32

func (k *Kernels) transposeTask(_, i int) {
	s := &k.gradAt
	pad := model.Pad(s.rows)
	from, to := i*transposeCols, min(s.cols, (i+1)*transposeCols)
	if s.rows > 0 {
		transpose(&k.ops.packOps, s.dst[from*pad:], pad, s.src[from:], s.cols, s.rows, to-from)
	}
	for c := from; c < to; c++ {
		clear(s.dst[c*pad+s.rows : (c+1)*pad])
	}
}
