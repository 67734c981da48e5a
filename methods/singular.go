package methods

import (
	"fmt"
	"math"

	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/model"
)

// singular are leading singular values of a weight (m, n) with their vectors: W ≈ Σ_j s[j]·b[j]ᵀ·a[j].
type singular struct {
	s    []float32 // (rank) largest first
	a, b []float32 // (rank, n), (rank, m): orthonormal rows. The largest element of each row of a, the first of equals, is positive
}

// exactRounds is the number of rounds of block iteration: enough to tell singular values apart that differ by one per cent.
const exactRounds = 100

// decompose finds the leading singular values of w: the subspace on the smaller side by block iteration, the rest exactly
// inside it, in float64. So what it leaves of w is orthogonal to the vectors whatever the spectrum.
func (e Engine) decompose(w *model.Matrix, rank int, key rng.Key) (*singular, error) {
	if err := decomposable(w); err != nil {
		return nil, err
	}
	q := e.leading(e.gram(w), rank, exactRounds, key).Float32s()
	small := min(w.Rows, w.Cols)
	near := toFloat64(q)
	orthonormalRows(near, rank, small)
	toFloat32(q, near)
	across := make([]float32, rank*max(w.Rows, w.Cols)) // (rank, the larger side): the basis seen through W
	if w.Cols <= w.Rows {
		e.Kernels.Linear(across, q, w, rank)
	} else {
		e.Kernels.LinearGradX(across, q, w, rank)
	}
	far := toFloat64(across)
	values, turns := jacobi(symmetric(rowProducts(far, rank, len(far)/rank), rank), rank)
	d := &singular{s: make([]float32, rank), a: q, b: across}
	near, far = turnRows(turns, near, rank), turnRows(turns, far, rank)
	for j, square := range values {
		s := math.Sqrt(max(square, 0))
		if !(s >= 1e-6*math.Sqrt(values[0])) || s > math.MaxFloat32 {
			return nil, fmt.Errorf("singular value %d is %.3g beside the first, %.3g: use a lower method.rank", j+1, s, math.Sqrt(values[0]))
		}
		d.s[j] = float32(s)
		row := far[j*len(far)/rank : (j+1)*len(far)/rank]
		for i := range row {
			row[i] /= s
		}
	}
	if w.Cols > w.Rows {
		near, far, d.a, d.b = far, near, d.b, d.a
	}
	chooseSigns(near, far, rank)
	toFloat32(d.a, near)
	toFloat32(d.b, far)
	return d, nil
}

// orthonormalRows makes the rows of x (r, n), nearly orthonormal, exactly so.
func orthonormalRows(x []float64, r, n int) {
	for i := range r {
		row := x[i*n : (i+1)*n]
		for range 2 {
			for j := range i {
				other := x[j*n : (j+1)*n]
				along := dot(row, other)
				for k, v := range other {
					row[k] -= float64(along * v)
				}
			}
			length := math.Sqrt(dot(row, row))
			if length == 0 {
				continue
			}
			for k := range row {
				row[k] /= length
			}
		}
	}
}

func dot(x, y []float64) float64 {
	sum := 0.0
	for i, v := range x {
		sum += float64(v * y[i])
	}
	return sum
}

// turnRows returns turns·x, with turns (r, r) and r rows in x.
func turnRows(turns, x []float64, r int) []float64 {
	out, n := make([]float64, len(x)), len(x)/r
	for j := range r {
		row := out[j*n : (j+1)*n]
		for i := range r {
			t := turns[j*r+i]
			for k, v := range x[i*n : (i+1)*n] {
				row[k] += float64(t * v)
			}
		}
	}
	return out
}

// symmetric fills the half of p (r, r) above the diagonal.
func symmetric(p []float64, r int) []float64 {
	for i := range r {
		for j := range i {
			p[j*r+i] = p[i*r+j]
		}
	}
	return p
}

// chooseSigns turns each pair of rows so that the largest element of a's, the first of equals, is positive.
func chooseSigns(a, b []float64, r int) {
	n, m := len(a)/r, len(b)/r
	for j := range r {
		row, largest := a[j*n:(j+1)*n], 0.0
		for _, v := range row {
			if math.Abs(v) > math.Abs(largest) {
				largest = v
			}
		}
		if largest < 0 {
			negate(row)
			negate(b[j*m : (j+1)*m])
		}
	}
}

func negate(x []float64) {
	for i := range x {
		x[i] = -x[i]
	}
}

func toFloat64(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

func toFloat32(y []float32, x []float64) {
	for i, v := range x {
		y[i] = float32(v)
	}
}
