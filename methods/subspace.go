package methods

import (
	"fmt"
	"math"

	"gorgonia.org/tensor"

	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/model"
)

const (
	rounds     = 20      // of block iteration; enough for every spectrum with structure
	oversize   = 8       // directions iterated beyond the rank: they take up what has not converged
	tileFloats = 1 << 16 // elements of W or W′ handled at a time, 256 KiB
)

// principal is the approximation W′ of a weight by its largest singular values, never formed: an orthonormal basis of
// the singular subspace on the weight's smaller side is all that W′ needs, not the values and not the other side.
//
//	n ≤ m:  W′ = (W·Qᵀ)·Q with Q (rank, n)        n > m:  W′ = Qᵀ·(Q·W) with Q (rank, m)
//
// The basis comes from block iteration with the Gram matrix of that side, from a start drawn from a key, for a fixed
// number of rounds: a function of W, the rank, the key and the arithmetic of the kernels.
// Source: LIFT, arXiv:2506.00772, where W′ comes from a full SVD.
type principal struct {
	e     Engine
	w     *model.Matrix
	basis *tensor.Dense // Q; nil when the rank is full and W′ = W
	side  *tensor.Dense // Q·W (rank, n) when n > m
}

// newPrincipal approximates w, which must not change while the result is used.
func newPrincipal(k model.Kernels, w *model.Matrix, rank int, key rng.Key) *principal {
	p := &principal{e: Engine{Kernels: k}, w: w}
	if rank >= min(w.Rows, w.Cols) {
		return p
	}
	p.basis = p.e.leading(p.e.gram(w), rank, key)
	if w.Cols > w.Rows {
		p.side = p.e.New(rank, w.Cols)
		k.LinearGradX(p.side.Float32s(), p.basis.Float32s(), w, rank)
	}
	return p
}

// tiles shows W′ row by row, some rows at a time, in order: scores are the elements from flat index from on. They are
// scratch of the caller's callback.
func (p *principal) tiles(visit func(from int, scores []float32)) {
	n := p.w.Cols
	step := max(1, tileFloats/n)
	scores, rows := make([]float32, step*n), make([]float32, step*n)
	for from := 0; from < p.w.Rows; from += step {
		count := min(step, p.w.Rows-from)
		tile := scores[:count*n]
		switch {
		case p.basis == nil:
			p.w.Read(tile, from*n)
		case p.side != nil:
			part := columns(p.basis, from, count)
			p.e.mul(p.e.Over(tile, count, n), Transposed(part), p.side)
		default:
			p.w.Read(rows[:count*n], from*n)
			along := p.e.New(count, p.basis.Shape()[0])
			p.e.mul(along, p.e.Over(rows[:count*n], count, n), Transposed(p.basis))
			p.e.mul(p.e.Over(tile, count, n), along, p.basis)
		}
		visit(from*n, tile)
	}
}

// columns is a view of some columns of d.
func columns(d *tensor.Dense, from, count int) *tensor.Dense {
	v, err := d.Slice(nil, tensor.S(from, from+count))
	if err != nil {
		panic(fmt.Sprintf("methods: columns: %v", err))
	}
	return v.(*tensor.Dense)
}

// mul is MatMul of shapes that are known to match.
func (e Engine) mul(c, a, b *tensor.Dense) {
	if err := e.MatMul(a, b, c); err != nil {
		panic(fmt.Sprintf("methods: %v", err))
	}
}

// gram is Wᵀ·W or W·Wᵀ, whichever is smaller.
func (e Engine) gram(w *model.Matrix) *tensor.Dense {
	all := make([]float32, w.Len())
	w.Read(all, 0)
	d := e.Over(all, w.Rows, w.Cols)
	g := e.New(min(w.Rows, w.Cols), min(w.Rows, w.Cols))
	if w.Cols <= w.Rows {
		e.mul(g, Transposed(d), d)
	} else {
		e.mul(g, d, Transposed(d))
	}
	return g
}

// leading returns an orthonormal basis (rank, s), one vector per row, of the subspace of the largest eigenvalues of the
// positive semidefinite g (s, s). Rows are zero where g has no more directions.
func (e Engine) leading(g *tensor.Dense, rank int, key rng.Key) *tensor.Dense {
	s := g.Shape()[0]
	b := min(rank+oversize, s)
	q, next := e.New(b, s), e.New(b, s)
	start(q.Float32s(), key)
	ortho := make([]float64, b*s)
	for range rounds {
		e.mul(next, q, g) // g is symmetric: rows of q·g are g times rows of q
		q, next = next, q
		orthonormalise(q.Float32s(), ortho, b, s)
	}
	// Inside the block, the directions are those of the small matrix Q·G·Qᵀ.
	e.mul(next, q, g)
	small := e.New(b, b)
	e.mul(small, next, Transposed(q))
	directions := e.New(rank, b)
	principalDirections(directions.Float32s(), small.Float32s(), b)
	basis := e.New(rank, s)
	e.mul(basis, directions, q)
	return basis
}

// start fills a block with numbers drawn evenly from [−1, 1).
func start(block []float32, key rng.Key) {
	for i := 0; i < len(block); i += 4 {
		word := key.Uint64(uint64(i / 4))
		for j := range block[i:min(i+4, len(block))] {
			block[i+j] = float32(int16(word>>(16*j))) * 0x1p-15
		}
	}
}

// principalDirections writes the eigenvectors of the largest eigenvalues of the symmetric a (b, b) to the rows of out, as
// many as fit.
func principalDirections(out, a []float32, b int) {
	mean := make([]float64, b*b)
	for i := range b {
		for j := range b {
			mean[i*b+j] = (float64(a[i*b+j]) + float64(a[j*b+i])) / 2
		}
	}
	_, vectors := jacobi(mean, b)
	for i := range out {
		out[i] = float32(vectors[i])
	}
}

// orthonormalise makes the rows of block (b, s) orthonormal, in order, in float64: modified Gram–Schmidt. A row that
// depends on the rows before it becomes zero. scratch is as long as block.
func orthonormalise(block []float32, scratch []float64, b, s int) {
	for i, v := range block {
		scratch[i] = float64(v)
	}
	for i := range b {
		row := scratch[i*s : (i+1)*s]
		before := dot(row, row)
		for j := range i {
			other := scratch[j*s : (j+1)*s]
			subtract(row, other, dot(row, other))
		}
		after := dot(row, row)
		scale := 0.0
		if after > 1e-20*before {
			scale = 1 / math.Sqrt(after)
		}
		for j := range row {
			row[j] *= scale
		}
	}
	for i, v := range scratch {
		block[i] = float32(v)
	}
}

// dot is a product in four running sums.
func dot(x, y []float64) float64 {
	var a, b, c, d float64
	y = y[:len(x)]
	i := 0
	for ; i+4 <= len(x); i += 4 {
		u, v := x[i:i+4:i+4], y[i:i+4:i+4]
		a += float64(u[0] * v[0])
		b += float64(u[1] * v[1])
		c += float64(u[2] * v[2])
		d += float64(u[3] * v[3])
	}
	for ; i < len(x); i++ {
		a += float64(x[i] * y[i])
	}
	return (a + b) + (c + d)
}

// subtract takes f·y from x.
func subtract(x, y []float64, f float64) {
	y = y[:len(x)]
	for i := range x {
		x[i] -= float64(f * y[i])
	}
}
