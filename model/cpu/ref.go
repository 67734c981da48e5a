package cpu

import (
	"math"

	"github.com/torctrain/torc/internal/detmath"
	"github.com/torctrain/torc/model"
)

// Ref is the specification of every kernel: plain loops in float64, each output rounded to float32 once. It is never
// optimised. Products that are not exact are rounded before they are added (float64(a*b)), so that it gives the same bits
// everywhere. Fast kernels are compared with it (package kerneltest); where model.Kernels fixes the operations in float32
// (AdamW, sums of two numbers, copies), Ref has the very bits.
func Ref() model.Kernels { return ref{} }

type ref struct{}

func (ref) Name() string { return "cpu-ref" }

func (ref) Linear(y, x []float32, w *model.Matrix, T int) {
	m, n := w.Rows, w.Cols
	mustLen("Linear", "y", len(y), T*m)
	mustLen("Linear", "x", len(x), T*n)
	for t := range T {
		for i := range m {
			sum := 0.0
			for j := range n {
				sum += float64(x[t*n+j]) * float64(w.At(i*n+j))
			}
			y[t*m+i] = float32(sum)
		}
	}
}

func (ref) LinearGradX(dx, dy []float32, w *model.Matrix, T int) {
	m, n := w.Rows, w.Cols
	mustLen("LinearGradX", "dx", len(dx), T*n)
	mustLen("LinearGradX", "dy", len(dy), T*m)
	for t := range T {
		for j := range n {
			sum := float64(dx[t*n+j])
			for i := range m {
				sum += float64(dy[t*m+i]) * float64(w.At(i*n+j))
			}
			dx[t*n+j] = float32(sum)
		}
	}
}

func (ref) GradDense(dw, dy, x []float32, T int) {
	if T == 0 {
		return
	}
	m, n := mustRows("GradDense", "dy", len(dy), T), mustRows("GradDense", "x", len(x), T)
	mustLen("GradDense", "dw", len(dw), m*n)
	for i := range m {
		for j := range n {
			sum := float64(dw[i*n+j])
			for t := range T {
				sum += float64(dy[t*m+i]) * float64(x[t*n+j])
			}
			dw[i*n+j] = float32(sum)
		}
	}
}

func (ref) TransposePad(dst, src []float32, rows, cols int) {
	pad := model.Pad(rows)
	mustLen("TransposePad", "dst", len(dst), cols*pad)
	mustLen("TransposePad", "src", len(src), rows*cols)
	clear(dst)
	for r := range rows {
		for c := range cols {
			dst[c*pad+r] = src[r*cols+c]
		}
	}
}

func (ref) GradAt(dw, dyT, xT []float32, at []uint32, n, T int) {
	mustLen("GradAt", "dw", len(dw), len(at))
	pad := model.Pad(T)
	mustLen("GradAt", "xT", len(xT), n*pad)
	for k, a := range at {
		i, j := int(a)/n, int(a)%n
		sum := 0.0
		for t := range T {
			sum += float64(dyT[i*pad+t]) * float64(xT[j*pad+t])
		}
		dw[k] = float32(sum)
	}
}

func (ref) RMSNorm(y, rstd, x []float32, w *model.Matrix, eps float32, T int) {
	C := w.Len()
	mustLen("RMSNorm", "y", len(y), T*C)
	mustLen("RMSNorm", "rstd", len(rstd), T)
	mustLen("RMSNorm", "x", len(x), T*C)
	for t := range T {
		sum := 0.0
		for i := range C {
			sum += float64(x[t*C+i]) * float64(x[t*C+i])
		}
		r := 1 / math.Sqrt(sum/float64(C)+float64(eps))
		rstd[t] = float32(r)
		for i := range C {
			y[t*C+i] = float32(float64(x[t*C+i]) * r * float64(w.At(i)))
		}
	}
}

func (ref) RMSNormGrad(dx, dw, dy, x, rstd []float32, w *model.Matrix, T int) {
	C := w.Len()
	mustLen("RMSNormGrad", "dx", len(dx), T*C)
	mustLen("RMSNormGrad", "dy", len(dy), T*C)
	mustLen("RMSNormGrad", "x", len(x), T*C)
	mustLen("RMSNormGrad", "rstd", len(rstd), T)
	for t := range T {
		r := float64(rstd[t])
		dot := 0.0 // of the gradient of the normalised x with it
		for i := range C {
			dot += float64(float64(dy[t*C+i]) * float64(w.At(i)) * float64(x[t*C+i]) * r)
		}
		for i := range C {
			dxhat := float64(dy[t*C+i]) * float64(w.At(i))
			xhat := float64(x[t*C+i]) * r
			dx[t*C+i] = float32(float64(dx[t*C+i]) + float64(r*(dxhat-xhat*dot/float64(C))))
		}
	}
	if dw == nil {
		return
	}
	mustLen("RMSNormGrad", "dw", len(dw), C)
	for i := range C {
		sum := float64(dw[i])
		for t := range T {
			sum += float64(float64(dy[t*C+i]) * float64(x[t*C+i]) * float64(rstd[t]))
		}
		dw[i] = float32(sum)
	}
}

