package methods

import (
	"fmt"

	"gorgonia.org/tensor"

	// The tensor library panics when it is loaded into a Go release it has not heard of, unless this module, which knows
	// all of them, is in the build.
	_ "go4.org/unsafe/assume-no-moving-gc"

	"github.com/torctrain/torc/model"
)

// Engine computes products of float32 tensors with a device's kernels: tensors made with it (tensor.WithEngine) have the
// arithmetic of model.Kernels, each output one chain over the inner index ascending, for any view. It replaces the
// library's own products, which ignore the strides of slices. What is not a product is the library's.
type Engine struct {
	tensor.Float32Engine
	Kernels model.Kernels
}

// New makes a zero tensor (rows, cols).
func (e Engine) New(rows, cols int) *tensor.Dense {
	return e.Over(make([]float32, rows*cols), rows, cols)
}

// Over makes a tensor (rows, cols) over data without copying.
func (e Engine) Over(data []float32, rows, cols int) *tensor.Dense {
	return tensor.New(tensor.WithEngine(e), tensor.WithShape(rows, cols), tensor.WithBacking(data))
}

// Transposed is a view of d with its axes exchanged; d itself stays as it is.
func Transposed(d *tensor.Dense) *tensor.Dense {
	t := d.ShallowClone()
	if err := t.T(); err != nil {
		panic(fmt.Sprintf("methods: Transposed: %v", err))
	}
	return t
}

// MatMul computes c = a·b for matrices a (M, K), b (K, N), c (M, N), each contiguous, transposed or cut out of another.
func (e Engine) MatMul(a, b, c tensor.Tensor) error {
	va, err := viewOf(a)
	if err != nil {
		return fmt.Errorf("multiply matrices: %w", err)
	}
	vb, err := viewOf(b)
	if err != nil {
		return fmt.Errorf("multiply matrices: %w", err)
	}
	vc, err := viewOf(c)
	if err != nil {
		return fmt.Errorf("multiply matrices: %w", err)
	}
	return e.product(va, vb, vc)
}

// MatVecMul computes c = a·b for a matrix a (M, K) and vectors b (K), c (M).
func (e Engine) MatVecMul(a, b, c tensor.Tensor) error {
	va, err := viewOf(a)
	if err != nil {
		return fmt.Errorf("multiply matrix by vector: %w", err)
	}
	vb, err := columnOf(b)
	if err != nil {
		return fmt.Errorf("multiply matrix by vector: %w", err)
	}
	vc, err := columnOf(c)
	if err != nil {
		return fmt.Errorf("multiply matrix by vector: %w", err)
	}
	return e.product(va, vb, vc)
}

// Outer computes c = a·bᵀ for vectors a (M) and b (N), c (M, N).
func (e Engine) Outer(a, b, c tensor.Tensor) error {
	va, err := columnOf(a)
	if err != nil {
		return fmt.Errorf("multiply vectors: %w", err)
	}
	vb, err := columnOf(b)
	if err != nil {
		return fmt.Errorf("multiply vectors: %w", err)
	}
	vc, err := viewOf(c)
	if err != nil {
		return fmt.Errorf("multiply vectors: %w", err)
	}
	return e.product(va, vb.transposed(), vc)
}

// Inner computes the product of two vectors of one length.
func (e Engine) Inner(a, b tensor.Tensor) (float32, error) {
	va, err := columnOf(a)
	if err != nil {
		return 0, fmt.Errorf("multiply vectors: %w", err)
	}
	vb, err := columnOf(b)
	if err != nil {
		return 0, fmt.Errorf("multiply vectors: %w", err)
	}
	var c [1]float32
	err = e.product(va.transposed(), vb, matrixView{c[:], 1, 1, 1, 1})
	return c[0], err
}

// matrixView is where the elements of a matrix lie: (i, j) at i·down + j·right.
type matrixView struct {
	data        []float32
	rows, cols  int
	down, right int
}

func (v matrixView) transposed() matrixView {
	return matrixView{v.data, v.cols, v.rows, v.right, v.down}
}

// contiguous says whether the elements lie row after row without gaps.
func (v matrixView) contiguous() bool {
	return (v.right == 1 || v.cols == 1) && (v.down == v.cols || v.rows == 1)
}

