package methods

import (
	"cmp"
	"math"
	"slices"
)

// eigen returns the eigenvalues, largest first, and the eigenvectors, one per row, of the symmetric matrix a (n, n), which it
// overwrites: reflections to three diagonals, then implicit QL rotations, in float64 and one order. For matrices too large for
// jacobi: about a second for 600 rows. Not finite in, not finite out.
func eigen(a []float64, n int) (values, vectors []float64) {
	diagonal, beside, reflections := tridiagonal(a, n)
	z := make([]float64, n*n)
	for i := range n {
		z[i*n+i] = 1
	}
	rotateQL(diagonal, beside, z, n)
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(diagonal[j], diagonal[i]) })
	values, vectors = make([]float64, n), make([]float64, n*n)
	for to, from := range order {
		values[to] = diagonal[from]
		row := vectors[to*n : (to+1)*n]
		copy(row, z[from*n:(from+1)*n])
		for k := len(reflections) - 1; k >= 0; k-- {
			reflections[k].apply(row[k+1:])
		}
	}
	return values, vectors
}

// reflection is 1 − β·v·vᵀ.
type reflection struct {
	beta float64
	v    []float64
}

func (r reflection) apply(x []float64) {
	if r.beta == 0 {
		return
	}
	t := r.beta * dot(r.v, x)
	for i, v := range r.v {
		x[i] -= float64(t * v)
	}
}

// tridiagonal turns a into a matrix with a diagonal and one line beside it by reflections of rows and columns: reflection k
// leaves the first k+1 coordinates alone.
func tridiagonal(a []float64, n int) (diagonal, beside []float64, reflections []reflection) {
	diagonal, beside = make([]float64, n), make([]float64, n)
	q := make([]float64, n)
	for k := range n {
		diagonal[k] = a[k*n+k]
		if k+1 >= n {
			break
		}
		m := n - k - 1
		column := make([]float64, m)
		for i := range column {
			column[i] = a[(k+1+i)*n+k]
		}
		length := math.Sqrt(dot(column, column))
		if k+2 >= n || length == 0 {
			beside[k] = column[0]
			reflections = append(reflections, reflection{})
			continue
		}
		alpha := length
		if column[0] > 0 {
			alpha = -length
		}
		column[0] -= alpha
		r := reflection{2 / dot(column, column), column}
		beside[k], reflections = alpha, append(reflections, r)
		part := func(i int) []float64 { return a[(k+1+i)*n+k+1:][:m] }
		half := 0.0
		for i := range m {
			q[i] = r.beta * dot(part(i), column)
			half += float64(q[i] * column[i])
		}
		half *= r.beta / 2
		for i, v := range column {
			q[i] -= float64(half * v)
		}
		for i := range m {
			vi, qi, row := column[i], q[i], part(i)
			for j := range row {
				row[j] -= float64(vi*q[j]) + float64(qi*column[j])
			}
		}
	}
	return diagonal, beside, reflections
}

// maxShifts bounds the rotations for one eigenvalue; two or three passes are usual.
const maxShifts = 60

// rotateQL makes the matrix with this diagonal and line beside it diagonal, and turns the rows of z with it.
// Source: Wilkinson and Reinsch, Handbook for Automatic Computation II, the implicit QL algorithm.
func rotateQL(d, e, z []float64, n int) {
	for l := range n {
		for range maxShifts {
			m := l // the end of the block that begins at l and does not fall apart
			for m+1 < n && math.Abs(e[m]) > 0x1p-53*(math.Abs(d[m])+math.Abs(d[m+1])) {
				m++
			}
			if m == l {
				break
			}
			g := (d[l+1] - d[l]) / (2 * e[l])
			r := math.Sqrt(float64(g*g) + 1)
			if g < 0 {
				r = -r
			}
			g = d[m] - d[l] + e[l]/(g+r)
			s, c, p := 1.0, 1.0, 0.0
			i := m - 1
			for ; i >= l; i-- {
				f, b := s*e[i], c*e[i]
				r = math.Sqrt(float64(f*f) + float64(g*g))
				e[i+1] = r
				if r == 0 { // the block falls apart here
					d[i+1] -= p
					e[m] = 0
					break
				}
				s, c = f/r, g/r
				g = d[i+1] - p
				r = float64((d[i]-g)*s) + float64(2*c*b)
				p = s * r
				d[i+1] = g + p
				g = float64(c*r) - b
				turn(z[i*n:(i+1)*n], z[(i+1)*n:(i+2)*n], c, s)
			}
			if r == 0 && i >= l {
				continue
			}
			d[l] -= p
			e[l], e[m] = g, 0
		}
	}
}
