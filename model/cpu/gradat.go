package cpu

import (
	"fmt"

	"github.com/torctrain/torc/model"
)

// Blocking of sampled products. No result bit depends on these.
const (
	gradAtBlock = 64 << 10 // elements of xT (256 KiB) that a worker keeps in its second-level cache
	gradAtCall  = 1 << 18  // multiply-adds per assembly call, about 20 µs
	gradAtLeast = 1 << 17  // multiply-adds not worth waking a goroutine for
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
// block of columns, so that the rows of xT it reads stay in cache.
func (k *Kernels) gradAtTask(worker, i int) {
	s := &k.gradAt
	from, to := i*len(s.at)/s.chunks, (i+1)*len(s.at)/s.chunks
	if from == to {
		return
	}
	first := int(s.at[from]) / s.n
	cursors := s.rowStarts(worker, first, from, to)
	block, most := max(1, gradAtBlock/s.pad), max(1, gradAtCall/s.pad)
	for col := 0; col < s.n; col += block {
		for r := range cursors {
			base := (first + r) * s.n
			dy, p := s.dyT[(first+r)*s.pad:(first+r+1)*s.pad], int(cursors[r])
			for end := base + min(col+block, s.n); p < to && int(s.at[p]) < end; {
				q := p
				for q < to && q < p+most && int(s.at[q]) < end {
					q++
				}
				k.ops.dots(s.dw[p:q], dy, s.xT, s.at[p:q], uint32(base))
				p = q
			}
			cursors[r] = uint32(p)
		}
	}
}

// rowStarts finds where the indices of each row begin in at[from:to], whose first index is in row first.
func (s *gradAtState) rowStarts(worker, first, from, to int) []uint32 {
	starts := append(s.cursors[worker][:0], uint32(from))
	begin := first * s.n
	for p := from; p < to; p++ {
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
