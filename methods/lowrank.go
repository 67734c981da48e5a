package methods

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/model"
)

// lowRank is what SORSA, PiSSA and LoRA share: beside each projection, frozen, they train a side path (model.Side),
//
//	W(θ) = R + c·Bᵀ·diag(s)·A    with A (r, n), B (r, m), s (r)
//
// where R is the weight (LoRA) or what its leading singular values leave of it, and only SORSA has s in θ. The product is never
// formed while training. In θ, A, s and B of a weight follow each other, each a tensor with a scale of its own.
//
// R of a 16-bit weight is kept in float32: rounded back to bf16, R + Bᵀ·diag(s)·A would differ from W by 1.4e-3 of its norm
// before the first step, in float32 by 1e-8. Or, by Config.Residual, it is kept as W beside a path of twice the rank, whose
// second half is what the factors began as, subtracted: that half is not in θ.
type lowRank struct {
	layout          // one entry for each weight
	parts  []Tensor // one for each factor
	c      Config
	key    rng.Key   // of the run, for the start
	stored []storage // of each weight as the base has it; nil before Prepare
	sums   []float64 // (r) scratch of Pull
	halves []float32 // (T, r) scratch of Pull, several of them, where the path is of twice the rank
	cache  Cache     // of decompositions; may be nil
}

// storage is what Prepare changes of a weight, and what it found.
type storage struct {
	dtype model.DType
	s     []float32 // (r) at the start; nil unless s is trained
}

func newLowRank(c Config, l layout, key rng.Key) lowRank {
	f := lowRank{layout: l, c: c, key: key, sums: make([]float64, c.Rank)}
	for i, t := range l.tensors {
		off := t.Off
		for _, factor := range []struct {
			name string
			n    int
		}{{"A", c.Rank * l.shapes[i].cols}, {"s", c.values()}, {"B", c.Rank * l.shapes[i].rows}} {
			if factor.n > 0 {
				f.parts = append(f.parts, Tensor{Name: t.Name + "." + factor.name, Weight: t.Weight, Off: off, Len: factor.n})
				off += factor.n
			}
		}
	}
	return f
}

// Tensors are those of the factors.
func (f *lowRank) Tensors() []Tensor { return f.parts }

// factors cuts a vector laid out like the part of θ of weight i.
func (f *lowRank) factors(v []float32, i int) (a, s, b []float32) {
	n, r := f.c.Rank*f.shapes[i].cols, f.c.values()
	return v[:n], v[n : n+r], v[n+r:]
}

// factor is c.
func (c Config) factor() float32 {
	alpha, r := c.Alpha, float64(c.Rank)
	switch {
	case alpha == 0 && c.Name == "lora":
		alpha = 2 * r
	case alpha == 0:
		return 1
	}
	if c.RSLoRA {
		return float32(alpha / math.Sqrt(r))
	}
	return float32(alpha / r)
}

// values is how many singular values of a weight are in θ.
func (c Config) values() int { return c.Rank * c.values1() }

// lowRank says whether the method trains side paths.
func (c Config) lowRank() bool { return c.Name == "sorsa" || c.Name == "pissa" || c.Name == "lora" }

func (f *lowRank) Wants(id model.WeightID) model.Want {
	if f.of[id] < 0 {
		return model.Nothing
	}
	return model.LowRank
}

// prepare makes the side path of each weight with start, one weight per worker at a time.
func (f *lowRank) prepare(workers []model.Kernels, w *model.Weights, start func(k model.Kernels, i int, p *model.Param) error) error {
	f.stored = make([]storage, len(f.tensors))
	errs := make([]error, len(f.tensors))
	var next atomic.Int64
	var wait sync.WaitGroup
	for _, k := range workers {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(f.tensors); i = int(next.Add(1)) - 1 {
				p := &w.Params[f.tensors[i].Weight]
				f.stored[i].dtype = p.DType
				if p.Side != nil {
					errs[i] = errors.New("it has a side path already: load the base model again")
					continue
				}
				p.Side = model.NewSide(f.c.sideRank(), p.Rows, p.Cols)
				errs[i] = start(k, i, p)
			}
		})
	}
	wait.Wait()
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("start %s of %s: %w", f.c.Name, f.tensors[i].Name, err)
		}
	}
	return nil
}

// sideRank is the rank of the side paths.
func (c Config) sideRank() int {
	if c.Residual == "base" {
		return 2 * c.Rank
	}
	return c.Rank
}

// leave makes what is left of a weight beside its path, of which the first r rows are set.
func (c Config) leave(k model.Kernels, p *model.Param) {
	if c.Residual == "base" {
		n := c.Rank
		copy(p.Side.A.F32[n*p.Cols:], p.Side.A.F32[:n*p.Cols])
		copy(p.Side.B.F32[n*p.Rows:], p.Side.B.F32[:n*p.Rows])
		for j := range n {
			p.Side.S[n+j] = -p.Side.S[j]
		}
		return
	}
	stored := p.DType
	subtract(k, p)
	if c.Residual == "stored" && stored != model.F32 {
		narrow := model.NewMatrix(stored, p.Rows, p.Cols)
		write(narrow, p.F32)
		p.Matrix = narrow
	}
}

