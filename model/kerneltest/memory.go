package kerneltest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"unsafe"

	"github.com/torctrain/torc/model"
)

// memory hands out operands of one call and knows afterwards whether the kernel kept to them.
type memory struct {
	rng     *rand.Rand
	inputs  []input
	outputs []output
	free    []func()
}

type input struct {
	name      string
	got, want []byte
}

type output struct {
	name string
	v    []float32
}

// newMemory makes operands that depend on the seed alone.
func newMemory(seed string) *memory {
	var h uint64 = 14695981039346656037
	for _, c := range []byte(seed) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return &memory{rng: rand.New(rand.NewPCG(h, 1))}
}

// normal returns n independent normal values with deviation dev; the kernel may not change them.
func (m *memory) normal(name string, n int, dev float64) []float32 {
	v := m.raw(n)
	for i := range v {
		v[i] = float32(m.rng.NormFloat64() * dev)
	}
	return m.keep(name, v)
}

// uniform is normal with values spread evenly over [lo, hi).
func (m *memory) uniform(name string, n int, lo, hi float64) []float32 {
	v := m.raw(n)
	for i := range v {
		v[i] = float32(lo + (hi-lo)*m.rng.Float64())
	}
	return m.keep(name, v)
}

// keep registers v as an input that must be the same after the call.
func (m *memory) keep(name string, v []float32) []float32 {
	b := bytesOf(v)
	m.inputs = append(m.inputs, input{name, b, append([]byte(nil), b...)})
	return v
}

// matrix returns a weight of normal values.
func (m *memory) matrix(name string, d model.DType, rows, cols int) *model.Matrix {
	if d == model.F32 {
		return model.MatrixOver32(m.normal(name, rows*cols, 1), rows, cols)
	}
	b := m.bytes(rows * cols * 2)
	u := unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(b))), rows*cols)
	w := model.MatrixOver16(d, u, rows, cols)
	for i := range u {
		w.Set(i, float32(m.rng.NormFloat64()))
	}
	m.inputs = append(m.inputs, input{name, b, append([]byte(nil), b...)})
	return w
}

// ids returns n numbers in [0, below).
func (m *memory) ids(n, below int) []int32 {
	v := make([]int32, n)
	for i := range v {
		v[i] = int32(m.rng.IntN(below))
	}
	return v
}

// out returns n values that are NaN until the kernel overwrites them.
func (m *memory) out(name string, n int) []float32 {
	v := m.raw(n)
	for i := range v {
		v[i] = float32(math.NaN())
	}
	m.outputs = append(m.outputs, output{name, v})
	return v
}

// inout returns n normal values that the kernel is to change.
func (m *memory) inout(name string, n int, dev float64) []float32 {
	v := m.raw(n)
	for i := range v {
		v[i] = float32(m.rng.NormFloat64() * dev)
	}
	m.outputs = append(m.outputs, output{name, v})
	return v
}

// only replaces the outputs seen so far: for kernels that leave part of a buffer unspecified.
func (m *memory) only(name string, v []float32) {
	m.outputs = append(m.outputs[:0:0], output{name, v})
}

// raw returns n floats that end where a page ends.
func (m *memory) raw(n int) []float32 {
	b := m.bytes(n * 4)
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), n)
}

func (m *memory) bytes(n int) []byte {
	b, free := closed(n)
	m.free = append(m.free, free)
	return b
}

// changed names an input that was written to, or "".
func (m *memory) changed() string {
	for _, in := range m.inputs {
		if string(in.got) != string(in.want) {
			return in.name
		}
	}
	return ""
}

// results copies the outputs and gives the memory back.
func (m *memory) results() []output {
	all := make([]output, len(m.outputs))
	for i, o := range m.outputs {
		all[i] = output{o.name, append([]float32(nil), o.v...)}
	}
	for _, f := range m.free {
		f()
	}
	return all
}

func bytesOf(v []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), len(v)*4)
}

func (o output) at(i int) string { return fmt.Sprintf("%s[%d] of %d", o.name, i, len(o.v)) }
