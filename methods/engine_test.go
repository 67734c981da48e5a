package methods

import (
	"math"
	"testing"

	"gorgonia.org/tensor"
	"pgregory.net/rapid"

	"github.com/torctrain/torc/model/cpu"
)

// view draws a matrix (rows, cols): plain, transposed, cut out of a larger one, or both.
func view(t *rapid.T, e Engine, name string, rows, cols int) *tensor.Dense {
	r, c := rows, cols
	transposed := rapid.Bool().Draw(t, name+" transposed")
	if transposed {
		r, c = cols, rows
	}
	top, left := rapid.IntRange(0, 2).Draw(t, name+" top"), rapid.IntRange(0, 2).Draw(t, name+" left")
	bottom, right := rapid.IntRange(0, 2).Draw(t, name+" bottom"), rapid.IntRange(0, 2).Draw(t, name+" right")
	d := e.New(top+r+bottom, left+c+right)
	for i := range d.Float32s() {
		d.Float32s()[i] = float32(rapid.IntRange(-9, 9).Draw(t, name))
	}
	if top+bottom+left+right > 0 {
		s, err := d.Slice(tensor.S(top, top+r), tensor.S(left, left+c))
		if err != nil {
			t.Fatal(err)
		}
		d = s.(*tensor.Dense)
	}
	if transposed {
		d = Transposed(d)
	}
	return d
}

func at(t *rapid.T, d *tensor.Dense, i, j int) float64 {
	v, err := d.At(i, j)
	if err != nil {
		t.Fatal(err)
	}
	return float64(v.(float32))
}

func TestEngineMultipliesAnyViews(t *testing.T) {
	e := Engine{Kernels: cpu.Ref()}
	rapid.Check(t, func(t *rapid.T) {
		// A slice of one row or column loses its axis in the tensor library; at least 2 keeps matrices matrices.
		m, k, n := rapid.IntRange(2, 5).Draw(t, "m"), rapid.IntRange(2, 5).Draw(t, "k"), rapid.IntRange(2, 5).Draw(t, "n")
		a, b, c := view(t, e, "a", m, k), view(t, e, "b", k, n), view(t, e, "c", m, n)
		if err := e.MatMul(a, b, c); err != nil {
			t.Fatal(err)
		}
		for i := range m {
			for j := range n {
				sum := 0.0
				for x := range k {
					sum += at(t, a, i, x) * at(t, b, x, j)
				}
				if got := at(t, c, i, j); got != sum {
					t.Fatalf("element (%d, %d) is %v, want %v", i, j, got, sum)
				}
			}
		}
	})
}

// The library's entry points reach the engine and take its results.
func TestTensorsOfTheEngineMultiplyThroughTheLibrary(t *testing.T) {
	e := Engine{Kernels: cpu.Ref()}
	all := e.Over([]float32{1, 2, 3, 4, 5, 6, 7, 8, 9}, 3, 3)
	right, err := all.Slice(nil, tensor.S(1, 3)) // columns 1 and 2, where the library's own product goes wrong
	if err != nil {
		t.Fatal(err)
	}
	two := e.Over([]float32{1, 0, 0, 2}, 2, 2)
	c, err := right.(*tensor.Dense).MatMul(two)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float32{2, 6, 5, 12, 8, 18} {
		if got := c.Float32s()[i]; got != want {
			t.Errorf("element %d of a product of columns is %v, want %v", i, got, want)
		}
	}
	x := tensor.New(tensor.WithEngine(e), tensor.WithShape(2), tensor.WithBacking([]float32{10, 1}))
	y, err := right.(*tensor.Dense).MatVecMul(x)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float32{23, 56, 89} {
		if got := y.Float32s()[i]; got != want {
			t.Errorf("element %d of a matrix by a vector is %v, want %v", i, got, want)
		}
	}
	o, err := x.Outer(x)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float32{100, 10, 10, 1} {
		if got := o.Float32s()[i]; got != want {
			t.Errorf("element %d of an outer product is %v, want %v", i, got, want)
		}
	}
	if got, err := x.Inner(x); err != nil || got != float32(101) {
		t.Errorf("inner product is %v (%v), want 101", got, err)
	}
}

func TestEngineRefusesShapesThatDoNotMatch(t *testing.T) {
	e := Engine{Kernels: cpu.Ref()}
	if err := e.MatMul(e.New(2, 3), e.New(2, 3), e.New(2, 3)); err == nil {
		t.Error("(2, 3) by (2, 3): no error")
	}
	whole := tensor.New(tensor.WithShape(2, 2), tensor.WithBacking([]float64{1, 2, 3, 4}))
	if err := e.MatMul(whole, e.New(2, 2), e.New(2, 2)); err == nil {
		t.Error("a float64 operand: no error")
	}
}

// Rows come out orthonormal with the span they had, short where they nearly depend on others, zero where they are zero.
func TestOrthonormalise(t *testing.T) {
	e := Engine{Kernels: cpu.Ref()}
	const b, s = 5, 30
	block, out := e.New(b, s), e.New(b, s)
	start(block.Float32s(), 1)
	v := block.Float32s()
	for i := range s {
		v[s+i] = v[i] + 0.01*v[s+i] // almost the first row
		v[3*s+i] = 0
	}
	copy(v[4*s:], v[:s]) // the first row again
	e.orthonormalise(out, block, make([]float64, b*s))
	e.orthonormalise(block, out, make([]float64, b*s))
	p := rowProducts(widen(block.Float32s()), b, s)
	for i := range b {
		for j := range i + 1 {
			want := 0.0
			if i == j && i < 3 {
				want = 1
			}
			if i == 4 { // of a row that was another's copy, rounding alone is left
				if p[i*b+j] > 1.01 || i != j && math.Abs(p[i*b+j]) > 1e-2 {
					t.Errorf("product of the dependent row and row %d is %v, want nothing or a length of at most 1", j, p[i*b+j])
				}
				continue
			}
			if math.Abs(p[i*b+j]-want) > 1e-5 {
				t.Errorf("product of rows %d and %d is %v, want %v", i, j, p[i*b+j], want)
			}
		}
	}
}

func widen(v []float32) []float64 {
	w := make([]float64, len(v))
	for i, x := range v {
		w[i] = float64(x)
	}
	return w
}
