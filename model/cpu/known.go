package cpu

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"math"

	"github.com/torctrain/torc/internal/detmath"
	"github.com/torctrain/torc/model"
)

// Known is KnownAnswer of k.
func (k *Kernels) Known() [32]byte { return KnownAnswer(k) }

// KnownAnswer is a hash of what k and the elementary functions compute from fixed operands: every kernel at small shapes
// that reach every blocking edge, in some milliseconds. Members of a run compare it: kernels that claim one class and
// answer differently have a defect, in the code or in the processor.
func KnownAnswer(k model.Kernels) [32]byte {
	e := exam{k: k, sum: sha256.New()}
	e.products()
	e.sampled()
	e.norms()
	e.attention()
	e.elements()
	e.tokens()
	e.functions()
	return [32]byte(e.sum.Sum(nil))
}

// exam hands out operands and collects answers.
type exam struct {
	k     model.Kernels
	sum   hash.Hash
	count uint64
	bytes []byte
}

// next is a number in [−1, 1): all 24 bits of its mantissa come from a mixed counter.
func (e *exam) next() float32 {
	e.count++
	z := e.count * 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return float32(int32((z^z>>31)>>39)-1<<24) * 0x1p-24
}

func (e *exam) vector(n int, size float32) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = e.next() * size
	}
	return v
}

func (e *exam) matrix(d model.DType, rows, cols int) *model.Matrix {
	m := model.NewMatrix(d, rows, cols)
	for i := range rows * cols {
		m.Set(i, e.next())
	}
	return m
}

func (e *exam) ids(n, below int) []int32 {
	v := make([]int32, n)
	for i := range v {
		v[i] = int32(i * 7919 % below)
	}
	return v
}

func (e *exam) answer(vs ...[]float32) {
	for _, v := range vs {
		e.bytes = e.bytes[:0]
		for _, x := range v {
			e.bytes = binary.LittleEndian.AppendUint32(e.bytes, math.Float32bits(x))
		}
		e.sum.Write(e.bytes)
	}
}

// products has more rows, columns and inner indices than a block of the matrix product, and odd ends of each.
func (e *exam) products() {
	for i, s := range [][3]int{{101, 37, 331}, {19, 277, 35}, {1, 50, 650}, {7, 33, 17}} {
		T, m, n := s[0], s[1], s[2]
		w, x, dy := e.matrix(model.DType(i%3), m, n), e.vector(T*n, 1), e.vector(T*m, 1)
		y, dx, dw := e.vector(T*m, 1), e.vector(T*n, 1), e.vector(m*n, 1)
		e.k.Linear(y, x, w, T)
		e.k.LinearGradX(dx, dy, w, T)
		e.k.GradDense(dw, dy, x, T)
		e.answer(y, dx, dw)
	}
}

// sampled has few indices but more tokens than any block of a sum over them.
func (e *exam) sampled() {
	const m, n = 9, 21
	at := []uint32{0, 1, 2, 3, 4, 5, 6, 20, 21, 40, 41, 60, 62, 63, 100, 101, 102, 150, 187, 188}
	for _, T := range []int{5, 65, 1100} {
		dy, x := e.vector(T*m, 1), e.vector(T*n, 1)
		dyT, xT, dw := e.vector(m*model.Pad(T), 1), e.vector(n*model.Pad(T), 1), e.vector(len(at), 1)
		e.k.TransposePad(dyT, dy, T, m)
		e.k.TransposePad(xT, x, T, n)
		e.k.GradAt(dw, dyT, xT, at, n, T)
		e.answer(dyT, xT, dw)
	}
}

