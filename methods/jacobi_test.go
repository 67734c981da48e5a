package methods

import (
	"math"
	"testing"

	"gonum.org/v1/gonum/mat"
	"pgregory.net/rapid"
)

func TestJacobiAgreesWithGonum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 14).Draw(t, "n")
		a := make([]float64, n*n)
		for i := range n {
			for j := range i + 1 {
				a[i*n+j] = rapid.Float64Range(-4, 4).Draw(t, "a")
				a[j*n+i] = a[i*n+j]
			}
		}
		var want mat.EigenSym
		if !want.Factorize(mat.NewSymDense(n, append([]float64(nil), a...)), false) {
			t.Skip("gonum finds none")
		}
		values, vectors := jacobi(append([]float64(nil), a...), n)
		for i, exact := range want.Values(nil) {
			if d := math.Abs(values[n-1-i] - exact); d > 1e-12*float64(n) {
				t.Fatalf("eigenvalue %d is %v, want %v", n-1-i, values[n-1-i], exact)
			}
		}
		for i := range n {
			x := vectors[i*n : (i+1)*n]
			for r := range n {
				if d := math.Abs(dotOf(a[r*n:(r+1)*n], x) - values[i]*x[r]); d > 1e-12*float64(n) {
					t.Fatalf("row %d of A·x − λ·x for eigenvalue %d is %v", r, i, d)
				}
			}
			for j := range n {
				want := 0.0
				if i == j {
					want = 1
				}
				if d := math.Abs(dotOf(x, vectors[j*n:(j+1)*n]) - want); d > 1e-13*float64(n) {
					t.Fatalf("product of eigenvectors %d and %d is off by %v", i, j, d)
				}
			}
		}
	})
}

func dotOf(x, y []float64) (sum float64) {
	for i := range x {
		sum += x[i] * y[i]
	}
	return sum
}

func TestJacobiEndsOnNumbersThatAreNone(t *testing.T) {
	a := []float64{math.NaN(), 1, 1, math.Inf(1)}
	if values, _ := jacobi(a, 2); !math.IsNaN(values[0]) && !math.IsNaN(values[1]) && !math.IsInf(values[0], 0) {
		t.Errorf("eigenvalues %v of a matrix that is not finite", values)
	}
}
