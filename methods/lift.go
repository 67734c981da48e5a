package methods

import (
	"errors"
	"fmt"
	"math"

	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/model"
)

// lift trains, of each projection, the elements at which a low-rank approximation of the weight is largest: W[set] = θ.
// The sets are chosen anew during the run; what leaves a set keeps the value it had.
//
// Source: LIFT, arXiv:2506.00772; authors' src/sparseAdam.py. Differs: the largest entries, as in the paper, where the
// released scripts take the smallest; block iteration in place of a full SVD; gradients at the set alone; an fp32 master.
type lift struct {
	layout
	c        Config
	key      rng.Key
	selected []Selected
	sets     [][]uint32 // as selected; nil before the first Adopt
	retired  []Sparse   // likewise
}

var _ Leader = (*lift)(nil)

func newLIFT(c Config, l layout, key rng.Key) *lift {
	f := &lift{layout: l, c: c, key: key}
	for i, t := range l.tensors {
		f.selected = append(f.selected, Selected{Weight: t.Weight, Count: t.Len, Cost: c.selectCost(l.shapes[i])})
	}
	return f
}

// selectCost estimates the time of Select in multiply-adds.
func (c Config) selectCost(s shape) float64 {
	m, n := float64(s.rows), float64(s.cols)
	small, rank := min(m, n), float64(c.filter())
	if rank >= small || !c.principal() {
		return 60 * m * n
	}
	if c.Directions != "" && c.Directions != "largest" {
		return 50 * (m*n*small + 6*small*small*small)
	}
	return m*n*small + rounds*small*(rank+oversize)*(small+rank) + m*n*(4*rank+60)
}

func (f *lift) Due(step uint64) bool {
	return step == 1 || f.c.Refresh > 0 && step%uint64(f.c.Refresh) == 0
}

func (f *lift) Selected() []Selected { return f.selected }

func (f *lift) Select(k model.Kernels, id model.WeightID, w *model.Matrix) ([]uint32, error) {
	t := f.tensors[f.tensor(id)]
	set, err := f.c.chooseSet(k, w, t.Len, f.key.Sub(uint64(id)))
	if errors.Is(err, errNotFinite) {
		err = fmt.Errorf("%w, the weight has enormous values: repair the base model, or lower optimizer.lr", err)
	}
	if err != nil {
		return nil, fmt.Errorf("select the trained elements of %s: %w", t.Name, err)
	}
	return set, nil
}

func (f *lift) Wants(id model.WeightID) model.Want {
	switch i := f.of[id]; {
	case i < 0:
		return model.Nothing
	case f.whole(i):
		return model.Dense
	}
	return model.Sampled
}

// whole says whether every element of a weight is trained: then its gradient is that of the method full, bit for bit.
func (f *lift) whole(i int) bool { return f.tensors[i].Len == f.shapes[i].rows*f.shapes[i].cols }

// Start is zero before the first Adopt: nothing is trained yet, and Adopt takes every coordinate from the weights.
func (f *lift) Start(w *model.Weights) []float32 {
	theta := make([]float32, f.len)
	for i, set := range f.sets {
		part, m := f.part(theta, i), w.Params[f.tensors[i].Weight].Matrix
		for j, at := range set {
			part[j] = m.At(int(at))
		}
	}
	return theta
}

// Push does nothing before the first Adopt.
func (f *lift) Push(theta []float32, w *model.Weights) {
	f.mustLen("Push", len(theta))
	for i, set := range f.sets {
		scatter(w.Params[f.tensors[i].Weight].Matrix, set, f.part(theta, i))
	}
}

// scatter stores values at the indices of a set, each rounded to the type of w.
func scatter(w *model.Matrix, set []uint32, v []float32) {
	switch w.DType {
	case model.F32:
		for j, at := range set {
			w.F32[at] = v[j]
		}
	case model.BF16:
		for j, at := range set {
			w.U16[at] = model.ToBF16(v[j])
		}
	case model.F16:
		for j, at := range set {
			w.U16[at] = model.ToF16(v[j])
		}
	}
}

func (f *lift) Pull(id model.WeightID, o *model.Outer, dtheta []float32) {
	i := f.tensor(id)
	if f.sets == nil {
		panic("methods: Pull before the first Adopt")
	}
	if f.whole(i) {
		clear(dtheta)
		o.Kernels.GradDense(dtheta, o.DY, o.X, o.T)
		return
	}
	o.Kernels.GradAt(dtheta, o.DYT, o.XT, f.sets[i], f.shapes[i].cols, o.T)
}