func (e *exam) norms() {
	for i, C := range []int{5, 64, 150, 576} {
		const T = 5
		w, x, dy := e.matrix(model.DType(i%3), 1, C), e.vector(T*C, 3), e.vector(T*C, 1)
		y, rstd, dx, dw := e.vector(T*C, 1), e.vector(T, 1), e.vector(T*C, 1), e.vector(C, 1)
		e.k.RMSNorm(y, rstd, x, w, 1e-5, T)
		e.k.RMSNormGrad(dx, dw, dy, x, rstd, w, T)
		e.answer(y, rstd, dx, dw)
	}
	for _, D := range []int{6, 64, 80} {
		const positions = 9
		x, cos, sin := e.vector(5*3*D, 1), e.vector(positions*D/2, 1), e.vector(positions*D/2, 1)
		e.k.Rope(x, e.ids(5, positions), cos, sin, 3, D)
		e.answer(x)
	}
}

// attention has sequences below, at and above one block of keys, empty ones, and a window that cuts into blocks.
func (e *exam) attention() {
	starts := []int32{0, 1, 1, 65, 136}
	for _, s := range []model.AttnShape{{H: 2, KV: 1, D: 32, Scale: 0.7}, {H: 2, KV: 2, D: 20, Window: 40, Scale: 1.1}} {
		T := int(starts[len(starts)-1])
		q, k, v, do := e.vector(T*s.H*s.D, 1), e.vector(T*s.KV*s.D, 1), e.vector(T*s.KV*s.D, 1), e.vector(T*s.H*s.D, 1)
		o, lse := e.vector(len(q), 1), e.vector(T*s.H, 1)
		dq, dk, dv := e.vector(len(q), 1), e.vector(len(k), 1), e.vector(len(v), 1)
		e.k.Attention(o, lse, q, k, v, starts, s)
		e.k.AttentionGrad(dq, dk, dv, do, o, lse, q, k, v, starts, s)
		e.answer(o, lse, dq, dk, dv)
	}
}

func (e *exam) elements() {
	for _, n := range []int{7, 1000} {
		y, gate, up, dgate, dup := e.vector(n, 1), e.vector(n, 90), e.vector(n, 2), e.vector(n, 1), e.vector(n, 1)
		e.k.SwiGLU(y, gate, up)
		e.k.SwiGLUGrad(dgate, dup, y, gate, up)
		e.k.Add(up, dgate)
		e.answer(y, dgate, dup, up)
		theta, m, v := e.vector(n, 1), e.vector(n, 1e-3), e.vector(n, 1)
		for i := range v {
			v[i] = v[i] * v[i] * 1e-6
		}
		e.k.AdamW(theta, m, v, y, model.AdamWStep{B1: 0.9, B2: 0.95, OneB1: 0.1, OneB2: 0.05, Eps: 1e-6, Rate: 1e-3, Decay: 1e-5})
		e.answer(theta, m, v)
	}
	y := e.vector(3*50, 1)
	e.k.AddBias(y, e.matrix(model.BF16, 1, 50), 3)
	e.answer(y)
}

func (e *exam) tokens() {
	for _, V := range []int{10, 4200} {
		loss, logits := e.vector(3, 1), e.vector(3*V, 40)
		e.k.CrossEntropy(loss, logits, e.ids(3, V), 3)
		e.answer(loss, logits)
	}
	const V, C, T = 5, 70, 9
	y, dw := e.vector(T*C, 1), e.vector(V*C, 1)
	e.k.Embed(y, e.matrix(model.F16, V, C), e.ids(T, V))
	e.k.EmbedGrad(dw, y, e.ids(T, V))
	e.answer(y, dw)
}

// functions asks package detmath, on which schedules and tables rest.
func (e *exam) functions() {
	for range 50 {
		x := float64(e.next())
		for _, v := range []float64{
			detmath.Exp(x * 700), detmath.Log(1 + x*x*1e5), detmath.Sin(x * 1e5), detmath.Cos(x * 1e5), detmath.Pow(1+x*0.5, x*1000),
		} {
			e.bytes = binary.LittleEndian.AppendUint64(e.bytes[:0], math.Float64bits(v))
			e.sum.Write(e.bytes)
		}
	}
}
