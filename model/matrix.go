package model

import (
	"fmt"
	"math"
	"strings"

	// The tensor library panics at start with a Go release its own version of this module does not know: hold it at one that
	// asks no more.
	_ "go4.org/unsafe/assume-no-moving-gc"
	"gorgonia.org/tensor"
)

// DType is the type in which a weight is stored.
type DType uint8

// The stored types torc reads, trains and writes.
const (
	F32 DType = iota
	F16
	BF16
)

// Size is the number of bytes of one element.
func (d DType) Size() int {
	if d == F32 {
		return 4
	}
	return 2
}

func (d DType) String() string { return [...]string{"F32", "F16", "BF16"}[d] }

// ParseDType reads the name of a type as people write it: fp32, fp16 or bf16, also float32, float16, bfloat16.
func ParseDType(name string) (DType, error) {
	switch strings.ToLower(name) {
	case "fp32", "f32", "float32":
		return F32, nil
	case "fp16", "f16", "float16":
		return F16, nil
	case "bf16", "bfloat16":
		return BF16, nil
	}
	return F32, fmt.Errorf("type %q is not known: use bf16, fp16 or fp32", name)
}

// Matrix is a stored weight (Rows, Cols); a vector has one row. It is a typed view, through a tensor.Dense, of memory that
// somebody else may own: 16-bit types, which the tensor library does not know, are held as the Uint16 bits of their values.
type Matrix struct {
	Rows, Cols int
	DType      DType
	T          *tensor.Dense // shape (Rows, Cols) over the same memory
	F32        []float32     // the elements when DType is F32, else nil
	U16        []uint16      // the bits of the elements when DType is F16 or BF16, else nil
}

// NewMatrix makes a zero matrix.
func NewMatrix(d DType, rows, cols int) *Matrix {
	if d == F32 {
		return MatrixOver32(make([]float32, rows*cols), rows, cols)
	}
	return MatrixOver16(d, make([]uint16, rows*cols), rows, cols)
}

// MatrixOver32 views data, which must have rows·cols elements, without copying.
func MatrixOver32(data []float32, rows, cols int) *Matrix {
	mustLen(len(data), rows, cols)
	return &Matrix{
		Rows: rows, Cols: cols, DType: F32, F32: data,
		T: tensor.New(tensor.WithShape(rows, cols), tensor.WithBacking(data)),
	}
}

// MatrixOver16 views data as F16 or BF16 values without copying.
func MatrixOver16(d DType, data []uint16, rows, cols int) *Matrix {
	mustLen(len(data), rows, cols)
	return &Matrix{
		Rows: rows, Cols: cols, DType: d, U16: data,
		T: tensor.New(tensor.WithShape(rows, cols), tensor.WithBacking(data)),
	}
}

func mustLen(n, rows, cols int) {
	if n != rows*cols {
		panic(fmt.Sprintf("model: matrix over %d elements, want %d×%d", n, rows, cols))
	}
}

// Len is the number of elements.
func (m *Matrix) Len() int { return m.Rows * m.Cols }

// At returns element i, counted row by row, as float32.
func (m *Matrix) At(i int) float32 {
	switch m.DType {
	case BF16:
		return FromBF16(m.U16[i])
	case F16:
		return FromF16(m.U16[i])
	}
	return m.F32[i]
}

// Set stores v at element i, rounded to nearest even in the stored type, and returns the value as stored.
func (m *Matrix) Set(i int, v float32) float32 {
	switch m.DType {
	case BF16:
		m.U16[i] = ToBF16(v)
		return FromBF16(m.U16[i])
	case F16:
		m.U16[i] = ToF16(v)
		return FromF16(m.U16[i])
	}
	m.F32[i] = v
	return v
}

// Read writes elements [from, from+len(dst)) to dst as float32.
func (m *Matrix) Read(dst []float32, from int) {
	switch m.DType {
	case F32:
		copy(dst, m.F32[from:])
	case BF16:
		for i, b := range m.U16[from : from+len(dst)] {
			dst[i] = FromBF16(b)
		}
	case F16:
		for i, b := range m.U16[from : from+len(dst)] {
			dst[i] = FromF16(b)
		}
	}
}

// FromBF16 widens a bfloat16.
func FromBF16(b uint16) float32 { return math.Float32frombits(uint32(b) << 16) }

// ToBF16 rounds to nearest even; a NaN stays a NaN.
func ToBF16(v float32) uint16 {
	u := math.Float32bits(v)
	if u&0x7fffffff > 0x7f800000 {
		return uint16(u>>16) | 0x40
	}
	return uint16((u + 0x7fff + u>>16&1) >> 16)
}

// FromF16 widens an IEEE half.
func FromF16(b uint16) float32 {
	sign, exp, frac := uint32(b&0x8000)<<16, uint32(b>>10&31), uint32(b&0x3ff)
	switch {
	case exp == 31:
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	case exp == 0: // zero or subnormal: frac · 2⁻²⁴ is exact in float32
		v := float32(frac) * 0x1p-24
		return math.Float32frombits(sign | math.Float32bits(v))
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

// ToF16 rounds to nearest even; magnitudes from 65520 on become infinite, a NaN stays a NaN.
func ToF16(v float32) uint16 {
	u := math.Float32bits(v)
	sign, a := uint16(u>>16&0x8000), u&0x7fffffff
	switch {
	case a > 0x7f800000:
		return sign | 0x7e00
	case a >= 0x477ff000: // 65520
		return sign | 0x7c00
	case a < 0x38800000: // below the smallest normal half, 2⁻¹⁴: adding 0.5 leaves the rounded multiple of 2⁻²⁴ in the low bits
		return sign | uint16(math.Float32bits(math.Float32frombits(a)+0.5)-0x3f000000)
	}
	a += 0xfff + a>>13&1
	return sign | uint16((a-0x38000000)>>13)
}