func (ref) Rope(x []float32, pos []int32, cos, sin []float32, heads, D int) {
	T, half := len(pos), D/2
	mustLen("Rope", "x", len(x), T*heads*D)
	mustLen("Rope", "sin", len(sin), len(cos))
	for t := range T {
		p := int(pos[t]) * half
		for h := range heads {
			for i := range half {
				a, b := &x[(t*heads+h)*D+i], &x[(t*heads+h)*D+i+half]
				c, s := float64(cos[p+i]), float64(sin[p+i])
				va, vb := float64(*a), float64(*b)
				*a, *b = float32(va*c-vb*s), float32(vb*c+va*s)
			}
		}
	}
}

func (ref) SwiGLU(y, gate, up []float32) {
	mustLen("SwiGLU", "gate", len(gate), len(y))
	mustLen("SwiGLU", "up", len(up), len(y))
	for i := range y {
		g := float64(gate[i])
		y[i] = float32(g * sigmoid(g) * float64(up[i]))
	}
}

func (ref) SwiGLUGrad(dgate, dup, dy, gate, up []float32) {
	mustLen("SwiGLUGrad", "dgate", len(dgate), len(dy))
	mustLen("SwiGLUGrad", "dup", len(dup), len(dy))
	mustLen("SwiGLUGrad", "gate", len(gate), len(dy))
	mustLen("SwiGLUGrad", "up", len(up), len(dy))
	for i := range dy {
		d, g, u := float64(dy[i]), float64(gate[i]), float64(up[i])
		s := sigmoid(g)
		dgate[i] = float32(d * u * s * (1 + float64(g*(1-s))))
		dup[i] = float32(d * g * s)
	}
}

func sigmoid(x float64) float64 { return 1 / (1 + detmath.Exp(-x)) }

func (ref) Add(y, x []float32) {
	mustLen("Add", "x", len(x), len(y))
	for i := range y {
		y[i] += x[i]
	}
}

func (ref) AddBias(y []float32, b *model.Matrix, T int) {
	m := b.Len()
	mustLen("AddBias", "y", len(y), T*m)
	for t := range T {
		for i := range m {
			y[t*m+i] += b.At(i)
		}
	}
}

func (ref) CrossEntropy(loss, logits []float32, targets []int32, T int) {
	mustLen("CrossEntropy", "loss", len(loss), T)
	mustLen("CrossEntropy", "targets", len(targets), T)
	if T == 0 {
		return
	}
	V := mustRows("CrossEntropy", "logits", len(logits), T)
	mustIDs("CrossEntropy", targets, V)
	for t := range T {
		row, target := logits[t*V:(t+1)*V], targets[t]
		lse := logSumExp(row)
		loss[t] = float32(lse - float64(row[target]))
		for i := range row {
			p := detmath.Exp(float64(row[i]) - lse)
			if i == int(target) {
				p--
			}
			row[i] = float32(p)
		}
	}
}

func logSumExp(row []float32) float64 {
	top := math.Inf(-1)
	for _, v := range row {
		top = max(top, float64(v))
	}
	sum := 0.0
	for _, v := range row {
		sum += detmath.Exp(float64(v) - top)
	}
	return top + detmath.Log(sum)
}

func (ref) Embed(y []float32, w *model.Matrix, ids []int32) {
	C := w.Cols
	mustLen("Embed", "y", len(y), len(ids)*C)
	mustIDs("Embed", ids, w.Rows)
	for t, id := range ids {
		for i := range C {
			y[t*C+i] = w.At(int(id)*C + i)
		}
	}
}

func (ref) EmbedGrad(dw, dy []float32, ids []int32) {
	if len(ids) == 0 {
		return
	}
	C := mustRows("EmbedGrad", "dy", len(dy), len(ids))
	mustIDs("EmbedGrad", ids, mustRows("EmbedGrad", "dw", len(dw), C))
	for t, id := range ids {
		for i := range C {
			dw[int(id)*C+i] += dy[t*C+i]
		}
	}
}

func (ref) AdamW(theta, m, v, g []float32, s model.AdamWStep) {
	mustLen("AdamW", "m", len(m), len(theta))
	mustLen("AdamW", "v", len(v), len(theta))
	mustLen("AdamW", "g", len(g), len(theta))
	for i := range theta {
		m[i] = float32(s.B1*m[i]) + float32(s.OneB1*g[i])
		v[i] = float32(s.B2*v[i]) + float32(s.OneB2*float32(g[i]*g[i]))
		root := float32(math.Sqrt(float64(v[i]))) // exact: the float64 root rounded again is the float32 root
		update := float32(s.Rate*m[i]) / (root + s.Eps)
		theta[i] = float32(theta[i]-float32(s.Decay*theta[i])) - update
	}
}