func (f *lift) PullWhole(id model.WeightID, _, _ []float32) { panicWhole(id) }

func (f *lift) Penalty(model.WeightID, []float32, []float32) float64 { return 0 }

func (f *lift) Adopt(sets [][]uint32, w *model.Weights, theta, m, v []float32) error {
	f.mustLen("Adopt", len(theta))
	f.mustLen("Adopt", len(m))
	f.mustLen("Adopt", len(v))
	if err := f.check(sets); err != nil {
		return fmt.Errorf("adopt sets: %w", err)
	}
	f.Push(theta, w) // so that leavers keep the value of θ even if it was not pushed yet
	was, gone := f.sets, f.retired
	if was == nil {
		was, gone = make([][]uint32, len(sets)), make([]Sparse, len(sets))
	}
	longest := 0
	for _, t := range f.tensors {
		longest = max(longest, t.Len)
	}
	scratch := state{make([]float32, longest), make([]float32, longest), make([]float32, longest)}
	retired := make([]Sparse, len(sets)) // copies of State share the lists there are
	for i, t := range f.tensors {
		old, weight := was[i], w.Params[t.Weight].Matrix
		left := remap(old, sets[i], state{f.part(theta, i), f.part(m, i), f.part(v, i)},
			state{scratch.theta[:t.Len], scratch.m[:t.Len], scratch.v[:t.Len]},
			func(at uint32) float32 { return weight.At(int(at)) })
		leavers := make([]uint32, len(left))
		for j, from := range left {
			leavers[j] = old[from]
		}
		retired[i] = retire(gone[i], leavers, sets[i], func(at uint32) uint32 { return storedBits(weight, at) })
	}
	f.sets, f.retired = sets, retired
	return nil
}

// storedBits are the bits of element at as stored.
func storedBits(w *model.Matrix, at uint32) uint32 {
	if w.DType == model.F32 {
		return math.Float32bits(w.F32[at])
	}
	return uint32(w.U16[at])
}

// check says what is wrong with sets that are to be those of this method.
func (f *lift) check(sets [][]uint32) error {
	if len(sets) != len(f.tensors) {
		return fmt.Errorf("%d sets, want %d, one for each trained weight", len(sets), len(f.tensors))
	}
	for i, set := range sets {
		if err := checkSet(set, f.tensors[i].Len, f.shapes[i].rows*f.shapes[i].cols); err != nil {
			return fmt.Errorf("set of %s: %w", f.tensors[i].Name, err)
		}
	}
	return nil
}

func (f *lift) Sets() [][]uint32  { return f.sets }
func (f *lift) Retired() []Sparse { return f.retired }

func (f *lift) Restore(sets [][]uint32, retired []Sparse, w *model.Weights) error {
	if len(sets) == 0 && len(retired) == 0 { // a state from before the first selection
		f.sets, f.retired = nil, nil
		return nil
	}
	if err := f.check(sets); err != nil {
		return fmt.Errorf("restore sets: %w", err)
	}
	if err := f.checkRetired(retired, sets, w); err != nil {
		return fmt.Errorf("restore retired coordinates: %w", err)
	}
	for i, r := range retired {
		weight := w.Params[f.tensors[i].Weight].Matrix
		for j, at := range r.At {
			if weight.DType == model.F32 {
				weight.F32[at] = math.Float32frombits(r.Bits[j])
			} else {
				weight.U16[at] = uint16(r.Bits[j])
			}
		}
	}
	f.sets, f.retired = sets, retired
	return nil
}

func (f *lift) checkRetired(retired []Sparse, sets [][]uint32, w *model.Weights) error {
	if len(retired) != len(f.tensors) {
		return fmt.Errorf("%d lists, want %d, one for each trained weight", len(retired), len(f.tensors))
	}
	for i, r := range retired {
		name, limit := f.tensors[i].Name, f.shapes[i].rows*f.shapes[i].cols
		if len(r.Bits) != len(r.At) {
			return fmt.Errorf("%s: %d values at %d coordinates", name, len(r.Bits), len(r.At))
		}
		if err := checkSet(r.At, len(r.At), limit); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		common := false
		merge(r.At, sets[i], func(_, _ int) { common = true }, func(int) {}, func(int) {})
		if common {
			return fmt.Errorf("%s: a coordinate is both trained and retired", name)
		}
		if w.Params[f.tensors[i].Weight].DType != model.F32 {
			for j, b := range r.Bits {
				if b > math.MaxUint16 {
					return fmt.Errorf("%s: value %d, %#x, has more than 16 bits", name, j, b)
				}
			}
		}
	}
	return nil
}
