package methods

import "math"

// orthonormality is how far the rows of a factor X are from orthonormal, by M = X·Xᵀ − 1, as a mean over so many factors:
//
//	frobenius  ‖M‖             as published; its gradient has length 2 however small M is
//	smoothed   √(‖M‖² + ε²)    with ε = 1e-3: the same far from 0, and smooth there
//	squared    ½‖M‖²
//
// All is computed in float64 in a fixed order, since near orthonormality M is a difference of nearly equal numbers. Threads
// share out rows, so how many there are does not show in the result.
type orthonormality struct {
	kind    string
	factors int
	threads int
	work    [2]factorWork
}

const smoothing = 1e-3

// factor is X (r, n), and where its gradient goes.
type factor struct{ x, dx []float32 }

// factorWork is scratch.
type factorWork struct {
	n    int
	x    []float64 // (r, n)
	m    []float64 // (r, r)
	rows []float64 // (r, n) M·X
}

// add adds λ times the gradient of the factors, each of r rows, and returns λ times their part.
func (o *orthonormality) add(lambda float64, r int, factors ...factor) (sum float64) {
	o.measure(r, factors)
	mean := lambda / float64(o.factors)
	var slopes [2]float64
	for i := range factors {
		var value float64
		value, slopes[i] = o.at(dot(o.work[i].m, o.work[i].m))
		sum += mean * value
	}
	share(o.threads, len(factors)*r, func(task int) {
		w, f, i := &o.work[task/r], factors[task/r], task%r
		if slope := slopes[task/r]; slope != 0 {
			row := w.towards(i, r)
			for k, v := range row {
				f.dx[i*w.n+k] += float32(mean * slope * v)
			}
		}
	})
	return sum
}

// retract brings the rows of each factor back to orthonormality: X − ½·M·X, which squares a small distance, or, from far
// away, one row after the other.
func (o *orthonormality) retract(r int, xs ...[]float32) {
	factors := make([]factor, len(xs))
	for i, x := range xs {
		factors[i].x = x
	}
	o.measure(r, factors)
	var far [2]bool
	for i := range factors {
		if w := &o.work[i]; dot(w.m, w.m) > 0.25 {
			far[i] = true
			orthonormalRows(w.x, r, w.n)
			toFloat32(xs[i], w.x)
		}
	}
	share(o.threads, len(factors)*r, func(task int) {
		w, i := &o.work[task/r], task%r
		if far[task/r] {
			return
		}
		row := w.towards(i, r)
		x := w.x[i*w.n : (i+1)*w.n]
		for k, v := range row {
			xs[task/r][i*w.n+k] = float32(x[k] - v/2)
		}
	})
}

// measure makes M of each factor.
func (o *orthonormality) measure(r int, factors []factor) {
	for i, f := range factors {
		w := &o.work[i]
		w.n = len(f.x) / r
		if cap(w.x) < len(f.x) {
			w.x, w.rows = make([]float64, len(f.x)), make([]float64, len(f.x))
		}
		w.x, w.rows = w.x[:len(f.x)], w.rows[:len(f.x)]
		if len(w.m) != r*r {
			w.m = make([]float64, r*r)
		}
		for j, v := range f.x {
			w.x[j] = float64(v)
		}
	}
	share(o.threads, len(factors)*r, func(task int) {
		w := &o.work[task/r]
		productsOfRow(w.m, w.x, r-1-task%r, r, w.n) // the longest first
	})
	for i := range factors {
		m := symmetric(o.work[i].m, r)
		for j := range r {
			m[j*r+j]--
		}
	}
}

// towards is row i of M·X.
func (w *factorWork) towards(i, r int) []float64 {
	n, row := w.n, w.rows[i*w.n:(i+1)*w.n]
	clear(row)
	j := 0
	for ; j+4 <= r; j += 4 { // one pass over the row for four terms, added one after the other
		t0, t1, t2, t3 := w.m[i*r+j], w.m[i*r+j+1], w.m[i*r+j+2], w.m[i*r+j+3]
		x0, x1, x2, x3 := w.x[j*n:][:len(row)], w.x[(j+1)*n:][:len(row)], w.x[(j+2)*n:][:len(row)], w.x[(j+3)*n:][:len(row)]
		for k, v := range row {
			v += float64(t0 * x0[k])
			v += float64(t1 * x1[k])
			v += float64(t2 * x2[k])
			row[k] = v + float64(t3*x3[k])
		}
	}
	for ; j < r; j++ {
		t := w.m[i*r+j]
		for k, v := range w.x[j*n : (j+1)*n] {
			row[k] += float64(t * v)
		}
	}
	return row
}

// at returns the distance for ‖M‖², and what M·X is multiplied by in its gradient.
func (o *orthonormality) at(square float64) (value, slope float64) {
	switch {
	case o.kind == "squared":
		return square / 2, 2
	case o.kind == "smoothed":
		value = math.Sqrt(square + smoothing*smoothing)
	default:
		value = math.Sqrt(square)
	}
	if value == 0 {
		return 0, 0
	}
	return value, 2 / value
}
