package methods

import "github.com/torctrain/torc/model"

// Tensor is a contiguous part of θ with a scale of its own in the exact sum.
type Tensor struct {
	Name   string // of the weight it belongs to, with a suffix where a weight has several
	Weight model.WeightID
	Off    int // in θ
	Len    int
}

// Method is a map θ ↦ W and its pullback. A Method is used by one goroutine at a time.
type Method interface {
	// Len is K, the number of trained values. It does not change during a run.
	Len() int
	// Tensors cover θ in order and without gaps; the tensors of one weight are neighbours.
	Tensors() []Tensor
	// Wants says what the backward pass must hand over of weight id.
	Wants(id model.WeightID) model.Want
	// Start returns θ as the weights have it; zeros where a Refresher has no sets yet.
	Start(w *model.Weights) []float32
	// Push sets W ← W(θ), each value rounded to the stored type.
	Push(theta []float32, w *model.Weights)
	// Pull overwrites dtheta, as long as the tensors of weight id together, with the gradient that o gives them.
	// dW is never formed unless the method is full. Pull does not allocate.
	Pull(id model.WeightID, o *model.Outer, dtheta []float32)
	// PullWhole is Pull for a weight whose gradient arrives whole.
	PullWhole(id model.WeightID, dw, dtheta []float32)
	// Penalty adds ∂R/∂θ of the tensors of weight id to dtheta, once per step after the sum and the clip, and returns
	// this weight's part of R; 0 for most methods. Both slices are the weight's part of θ. A method that holds θ to a manifold
	// brings theta back to it here, in place, before the step.
	Penalty(id model.WeightID, theta, dtheta []float32) float64
}

// Factored is a Method that trains low-rank paths beside the weights (SORSA, PiSSA, LoRA).
type Factored interface {
	Method
	// Prepare gives w, as the base model has it, side paths, and may change the weights beside them. It comes before a model
	// is made of w, and before all other methods but Len, Tensors and Wants. The weights are spread over workers, kernels
	// of one arithmetic; how many there are does not show in the result. On an error w is of no use any more.
	Prepare(workers []model.Kernels, w *model.Weights) error
	// Merge sets the weights to what θ makes of them, in the type the base has, and takes the side paths away. A model that
	// was made of w before has no meaning any more; the Method needs Prepare again.
	Merge(k model.Kernels, theta []float32, w *model.Weights)
	// Factors are the parts of a vector laid out like θ, weight by weight in its order; they are views. Those of what Start
	// returns are the factors at the start.
	Factors(theta []float32) []Factors
}

// Factors are the factors of one weight: the path adds Scale·Bᵀ·diag(S)·A, with S all 1 where it is empty.
type Factors struct {
	Weight model.WeightID
	Rank   int
	Scale  float32
	A      []float32 // (Rank, n)
	S      []float32 // (Rank), empty unless values are trained
	B      []float32 // (Rank, m)
}

// Sliced is a Method that trains whole rows and columns (S²FT).
type Sliced interface {
	Method
	// Slices are what is trained of each weight, in the order of θ.
	Slices() []Slice
}

// Slice are columns (m, s) or rows (s, n) of a weight (m, n), and where they lie in θ, row by row.
type Slice struct {
	Weight   model.WeightID
	ByColumn bool
	Channels []int32 // ascending; not to be changed
	Off, Len int
}

// Prepare readies w for m if m is Factored; other methods take weights as they are.
func Prepare(m Method, workers []model.Kernels, w *model.Weights) error {
	if f, ok := m.(Factored); ok {
		return f.Prepare(workers, w)
	}
	return nil
}

// UseCache lets a method that decomposes weights in Prepare look for the decompositions in a cache first, and leave there
// what it had to compute. The result is the same.
func UseCache(m Method, c Cache) {
	if d, ok := m.(interface{ use(Cache) }); ok {
		d.use(c)
	}
}

// Selector is a Method whose index sets are chosen during the run (LIFT, and S²FT by what data show); State holds them.
type Selector interface {
	Method
	// Due says whether the sets are chosen before step t: before step 1, and later ones as the method has it.
	Due(step uint64) bool
	// Selected lists the weights that have a set, in the order of θ, with the relative cost of selecting each.
	Selected() []Selected
	// Adopt replaces the sets, given in the order of Selected, and carries state along: survivors keep θ, m and v,
	// newcomers take θ from W and start with zero moments, leavers' values stay in W and are remembered in Retired.
	// It keeps the lists, which must not be changed any more. On an error nothing has changed.
	Adopt(sets [][]uint32, w *model.Weights, theta, m, v []float32) error
	// Sets are the current sets in the order of Selected; nil before the first Adopt. Not to be changed; a later Adopt
	// brings new lists and leaves these alone, so that a copy of State may keep them.
	Sets() [][]uint32
	// Retired are, per weight in the order of Selected, the coordinates trained once and no longer, with the values
	// they keep. Disjoint from Sets; nil before the first Adopt, and where nothing retires. Not to be changed; like Sets,
	// left alone by a later Adopt.
	Retired() []Sparse
	// Restore sets Sets and Retired as a checkpoint has them and writes the retired values to w. Both empty is the state
	// before the first Adopt. On an error nothing has changed.
	Restore(sets [][]uint32, retired []Sparse, w *model.Weights) error
}

// Prober is a Selector whose sets are chosen once, before step 1, by what a slice of the data shows.
type Prober interface {
	Selector
	// Probe looks at data; it is used by the goroutine of the method.
	Probe() Probe
}

// Refresher is a Selector whose sets follow from the weights (LIFT): sets of flat indices, chosen anew whenever t mod interval
// is 0.
type Refresher interface {
	Selector
	// Select returns the new set of weight id: sorted flat indices, always as many. Pure in (w, id, the spec, the
	// arithmetic that k names): whichever member computes it gets the same list. Unlike the other methods it may be
	// called by several goroutines at once, also during a step, each with its own k and a w that nobody changes; one
	// goroutine per processor with one-threaded kernels is the fastest way to select many weights.
	Select(k model.Kernels, id model.WeightID, w *model.Matrix) ([]uint32, error)
}

// Leader is a Refresher whose selections may begin some steps before they are due, in the background.
type Leader interface {
	Refresher
	// Begins says whether a selection begins before this step: θ of now is pending until the step that is due adopts it.
	Begins(step uint64) bool
	// AsOf is a copy of weight id as it was when θ was pending, under the sets of now, for Select. w has θ of now.
	AsOf(id model.WeightID, pending []float32, w *model.Weights) *model.Matrix
}

// Selected is a weight whose set is recomputed at a refresh.
type Selected struct {
	Weight model.WeightID
	Count  int     // indices in the set
	Cost   float64 // relative; for spreading the work
}

// Sparse are values at sorted flat indices of one weight, as stored: bits of the weight's DType.
type Sparse struct {
	At   []uint32
	Bits []uint32
}