// subtract leaves of a weight, in float32, what its side path does not have.
func subtract(k model.Kernels, p *model.Param) {
	w := inFloat32(p.Matrix)
	addSide(k, w, p.Side, -1)
	p.Matrix = w
}

// addSide adds sign·Bᵀ·diag(S)·A to w: one product of rank r.
func addSide(k model.Kernels, w *model.Matrix, s *model.Side, sign float32) {
	scaled := make([]float32, len(s.B.F32))
	for j, v := range s.S {
		for i, b := range s.B.F32[j*w.Rows : (j+1)*w.Rows] {
			scaled[j*w.Rows+i] = sign * v * b
		}
	}
	k.GradDense(w.F32, scaled, s.A.F32, len(s.S))
}

// inFloat32 is w itself if it is stored so, else a copy.
func inFloat32(w *model.Matrix) *model.Matrix {
	if w.DType == model.F32 {
		return w
	}
	wide := model.NewMatrix(model.F32, w.Rows, w.Cols)
	w.Read(wide.F32, 0)
	return wide
}

func (f *lowRank) mustBePrepared(verb string) {
	if f.stored == nil {
		panic("methods: " + verb + " before Prepare")
	}
}

func (f *lowRank) Start(w *model.Weights) []float32 {
	f.mustBePrepared("Start")
	theta := make([]float32, f.len)
	for i, t := range f.tensors {
		a, s, b := f.factors(f.part(theta, i), i)
		side := w.Params[t.Weight].Side
		copy(a, side.A.F32)
		copy(s, f.stored[i].s)
		copy(b, side.B.F32)
	}
	return theta
}

// Push sets the factors of the side paths; the weights beside them stay.
func (f *lowRank) Push(theta []float32, w *model.Weights) {
	f.mustLen("Push", len(theta))
	f.mustBePrepared("Push")
	c := f.c.factor()
	for i, t := range f.tensors {
		a, s, b := f.factors(f.part(theta, i), i)
		side := w.Params[t.Weight].Side
		copy(side.A.F32, a)
		copy(side.B.F32, b)
		for j := range f.c.Rank {
			side.S[j] = c
		}
		for j, v := range s {
			side.S[j] = c * v
		}
	}
}

// Pull needs tall and narrow products alone: dA = dPᵀ·X, ds = c·Σ_t P ⊙ H, dB = Qᵀ·dY.
// Source: SORSA, arXiv:2409.00055; authors' sorsalib/layer.py. Differs: the product of the factors is never formed.
func (f *lowRank) Pull(id model.WeightID, o *model.Outer, dtheta []float32) {
	i, r := f.tensor(id), f.c.Rank
	a, s, b := f.factors(dtheta, i)
	P, Q, H, DP := o.P, o.Q, o.H, o.DP
	if f.c.sideRank() != r {
		P, Q, H, DP = f.trainedHalves(o)
	}
	clear(dtheta)
	o.Kernels.GradDense(a, DP, o.X, o.T)
	o.Kernels.GradDense(b, Q, o.DY, o.T)
	if len(s) == 0 {
		return
	}
	clear(f.sums)
	for t := range o.T {
		h := H[t*r : (t+1)*r]
		for j, p := range P[t*r : (t+1)*r] {
			f.sums[j] += float64(p) * float64(h[j]) // exact products: 48 bits
		}
	}
	c := float64(f.c.factor())
	for j, sum := range f.sums {
		s[j] = float32(c * sum)
	}
}

// trainedHalves are the columns of o that belong to the rows of the path in θ.
func (f *lowRank) trainedHalves(o *model.Outer) (P, Q, H, DP []float32) {
	r := f.c.Rank
	n := o.T * r
	if cap(f.halves) < 4*n {
		f.halves = make([]float32, 4*n)
	}
	half := func(i int, x []float32) []float32 {
		out := f.halves[i*n : (i+1)*n]
		for t := range o.T {
			copy(out[t*r:(t+1)*r], x[2*t*r:])
		}
		return out
	}
	return half(0, o.P), half(1, o.Q), half(2, o.H), half(3, o.DP)
}

// Factors are the parts of a vector laid out like θ.
func (f *lowRank) Factors(theta []float32) []Factors {
	f.mustLen("Factors", len(theta))
	all := make([]Factors, len(f.tensors))
	for i, t := range f.tensors {
		a, s, b := f.factors(f.part(theta, i), i)
		all[i] = Factors{Weight: t.Weight, Rank: f.c.Rank, Scale: f.c.factor(), A: a, S: s, B: b}
	}
	return all
}

func (f *lowRank) PullWhole(id model.WeightID, _, _ []float32) { panicWhole(id) }

func (f *lowRank) Penalty(model.WeightID, []float32, []float32) float64 { return 0 }

// Merge adds the products to the weights, in float32, and rounds them to the type the base has.
func (f *lowRank) Merge(k model.Kernels, theta []float32, w *model.Weights) {
	f.Push(theta, w)
	for i, t := range f.tensors {
		p := &w.Params[t.Weight]
		sum := inFloat32(p.Matrix)
		addSide(k, sum, p.Side, 1)
		p.Matrix, p.Side = sum, nil
		if d := f.stored[i].dtype; d != model.F32 {
			p.Matrix = model.NewMatrix(d, sum.Rows, sum.Cols)
			write(p.Matrix, sum.F32)
		}
	}
	f.stored = nil
}
