package cpu

import "github.com/torctrain/torc/model"

// gemmOps are the inner loops of matrix products of one tier.
type gemmOps struct {
	rows, cols int // of a full tile; cols is also the width of a packed panel

	// mul computes c[i·ldc+j] = c[i·ldc+j] + Σ_p a[i·lda+p]·b[p·cols+j] for i < rows and j < cols, as one chain of fused
	// multiply-adds over p ascending in [0, k), starting from zero instead of c unless add is set.
	mul func(c []float32, ldc int, a []float32, lda int, b []float32, rows, k int, add bool)

	packOps

	// dots adds Σ_t dy[t]·x[(at[i]−base)·stride+t] to each dw[i]. len(dy) is a multiple of 64. Element t belongs to partial
	// sum t mod 64, a chain of fused multiply-adds over t ascending from zero. The tree of the 64 sums s: first
	// s[j] = (s[j]+s[j+16]) + (s[j+32]+s[j+48]) for j < 16, then s[j] += s[j+h] for j < h, with h = 8, 4, 2, 1.
	dots func(dw, dy, x []float32, stride int, at []uint32, base uint32)
}

// Blocking of matrix products. A worker packs a block of b, at most innerMax by colsMax (320 KiB, in the second-level
// cache), and multiplies blocks of a with rowsMax rows with it. No result bit depends on these.
const (
	innerMax = 320
	colsMax  = 256
	rowsMax  = 96
	smallest = 1 << 17 // multiply-adds not worth waking a goroutine for
)

// product is c = a·b, or c += a·b: c (M, N), a (M, K), b (K, N). A transposed operand is stored as (K, M) or (N, K).
type product struct {
	c       []float32
	a       []float32
	aT, bT  bool
	b       source
	M, N, K int
	add     bool
}

// gemmState is the product in work and the buffers of the workers, made once.
type gemmState struct {
	product
	colParts, rowParts int
	buffers            []gemmBuffers
	task               func(worker, i int)
}

type gemmBuffers struct {
	a []float32 // (rowsMax, innerMax)
	b []float32 // panels of (innerMax, cols)
	c []float32 // (rowsMax, cols): outputs of a panel that is not full
}

func (s *gemmState) init(k *Kernels) {
	s.buffers = make([]gemmBuffers, k.Threads())
	for i := range s.buffers {
		s.buffers[i] = gemmBuffers{aligned(rowsMax * innerMax), aligned(innerMax * colsMax), aligned(rowsMax * k.ops.cols)}
	}
	s.task = k.gemmTask
}

// Linear computes y = x·Wᵀ.
func (k *Kernels) Linear(y, x []float32, w *model.Matrix, T int) {
	mustLen("Linear", "y", len(y), T*w.Rows)
	mustLen("Linear", "x", len(x), T*w.Cols)
	k.multiply(product{c: y, a: x, b: sourceOf(w), bT: true, M: T, N: w.Rows, K: w.Cols})
}

// LinearGradX adds dy·W to dx.
func (k *Kernels) LinearGradX(dx, dy []float32, w *model.Matrix, T int) {
	mustLen("LinearGradX", "dx", len(dx), T*w.Cols)
	mustLen("LinearGradX", "dy", len(dy), T*w.Rows)
	k.multiply(product{c: dx, a: dy, b: sourceOf(w), M: T, N: w.Cols, K: w.Rows, add: true})
}

// GradDense adds dyᵀ·x to dw.
func (k *Kernels) GradDense(dw, dy, x []float32, T int) {
	if T == 0 {
		return
	}
	m, n := mustRows("GradDense", "dy", len(dy), T), mustRows("GradDense", "x", len(x), T)
	mustLen("GradDense", "dw", len(dw), m*n)
	k.multiply(product{c: dw, a: dy, aT: true, b: source{f32: x}, M: m, N: n, K: T, add: true})
}

func (k *Kernels) multiply(p product) {
	if p.M == 0 || p.N == 0 {
		return
	}
	s := &k.gemm
	s.product = p
	s.colParts, s.rowParts = k.cut()
	k.parallel(s.colParts*s.rowParts, s.task)
	s.product = product{}
}

