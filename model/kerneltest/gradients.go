package kerneltest

import (
	"fmt"
	"math"
	"testing"

	"github.com/torctrain/torc/model"
)

// Gradients checks each gradient of k against central differences of a random weighting of the forward outputs, added in
// float64. The step is 2⁻⁷: the neglected third order is below 1e-4 of the gradient, and the rounding of the outputs to
// float32, divided by the step, below 1e-4 too; the tolerance is 1e-3 of the gradient's root mean square.
func Gradients(t *testing.T, k model.Kernels) {
	t.Helper()
	for _, g := range []gradient{linearGradient(), normGradient(), ropeGradient(), swigluGradient(), lossGradient(), embedGradient()} {
		g.check(t, k)
	}
	for _, a := range []attention{
		{[]int{1}, model.AttnShape{H: 2, KV: 1, D: 4, Scale: 0.5}},
		{[]int{7, 0, 3}, model.AttnShape{H: 4, KV: 2, D: 6, Scale: 0.4}},
		{[]int{9}, model.AttnShape{H: 3, KV: 1, D: 4, Window: 4, Scale: 0.5}},
		{[]int{67}, model.AttnShape{H: 2, KV: 2, D: 2, Scale: 0.7}},
	} {
		attentionGradient(a).check(t, k)
	}
}

// gradient is a forward kernel and its gradient as functions of named operands.
type gradient struct {
	name     string
	in       [][]float32 // differentiated operands
	outs     int         // outputs of forward
	forward  func(k model.Kernels, in [][]float32) (out []float32)
	backward func(k model.Kernels, in [][]float32, dout []float32) (din [][]float32)
}

func (g gradient) check(t *testing.T, k model.Kernels) {
	t.Helper()
	mem := newMemory("gradient " + g.name)
	weight := mem.normal("weight", g.outs, 1)
	defer mem.results()
	loss := func() (sum float64) {
		for i, y := range g.forward(k, g.in) {
			sum += float64(y) * float64(weight[i])
		}
		return sum
	}
	for i, din := range g.backward(k, g.in, weight) {
		numeric := make([]float32, len(din))
		for j := range din {
			x := g.in[i][j]
			g.in[i][j] = x + 0x1p-7
			up, above := loss(), g.in[i][j]
			g.in[i][j] = x - 0x1p-7
			down, below := loss(), g.in[i][j]
			g.in[i][j] = x
			numeric[j] = float32((up - down) / (float64(above) - float64(below)))
		}
		if at := (Tolerance{RMS: 1e-3, Abs: 1e-6}).worst(din, numeric); at >= 0 {
			t.Errorf("%s of %s: gradient of operand %d is %v at %d, difference quotient %v", g.name, k.Name(), i, din[at], at, numeric[at])
		}
	}
}

func normals(name string, lengths ...int) (all [][]float32) {
	mem := newMemory(name)
	for _, n := range lengths {
		all = append(all, append([]float32(nil), mem.normal("", n, 1)...))
	}
	mem.results()
	return all
}

func linearGradient() gradient {
	const T, m, n = 5, 7, 9
	return gradient{"Linear", normals("linear", T*n, m*n), T * m, func(k model.Kernels, in [][]float32) []float32 {
		y := make([]float32, T*m)
		k.Linear(y, in[0], model.MatrixOver32(in[1], m, n), T)
		return y
	}, func(k model.Kernels, in [][]float32, dy []float32) [][]float32 {
		dx, dw := make([]float32, T*n), make([]float32, m*n)
		k.LinearGradX(dx, dy, model.MatrixOver32(in[1], m, n), T)
		k.GradDense(dw, dy, in[0], T)

		dyT, xT, at := make([]float32, m*model.Pad(T)), make([]float32, n*model.Pad(T)), make([]uint32, m*n)
		for i := range at {
			at[i] = uint32(i)
		}
		k.TransposePad(dyT, dy, T, m)
		k.TransposePad(xT, in[0], T, n)
		sampled := make([]float32, m*n)
		k.GradAt(sampled, dyT, xT, at, n, T)
		for i := range dw { // both, so that each must be right
			dw[i] = float32(math.Max(float64(dw[i]), float64(sampled[i])))
		}
		return [][]float32{dx, dw}
	}}
}