// packed is v, copied row after row if it does not lie so.
func (v matrixView) packed() matrixView {
	if v.contiguous() {
		v.data = v.data[:v.rows*v.cols]
		return v
	}
	p := matrixView{make([]float32, v.rows*v.cols), v.rows, v.cols, v.cols, 1}
	for i := range v.rows {
		row := p.data[i*v.cols : (i+1)*v.cols]
		if v.right == 1 {
			copy(row, v.data[i*v.down:])
			continue
		}
		for j := range row {
			row[j] = v.data[i*v.down+j*v.right]
		}
	}
	return p
}

func (v matrixView) matrix() *model.Matrix { return model.MatrixOver32(v.data, v.rows, v.cols) }

// product computes c = a·b in whichever of the kernels' three orientations the operands lie.
func (e Engine) product(a, b, c matrixView) error {
	if a.rows != c.rows || a.cols != b.rows || b.cols != c.cols {
		return fmt.Errorf("(%d, %d) by (%d, %d) into (%d, %d): shapes do not match", a.rows, a.cols, b.rows, b.cols, c.rows, c.cols)
	}
	out := c
	if !c.contiguous() {
		out = matrixView{make([]float32, c.rows*c.cols), c.rows, c.cols, c.cols, 1}
	}
	out.data = out.data[:c.rows*c.cols]
	switch {
	case b.transposed().contiguous() && !b.contiguous():
		e.Kernels.Linear(out.data, a.packed().data, b.transposed().packed().matrix(), a.rows)
	case a.transposed().contiguous() && !a.contiguous():
		clear(out.data)
		e.Kernels.GradDense(out.data, a.transposed().packed().data, b.packed().data, a.cols)
	default:
		clear(out.data)
		e.Kernels.LinearGradX(out.data, a.packed().data, b.packed().matrix(), a.rows)
	}
	if !c.contiguous() {
		for i := range c.rows {
			for j := range c.cols {
				c.data[i*c.down+j*c.right] = out.data[i*c.cols+j]
			}
		}
	}
	return nil
}

// viewOf reads shape and strides of a float32 matrix. A row or column cut out of a matrix may have lost an axis or a
// stride: shape (n) with one stride is a row.
func viewOf(t tensor.Tensor) (matrixView, error) {
	d, ok := t.(*tensor.Dense)
	if !ok || d.Dtype() != tensor.Float32 || !d.IsNativelyAccessible() {
		return matrixView{}, fmt.Errorf("operand is %T of %v, want a dense float32 tensor", t, t.Dtype())
	}
	if d.IsMasked() || d.DataOrder().IsColMajor() && !d.DataOrder().IsTransposed() {
		return matrixView{}, fmt.Errorf("operand is masked or stored by columns, want plain rows")
	}
	shape, strides := d.Shape(), d.Strides()
	v := matrixView{data: d.Float32s()}
	switch {
	case len(shape) == 2 && len(strides) == 2:
		v.rows, v.cols, v.down, v.right = shape[0], shape[1], strides[0], strides[1]
	case len(shape) == 2 && len(strides) == 1 && shape[1] == 1:
		v.rows, v.cols, v.down, v.right = shape[0], 1, strides[0], 1
	case len(shape) == 2 && len(strides) == 1:
		v.rows, v.cols, v.down, v.right = shape[0], shape[1], shape[1]*strides[0], strides[0]
	case len(shape) == 1 && len(strides) == 1:
		v.rows, v.cols, v.down, v.right = 1, shape[0], shape[0]*strides[0], strides[0]
	default:
		return matrixView{}, fmt.Errorf("operand has shape %v, want a matrix", shape)
	}
	if last := (v.rows-1)*v.down + (v.cols-1)*v.right; v.rows < 1 || v.cols < 1 || last >= len(v.data) {
		return matrixView{}, fmt.Errorf("operand has shape %v and strides %v over %d elements", shape, strides, len(v.data))
	}
	return v, nil
}

// columnOf reads a vector, whichever way it lies, as a matrix of one column.
func columnOf(t tensor.Tensor) (matrixView, error) {
	v, err := viewOf(t)
	if err != nil {
		return v, err
	}
	if v.rows == 1 {
		v = v.transposed()
	}
	if v.cols != 1 {
		return matrixView{}, fmt.Errorf("operand has shape %v, want a vector", t.Shape())
	}
	return v, nil
}
