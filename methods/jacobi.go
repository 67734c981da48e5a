package methods

import (
	"cmp"
	"math"
	"slices"
)

// maxSweeps bounds jacobi; 6 to 8 are needed, growing with the logarithm of the size.
const maxSweeps = 30

// jacobi returns the eigenvalues, largest first, and the eigenvectors, one per row, of the symmetric matrix a (n, n), which
// it overwrites: cyclic rotations in float64, exact to rounding, the same bits everywhere. Not finite in, not finite out.
func jacobi(a []float64, n int) (values, vectors []float64) {
	v := make([]float64, n*n) // rows turn into eigenvectors
	for i := range n {
		v[i*n+i] = 1
	}
	for range maxSweeps {
		rotated := false
		for p := range n {
			for q := p + 1; q < n; q++ {
				if rotate(a, v, n, p, q) {
					rotated = true
				}
			}
		}
		if !rotated {
			break
		}
	}
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(a[j*n+j], a[i*n+i]) })
	values, vectors = make([]float64, n), make([]float64, n*n)
	for to, from := range order {
		values[to] = a[from*n+from]
		copy(vectors[to*n:(to+1)*n], v[from*n:(from+1)*n])
	}
	return values, vectors
}

// rotate makes a[p][q] zero by a plane rotation of rows and columns p and q, unless it is already nothing beside the
// diagonal.
func rotate(a, v []float64, n, p, q int) bool {
	apq, app, aqq := a[p*n+q], a[p*n+p], a[q*n+q]
	if !(math.Abs(apq) > 0x1p-54*math.Sqrt(math.Abs(app))*math.Sqrt(math.Abs(aqq))) {
		return false
	}
	theta := (aqq - app) / (2 * apq)
	t := 1 / (math.Abs(theta) + math.Sqrt(float64(theta*theta)+1))
	if theta < 0 {
		t = -t
	}
	c := 1 / math.Sqrt(float64(t*t)+1)
	s := t * c
	for i := range n { // columns
		x, y := a[i*n+p], a[i*n+q]
		a[i*n+p], a[i*n+q] = float64(c*x)-float64(s*y), float64(s*x)+float64(c*y)
	}
	turn(a[p*n:(p+1)*n], a[q*n:(q+1)*n], c, s)
	turn(v[p*n:(p+1)*n], v[q*n:(q+1)*n], c, s)
	a[p*n+q], a[q*n+p] = 0, 0
	return true
}

// turn rotates two rows.
func turn(x, y []float64, c, s float64) {
	y = y[:len(x)]
	for i := range x {
		x[i], y[i] = float64(c*x[i])-float64(s*y[i]), float64(s*x[i])+float64(c*y[i])
	}
}
