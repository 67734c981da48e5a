package methods

import (
	"math"

	"gorgonia.org/tensor"

	"github.com/torctrain/torc/internal/rng"
)

const (
	rounds   = 20 // of block iteration to choose sets by: enough for every spectrum with structure
	oversize = 8  // directions iterated beyond the rank: they take up what has not converged
)

// leading returns an orthonormal basis (rank, s), one vector per row, of the subspace of the largest eigenvalues of the
// positive semidefinite g (s, s). Where g has fewer directions than rank, the other rows lie where g is nothing.
func (e Engine) leading(g *tensor.Dense, rank, rounds int, key rng.Key) *tensor.Dense {
	s := g.Shape()[0]
	b := min(rank+oversize, s)
	q, next := e.New(b, s), e.New(b, s)
	start(q.Float32s(), key)
	scratch := make([]float64, b*s)
	for range rounds {
		e.mul(next, q, g) // g is symmetric: rows of q·g are g times rows of q
		e.orthonormalise(q, next, scratch)
	}
	e.orthonormalise(next, q, scratch)
	q, next = next, q
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

// orthonormalise writes to out (b, s) an orthonormal basis of the rows of block (b, s), the first i rows spanning what the
// first i did: Cholesky's way, from the products of the rows in float64. Rows that nearly depend on those before come out
// short instead of blown up, and zero rows zero; another call, or another round, mends the former.
func (e Engine) orthonormalise(out, block *tensor.Dense, scratch []float64) {
	b, s := block.Shape()[0], block.Shape()[1]
	for i, v := range block.Float32s() {
		scratch[i] = float64(v)
	}
	l := rowProducts(scratch, b, s)
	inverse := e.New(b, b)
	invertFactor(inverse.Float32s(), l, b)
	e.mul(out, inverse, block)
}

// rowProducts returns the products of the rows of x (b, s) with each other, each one chain over the elements ascending; the
// half above the diagonal stays zero.
func rowProducts(x []float64, b, s int) []float64 {
	p := make([]float64, b*b)
	for i := range b {
		productsOfRow(p, x, i, b, s)
	}
	return p
}

// productsOfRow writes to p (b, b) the products of row i of x (b, s) with those up to it.
func productsOfRow(p, x []float64, i, b, s int) {
	u := x[i*s : (i+1)*s]
	j := 0
	for ; j+4 <= i+1; j += 4 { // four chains at a time, which do not wait for each other
		v0, v1, v2, v3 := x[j*s:][:s], x[(j+1)*s:][:s], x[(j+2)*s:][:s], x[(j+3)*s:][:s]
		var p0, p1, p2, p3 float64
		for k, y := range u {
			p0 += float64(y * v0[k])
			p1 += float64(y * v1[k])
			p2 += float64(y * v2[k])
			p3 += float64(y * v3[k])
		}
		p[i*b+j], p[i*b+j+1], p[i*b+j+2], p[i*b+j+3] = p0, p1, p2, p3
	}
	for ; j <= i; j++ {
		var sum float64
		for k, y := range u {
			sum += float64(y * x[j*s+k])
		}
		p[i*b+j] = sum
	}
}

// shortest is the least part, squared, of a row of length 1 that must stand upright on the rows before it to be brought to
// length 1 again. Below it, float32 would bring up more noise than row.
const shortest = 1e-8

// invertFactor writes to out (b, b) the inverse of the factor L with p = L·Lᵀ, and overwrites p.
func invertFactor(out []float32, p []float64, b int) {
	scale := make([]float64, b)
	for i := range b {
		if p[i*b+i] > 0 {
			scale[i] = 1 / math.Sqrt(p[i*b+i])
		}
	}
	inv := make([]float64, b*b)
	for i := range b {
		row := p[i*b : (i+1)*b]
		upright := 1.0
		for j := range i {
			sum := row[j] * scale[i] * scale[j]
			for k := range j {
				sum -= float64(row[k] * p[j*b+k])
			}
			row[j] = sum / p[j*b+j]
			upright -= float64(row[j] * row[j])
		}
		row[i] = math.Sqrt(max(upright, shortest))
		for j := range i + 1 {
			sum := 0.0
			if i == j {
				sum = 1
			}
			for k := j; k < i; k++ {
				sum -= float64(row[k] * inv[k*b+j])
			}
			inv[i*b+j] = sum / row[i]
			out[i*b+j] = float32(inv[i*b+j] * scale[j])
		}
	}
}
