package methods

import (
	"fmt"

	"gorgonia.org/tensor"

	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/model"
)

// tileFloats is how many elements of W or W′ are handled at a time: 256 KiB.
const tileFloats = 1 << 16

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
	p.basis = p.e.leading(p.e.gram(w), rank, rounds, key)
	p.lean()
	return p
}

// lean makes what tiles need beside the basis.
func (p *principal) lean() {
	if p.w.Cols > p.w.Rows {
		rank := p.basis.Shape()[0]
		p.side = p.e.New(rank, p.w.Cols)
		p.e.Kernels.LinearGradX(p.side.Float32s(), p.basis.Float32s(), p.w, rank)
	}
}

// principalSet returns the count indices of w at which its approximation of that rank is largest, ascending.
func principalSet(k model.Kernels, w *model.Matrix, rank, count int, key rng.Key) ([]uint32, error) {
	return newPrincipal(k, w, rank, key).set(block{1, 1}, count)
}

// tiles shows W′ row by row, some rows at a time, in order: scores are the elements from flat index from on. They are
// scratch of the caller's callback.
func (p *principal) tiles(visit func(from int, scores []float32)) {
	n := p.w.Cols
	step := max(4, tileFloats/n&^3) // whole bands of blocks
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
