package methods

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/torctrain/torc/model"
)

// layout is where each trained weight lies in θ: in the order of the backward pass, see model.Config.BackwardOrder.
type layout struct {
	tensors []Tensor
	shapes  []shape // of the weights of tensors
	len     int
	of      []int // by WeightID: index in tensors, −1 for a frozen weight
}

type shape struct{ rows, cols int }

// newLayout lays out the weights of which more than nothing is trained.
func newLayout(params []model.ParamShape, counts []int) (layout, error) {
	l := layout{of: make([]int, len(params))}
	for _, id := range backward(params) {
		p := params[id]
		l.of[id] = -1
		n := counts[id]
		if n == 0 {
			continue
		}
		if p.Rows*p.Cols > math.MaxUint32 {
			return layout{}, fmt.Errorf("train %s: it has %d×%d elements, more than 2^32", p.Name, p.Rows, p.Cols)
		}
		l.of[id] = len(l.tensors)
		l.tensors = append(l.tensors, Tensor{Name: p.Name, Weight: model.WeightID(id), Off: l.len, Len: n})
		l.shapes = append(l.shapes, shape{p.Rows, p.Cols})
		l.len += n
	}
	if l.len == 0 {
		return layout{}, fmt.Errorf("train nothing: the model has none of the weights that the method trains, or too few for its share")
	}
	return l, nil
}

// backward returns the indices of params in the order in which a backward pass reaches them.
func backward(params []model.ParamShape) []int {
	order := make([]int, len(params))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		a, b := params[i], params[j]
		return cmp.Or(cmp.Compare(stage(a), stage(b)), cmp.Compare(b.Layer, a.Layer),
			cmp.Compare(slices.Index(downwards[:], a.Module), slices.Index(downwards[:], b.Module)))
	})
	return order
}

// stage is 0 above the layers, 1 in them, 2 below.
func stage(p model.ParamShape) int {
	switch {
	case p.Module == model.Embed:
		return 2
	case p.Layer >= 0:
		return 1
	}
	return 0
}

// downwards are the modules from the top down; the head and the final norm are above the layers.
var downwards = [...]model.Module{
	model.Head, model.FinalNorm,
	model.Down, model.DownBias, model.Gate, model.GateBias, model.Up, model.UpBias, model.MLPNorm, model.O, model.OBias,
	model.QNorm, model.KNorm, model.Q, model.QBias, model.K, model.KBias, model.V, model.VBias, model.AttnNorm,
}

// Len and Tensors make part of a Method of a layout.
func (l *layout) Len() int          { return l.len }
func (l *layout) Tensors() []Tensor { return l.tensors }

// tensor returns the index in tensors of a weight that is trained.
func (l *layout) tensor(id model.WeightID) int {
	if i := l.of[id]; i >= 0 {
		return i
	}
	panic(fmt.Sprintf("methods: weight %d is not trained", id))
}

// part is what belongs to tensor i of a vector laid out like θ.
func (l *layout) part(v []float32, i int) []float32 {
	t := l.tensors[i]
	return v[t.Off : t.Off+t.Len]
}

func (l *layout) mustLen(verb string, n int) {
	if n != l.len {
		panic(fmt.Sprintf("methods: %s: len(theta)=%d, want %d", verb, n, l.len))
	}
}

func panicWhole(id model.WeightID) {
	panic(fmt.Sprintf("methods: PullWhole: weight %d is not trained whole", id))
}