func normGradient() gradient {
	const T, C = 3, 20
	forward := func(k model.Kernels, in [][]float32) (y, rstd []float32) {
		y, rstd = make([]float32, T*C), make([]float32, T)
		k.RMSNorm(y, rstd, in[0], model.MatrixOver32(in[1], 1, C), 0.1, T)
		return y, rstd
	}
	return gradient{"RMSNorm", normals("norm", T*C, C), T * C, func(k model.Kernels, in [][]float32) []float32 {
		y, _ := forward(k, in)
		return y
	}, func(k model.Kernels, in [][]float32, dy []float32) [][]float32 {
		_, rstd := forward(k, in)
		dx, dw := make([]float32, T*C), make([]float32, C)
		k.RMSNormGrad(dx, dw, dy, in[0], rstd, model.MatrixOver32(in[1], 1, C), T)
		return [][]float32{dx, dw}
	}}
}

func ropeGradient() gradient {
	const heads, D = 2, 6
	pos := []int32{0, 2, 1, 2}
	cos, sin, negative := make([]float32, 3*D/2), make([]float32, 3*D/2), make([]float32, 3*D/2)
	for i := range cos {
		cos[i], sin[i] = float32(math.Cos(float64(i))), float32(math.Sin(float64(i)))
		negative[i] = -sin[i]
	}
	n := len(pos) * heads * D
	return gradient{"Rope", normals("rope", n), n, func(k model.Kernels, in [][]float32) []float32 {
		y := append([]float32(nil), in[0]...)
		k.Rope(y, pos, cos, sin, heads, D)
		return y
	}, func(k model.Kernels, _ [][]float32, dy []float32) [][]float32 {
		dx := append([]float32(nil), dy...)
		k.Rope(dx, pos, cos, negative, heads, D)
		return [][]float32{dx}
	}}
}

func swigluGradient() gradient {
	const n = 70
	return gradient{"SwiGLU", normals("swiglu", n, n), n, func(k model.Kernels, in [][]float32) []float32 {
		y := make([]float32, n)
		k.SwiGLU(y, in[0], in[1])
		return y
	}, func(k model.Kernels, in [][]float32, dy []float32) [][]float32 {
		dgate, dup := make([]float32, n), make([]float32, n)
		k.SwiGLUGrad(dgate, dup, dy, in[0], in[1])
		return [][]float32{dgate, dup}
	}}
}

func lossGradient() gradient {
	const T, V = 3, 10
	targets := []int32{0, 9, 4}
	run := func(k model.Kernels, in [][]float32) (loss, p []float32) {
		loss, p = make([]float32, T), append([]float32(nil), in[0]...)
		k.CrossEntropy(loss, p, targets, T)
		return loss, p
	}
	return gradient{"CrossEntropy", normals("loss", T*V), T, func(k model.Kernels, in [][]float32) []float32 {
		loss, _ := run(k, in)
		return loss
	}, func(k model.Kernels, in [][]float32, dloss []float32) [][]float32 {
		_, p := run(k, in)
		for i := range p {
			p[i] *= dloss[i/V]
		}
		return [][]float32{p}
	}}
}

func embedGradient() gradient {
	const V, C = 4, 5
	ids := []int32{2, 0, 2, 2, 3}
	return gradient{"Embed", normals("embed", V*C), len(ids) * C, func(k model.Kernels, in [][]float32) []float32 {
		y := make([]float32, len(ids)*C)
		k.Embed(y, model.MatrixOver32(in[0], V, C), ids)
		return y
	}, func(k model.Kernels, _ [][]float32, dy []float32) [][]float32 {
		dw := make([]float32, V*C)
		k.EmbedGrad(dw, dy, ids)
		return [][]float32{dw}
	}}
}

func attentionGradient(a attention) gradient {
	T, s := a.tokens(), a.s
	forward := func(k model.Kernels, in [][]float32) (o, lse []float32) {
		o, lse = make([]float32, T*s.H*s.D), make([]float32, T*s.H)
		k.Attention(o, lse, in[0], in[1], in[2], a.starts(), s)
		return o, lse
	}
	in := normals(a.String(), T*s.H*s.D, T*s.KV*s.D, T*s.KV*s.D)
	return gradient{fmt.Sprintf("Attention %v", a), in, T * s.H * s.D, func(k model.Kernels, in [][]float32) []float32 {
		o, _ := forward(k, in)
		return o
	}, func(k model.Kernels, in [][]float32, do []float32) [][]float32 {
		o, lse := forward(k, in)
		dq, dk, dv := make([]float32, len(in[0])), make([]float32, len(in[1])), make([]float32, len(in[2]))
		k.AttentionGrad(dq, dk, dv, do, o, lse, in[0], in[1], in[2], a.starts(), s)
		return [][]float32{dq, dk, dv}
	}}
}
