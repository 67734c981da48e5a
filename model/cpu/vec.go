package cpu

import "github.com/torctrain/torc/model"

// vecOps are the inner loops of everything but matrix products of one tier. They use no fused multiply-add: each operation
// rounds, in the order of the Go twin in portable_vec.go, so all tiers give the same bits, the portable one included, and a
// driver may hand the odd end of a vector to the twin.
//
// Unless said otherwise slices have equal lengths, a multiple of 16. A sum is that of sum64: element i in partial sum
// i mod 64, then one tree.
type vecOps struct {
	dot       func(a, b []float32) float32               // Σ a·b; length a multiple of 64
	dot3      func(a, b, c []float32) float32            // Σ (a·b)·c; likewise
	normScale func(y, x, w []float32, r float32)         // y = (x·r)·w
	normGrad  func(dx, dy, w, x []float32, r, c float32) // dx += (dy·w)·r − x·c
	normGradW func(dw, dy, x []float32, r float32)       // dw += (dy·x)·r
	rope      func(a, b, cos, sin []float32)             // a, b = a·cos − b·sin, b·cos + a·sin
	swiglu    func(y, gate, up []float32)                // y = gate/(1+exp(−gate))·up
	swigluD   func(dgate, dup, dy, gate, up []float32)   // its gradient; dgate may be gate, dup may be up
	add       func(y, x []float32)                       // y += x
	scale     func(x []float32, by float32)              // x *= by
	top       func(x []float32) float32                  // the largest; length not 0
	expSub    func(x []float32, top float32)             // x = exp(x−top)
	sum       func(x []float32) float32                  // Σ x; length a multiple of 64
	expDiff   func(x, y []float32)                       // x = exp(x−y)
	scoreRows func(p, top []float32, scale float32)      // rows of 64: p *= scale, top = max(top, largest of the row)
	expRows   func(p, top, sum []float32)                // rows of 64: p = exp(p−top of the row), and its sum
	scaleRows func(x, by []float32, width int)           // rows of width: x *= by of the row
	adamW     func(theta, m, v, g []float32, b1, b2, oneB1, oneB2, eps, rate, decay float32)

	// softmaxD takes rows of width: p = exp(p·scale−lse), then dp = p·(dp−delta)·scale; lse and delta of the row.
	softmaxD func(p, dp, lse, delta []float32, width int, scale float32)
}

// vecState is what the drivers of vecOps keep between calls.
type vecState struct {
	norm    normState
	element elementState
	token   tokenState
	attend  attendState
	vectors []float32   // a weight vector as float32
	scratch []vecBuffer // by worker
}

// vecBuffer is one worker's scratch: copies of up to three vectors, padded.
type vecBuffer [3][]float32

func (s *vecState) init(k *Kernels) {
	s.scratch = make([]vecBuffer, k.Threads())
	s.norm.init(k)
	s.element.init(k)
	s.token.init(k)
	s.attend.init(k)
}

// Cuts of the work into parts. No result bit depends on these.
const (
	elementPart = 1 << 14 // elements of a vector
	columnPart  = 128     // columns whose sums over tokens one part owns
	vecSmallest = 1 << 12 // elements not worth waking a goroutine for
)

// spread calls f(worker, i) for each i in [0, n), on all threads when there are enough elements.
func (k *Kernels) spread(n, elements int, f func(worker, i int)) {
	if elements > vecSmallest {
		k.parallel(n, f)
		return
	}
	for i := range n {
		f(0, i)
	}
}

// padded returns x, or a copy in buffer i with its length rounded up to a multiple of 64 and fill behind the end.
func (b *vecBuffer) padded(i int, x []float32, fill float32) []float32 {
	n := model.Pad(len(x))
	if n == len(x) {
		return x
	}
	p := grow(&b[i], n)
	for j := copy(p, x); j < n; j++ {
		p[j] = fill
	}
	return p
}

// grow makes *buf n elements long, of undefined value, and returns it. It allocates only when none was as long before.
func grow(buf *[]float32, n int) []float32 {
	if cap(*buf) < n {
		*buf = aligned(n)
	}
	*buf = (*buf)[:n]
	return *buf
}

// vector returns the elements of w as float32, valid until the next call.
func (k *Kernels) vector(w *model.Matrix) []float32 {
	if w.DType == model.F32 {
		return w.F32
	}
	v := grow(&k.vec.vectors, w.Len())
	w.Read(v, 0)
	return v
}

// whole is the part of n that vecOps take; the twin does the rest.
func whole(n int) int { return n &^ 15 }