// cut chooses into how many parts the columns and rows of c are cut: the least time of the busiest thread, counting that
// each part packs its own b, which costs about as much as a few rows.
func (k *Kernels) cut() (colParts, rowParts int) {
	s, o, threads := &k.gemm, &k.ops, k.Threads()
	panels, tiles := parts(s.N, o.cols), parts(s.M, o.rows)
	colParts = parts(panels, colsMax/o.cols)
	if s.N*s.K*(s.M+o.rows) <= smallest {
		return colParts, 1
	}
	best := 0
	for r := 1; r <= min(threads, tiles); r++ {
		for rounds := 1; rounds <= 4; rounds++ {
			c := min(panels, max(parts(panels, colsMax/o.cols), rounds*threads/r))
			cost := parts(c*r, threads) * parts(panels, c) * (parts(tiles, r) + 1)
			if best == 0 || cost < best {
				best, colParts, rowParts = cost, c, r
			}
		}
	}
	return colParts, rowParts
}

// gemmTask computes one part of c: whole panels of columns, whole tiles of rows.
func (k *Kernels) gemmTask(worker, i int) {
	s, o := &k.gemm, &k.ops
	panels, tiles := parts(s.N, o.cols), parts(s.M, o.rows)
	col, row := i%s.colParts, i/s.colParts
	j0, j1 := col*panels/s.colParts*o.cols, min(s.N, (col+1)*panels/s.colParts*o.cols)
	i0, i1 := row*tiles/s.rowParts*o.rows, min(s.M, (row+1)*tiles/s.rowParts*o.rows)
	if i0 >= i1 || j0 >= j1 {
		return
	}
	width := j1 - j0
	if s.bT && i1-i0 <= rowsMax { // nothing is packed twice: read rows of b to their end, use a panel while it is near
		width = o.cols
	}
	for j := j0; j < j1; j += width {
		k.multiplyPart(&s.buffers[worker], i0, i1, j, min(j+width, j1))
	}
}

// multiplyPart computes rows [i0, i1), columns [j0, j1) of c.
func (k *Kernels) multiplyPart(w *gemmBuffers, i0, i1, j0, j1 int) {
	s := &k.gemm
	inner := even(s.K, innerMax, 8)
	rows := even(i1-i0, rowsMax, k.ops.rows)
	for p0 := 0; p0 < s.K || p0 == 0; p0 += inner {
		n := min(inner, s.K-p0)
		k.packB(w.b, p0, n, j0, j1)
		for i := i0; i < i1; i += rows {
			k.multiplyBlock(w, p0, n, i, min(rows, i1-i), j0, j1)
		}
	}
}

// multiplyBlock multiplies rows [i, i+rows) of a, inner range [p0, p0+n), with the packed block of columns [j0, j1).
func (k *Kernels) multiplyBlock(w *gemmBuffers, p0, n, i, rows, j0, j1 int) {
	s, o := &k.gemm, &k.ops
	a, lda := s.a[i*s.K+p0:], s.K
	if s.aT {
		a, lda = w.a, innerMax
		k.packA(a, p0, n, i, rows)
	}
	add := s.add || p0 > 0
	for j := j0; j < j1; j += o.cols {
		b := w.b[(j-j0)*n:]
		if j+o.cols <= j1 {
			o.mul(s.c[i*s.N+j:], s.N, a, lda, b, rows, n, add)
			continue
		}
		for r := range rows { // the last panel is not full: go through a block that is
			copy(w.c[r*o.cols:], s.c[(i+r)*s.N+j:(i+r)*s.N+j1])
		}
		o.mul(w.c, o.cols, a, lda, b, rows, n, add)
		for r := range rows {
			copy(s.c[(i+r)*s.N+j:(i+r)*s.N+j1], w.c[r*o.cols:])
		}
	}
}

// parts is how many parts of at most size cover n.
func parts(n, size int) int { return (n + size - 1) / size }

// even is the size, a multiple of unit, of nearly equal parts of at most most that cover n.
func even(n, most, unit int) int {
	size := parts(n, max(1, parts(n, most)))
	return max(1, parts(size, unit)) * unit
}
