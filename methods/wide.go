package methods

import (
	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/model"
)

// wide is a weight in float64, for what must be more exact than training needs, or the same on every processor: plain
// loops, many times slower than the kernels.
type wide struct {
	rows, cols int
	w          []float64 // (rows, cols)
	turned     bool      // w is the transpose of the weight, which has more columns than rows
}

// newWide reads a weight so that it has no more columns than rows.
func newWide(m *model.Matrix) *wide {
	w := &wide{rows: m.Rows, cols: m.Cols, w: make([]float64, m.Len()), turned: m.Cols > m.Rows}
	if w.turned {
		w.rows, w.cols = m.Cols, m.Rows
	}
	row := make([]float32, m.Cols)
	for i := range m.Rows {
		m.Read(row, i*m.Cols)
		for j, v := range row {
			if w.turned {
				w.w[j*w.cols+i] = float64(v)
			} else {
				w.w[i*w.cols+j] = float64(v)
			}
		}
	}
	return w
}

// gram is wᵀ·w (cols, cols).
func (w *wide) gram() []float64 {
	n := w.cols
	g := make([]float64, n*n)
	i := 0
	for ; i+4 <= w.rows; i += 4 { // four rows at a time, which pass over g together
		r0, r1, r2, r3 := w.w[i*n:][:n], w.w[(i+1)*n:][:n], w.w[(i+2)*n:][:n], w.w[(i+3)*n:][:n]
		for a := range n {
			x0, x1, x2, x3 := r0[a], r1[a], r2[a], r3[a]
			line := g[a*n : a*n+a+1]
			for b := range line {
				line[b] += float64(x0*r0[b]) + float64(x1*r1[b]) + (float64(x2*r2[b]) + float64(x3*r3[b]))
			}
		}
	}
	for ; i < w.rows; i++ {
		row := w.w[i*n : (i+1)*n]
		for a, x := range row {
			line := g[a*n : a*n+a+1]
			for b := range line {
				line[b] += float64(x * row[b])
			}
		}
	}
	return symmetric(g, n)
}

// leading is an orthonormal basis (rank, cols) of the leading singular subspace, by so many rounds of block iteration.
func (w *wide) leading(rank, rounds int, key rng.Key) []float64 {
	n, b := w.cols, min(rank+oversize, w.cols)
	g := w.gram()
	first := make([]float32, b*n)
	start(first, key)
	q := toFloat64(first)
	orthonormalRows(q, b, n)
	for range rounds {
		q = multiplyRows(q, g, b, n)
		orthonormalRows(q, b, n)
	}
	_, turns := jacobi(symmetric(crossRows(multiplyRows(q, g, b, n), q, b, n), b), b)
	return turnRows(turns, q, b)[:rank*n]
}

// directions are singular directions (cols, cols) on the smaller side, of the largest value first.
func (w *wide) directions() (values, vectors []float64) { return eigen(w.gram(), w.cols) }

// approximate shows the rows of the weight's projection on the subspace of a basis (rank, cols). They are scratch. Of a
// turned weight the rows are those of the weight itself, not of w.
func (w *wide) approximate(basis []float64, visit func(i int, row []float64)) {
	n := w.cols
	r := len(basis) / n
	along := make([]float64, w.rows*r) // w·basisᵀ
	for i := range w.rows {
		for j := range r {
			along[i*r+j] = dot(w.w[i*n:(i+1)*n], basis[j*n:(j+1)*n])
		}
	}
	if !w.turned {
		row := make([]float64, n)
		for i := range w.rows {
			combine(row, along[i*r:(i+1)*r], basis)
			visit(i, row)
		}
		return
	}
	row, weights, sides := make([]float64, w.rows), make([]float64, r), make([]float64, len(along))
	for i := range w.rows {
		for j := range r {
			sides[j*w.rows+i] = along[i*r+j]
		}
	}
	for i := range n {
		for j := range r {
			weights[j] = basis[j*n+i]
		}
		combine(row, weights, sides)
		visit(i, row)
	}
}

// combine sets row to the sum of the rows of x, each times its weight.
func combine(row, weights, x []float64) {
	clear(row)
	for j, t := range weights {
		for k, v := range x[j*len(row) : (j+1)*len(row)] {
			row[k] += float64(t * v)
		}
	}
}

// multiplyRows is x·g for b rows of x and a square g (n, n).
func multiplyRows(x, g []float64, b, n int) []float64 {
	out := make([]float64, b*n)
	for i := range b {
		combine(out[i*n:(i+1)*n], x[i*n:(i+1)*n], g)
	}
	return out
}

// crossRows is x·yᵀ for b rows of each, the half on and below the diagonal.
func crossRows(x, y []float64, b, n int) []float64 {
	p := make([]float64, b*b)
	for i := range b {
		for j := range i + 1 {
			p[i*b+j] = dot(x[i*n:(i+1)*n], y[j*n:(j+1)*n])
		}
	}
	return p
}
