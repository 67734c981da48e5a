package methods

import (
	"fmt"
	"strings"

	"github.com/torctrain/torc/model"
)

// Probe looks at a slice of the data before the first step, for a method that chooses by what it sees there. It is run like a
// step, without the step: each lane's scores are rounded to integers and summed exactly, with scales as gradients have them, so
// that any number of members sees the same totals.
//
//	forward  model.Llama.Watch ─→ Input ─→ scores ─┐
//	else     model.Llama.Gradient ─→ Pull ─→ scores ┴─ the exact sum of all lanes ─→ totals ─→ Choose
type Probe interface {
	// Len is the number of scores, and Tensors are where those of each weight lie, as θ is laid out.
	Len() int
	Tensors() []Tensor
	// Forward says whether Input sees enough, and no gradient is needed.
	Forward() bool
	// Wants is as in Method.
	Wants(id model.WeightID) model.Want
	// Input overwrites scores with what the input x (T, n) of weight id says, if that is one that it looks at.
	Input(id model.WeightID, x []float32, T int, scores []float32)
	// Pull overwrites scores with what the gradient of weight id says.
	Pull(id model.WeightID, o *model.Outer, scores []float32)
	// Choose returns the sets for Adopt, by the totals over all lanes and samples.
	Choose(totals []float64) ([][]uint32, error)
}

// channelProbe scores the heads and channels of s2ft: by the squares of what flows through them, or of the gradients of what
// would be trained. Rows of V and Up are scored by the input of O and Down that they make.
type channelProbe struct {
	layout
	trained layout // of the method
	params  []model.ParamShape
	quotas  []int
	largest bool
	forward bool
	dw      []float32 // of one weight
}

var _ Probe = (*channelProbe)(nil)

// newChannelProbe makes the probe of a method that trains weights as trained lays them out.
func newChannelProbe(c Config, trained layout, params []model.ParamShape) (*channelProbe, error) {
	p := &channelProbe{
		trained: trained, params: params, largest: strings.HasPrefix(c.Select, "largest-"), forward: strings.HasSuffix(c.Select, "-activation"),
	}
	var err error
	if p.quotas, err = c.quotas(params); err != nil {
		return nil, err
	}
	counts := make([]int, len(params)) // one score for each unit
	for id, x := range params {
		switch {
		case p.quotas[id] == 0:
		case p.forward:
			counts[p.reader(id)] = axis(params[p.reader(id)]) / unit(params[p.reader(id)])
		default:
			counts[id] = axis(x) / unit(x)
		}
	}
	p.layout, err = newLayout(params, counts)
	return p, err
}

// reader is the weight that reads what a weight writes: O for V, Down for Up, itself for both of these.
func (p *channelProbe) reader(id int) int {
	want := map[model.Module]model.Module{model.V: model.O, model.Up: model.Down}[p.params[id].Module]
	for i, x := range p.params {
		if x.Layer == p.params[id].Layer && x.Module == want {
			return i
		}
	}
	return id
}

func (p *channelProbe) Forward() bool { return p.forward }

func (p *channelProbe) Wants(id model.WeightID) model.Want {
	if p.of[id] < 0 || p.forward {
		return model.Nothing
	}
	return model.Dense
}

func (p *channelProbe) Input(id model.WeightID, x []float32, T int, scores []float32) {
	if p.of[id] < 0 {
		return
	}
	s, sums := p.params[id], make([]float64, len(scores))
	for t := range T {
		for j, v := range x[t*s.Cols : (t+1)*s.Cols] {
			sums[j/unit(s)] += float64(v) * float64(v) // exact products
		}
	}
	toFloat32(scores, sums)
}

func (p *channelProbe) Pull(id model.WeightID, o *model.Outer, scores []float32) {
	s, sums := p.params[id], make([]float64, len(scores))
	if cap(p.dw) < s.Len() {
		p.dw = make([]float32, s.Len())
	}
	dw := p.dw[:s.Len()]
	clear(dw)
	o.Kernels.GradDense(dw, o.DY, o.X, o.T)
	for at, v := range dw {
		i := at / s.Cols
		if readsChannels(s.Module) {
			i = at % s.Cols
		}
		sums[i/unit(s)] += float64(v) * float64(v)
	}
	toFloat32(scores, sums)
}

func (p *channelProbe) Choose(totals []float64) ([][]uint32, error) {
	if len(totals) != p.len {
		return nil, fmt.Errorf("choose channels: %d scores, want %d", len(totals), p.len)
	}
	sets := make([][]uint32, len(p.trained.tensors))
	for i, t := range p.trained.tensors {
		id := int(t.Weight)
		from := id
		if p.forward {
			from = p.reader(id)
		}
		at := p.tensors[p.tensor(model.WeightID(from))]
		scores := totals[at.Off : at.Off+at.Len]
		if units := axis(p.params[id]) / unit(p.params[id]); units < len(scores) { // query heads share a key-value head
			scores = gathered(scores, units)
		}
		for _, c := range spread(rank(scores, p.quotas[id], p.largest), unit(p.params[id])) {
			sets[i] = append(sets[i], uint32(c))
		}
	}
	return sets, nil
}

// gathered adds the scores of neighbours, so that so many are left.
func gathered(scores []float64, units int) []float64 {
	sums := make([]float64, units)
	for i, s := range scores {
		sums[i*units/len(scores)] += s
	}
	return sums
}
