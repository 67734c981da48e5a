package methods

import (
	"fmt"

	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/model"
)

// New makes the method that c describes for the weights w, whose Config may be nil unless s2ft chooses heads. seed is the
// run's.
func New(c Config, w *model.Weights, seed uint64) (Method, error) {
	params := make([]model.ParamShape, len(w.Params))
	for i, p := range w.Params {
		params[i] = model.ParamShape{Name: p.Name, Layer: p.Layer, Module: p.Module, Rows: p.Rows, Cols: p.Cols}
	}
	if w.Config != nil {
		params = w.Config.Params()
	}
	key := rng.New(seed).Sub(streamSelect)
	l, channels, err := c.layout(params, key)
	if err != nil {
		return nil, err
	}
	switch c.Name {
	case "lift":
		return newLIFT(c, l, key), nil
	case "s2ft":
		return newS2FT(l, params, channels), nil
	case "sorsa":
		return newSORSA(newLowRank(c, l, rng.New(seed).Sub(streamFactors))), nil
	case "pissa":
		return &pissa{newLowRank(c, l, rng.New(seed).Sub(streamFactors))}, nil
	case "lora":
		return &lora{newLowRank(c, l, rng.New(seed).Sub(streamFactors))}, nil
	}
	return &full{layout: l}, nil
}

// Names of the random numbers of this package among those of a run: FNV-1a of "methods/select" and "methods/factors".
const (
	streamSelect  = 0x789861892a84fdfa
	streamFactors = 0xfc852d8f833554c2
)

// TensorCount is how much of a weight is trained.
type TensorCount struct {
	Name       string
	Rows, Cols int
	Trained    int
}

// Trained says what c would train of a model with such parameters, in the order of θ, without any weights.
func Trained(c Config, params []model.ParamShape) ([]TensorCount, error) {
	l, _, err := c.layout(params, rng.New(0)) // how many channels, if not which, does not depend on the seed
	if err != nil {
		return nil, err
	}
	counts := make([]TensorCount, len(l.tensors))
	for i, t := range l.tensors {
		counts[i] = TensorCount{Name: t.Name, Rows: l.shapes[i].rows, Cols: l.shapes[i].cols, Trained: t.Len}
	}
	return counts, nil
}

// layout lays out θ. For s2ft it also returns the chosen channels of each weight.
func (c Config) layout(params []model.ParamShape, key rng.Key) (l layout, channels [][]int32, err error) {
	if err := c.Validate(); err != nil {
		return layout{}, nil, err
	}
	var counts []int
	if c.Name == "s2ft" {
		channels = c.chooseChannels(params, key)
	}
	for id, p := range params {
		n := p.Rows * p.Cols
		switch {
		case c.Name == "s2ft":
			n = n / axis(p) * len(channels[id])
		case !c.trains(p.Module):
			n = 0
		case c.Name == "lift":
			n = c.budget(p.Rows, p.Cols)
		case c.lowRank():
			if least := min(p.Rows, p.Cols); c.Rank > least {
				return layout{}, nil, fmt.Errorf("method.rank is %d: %s is (%d, %d), use up to %d", c.Rank, p.Name, p.Rows, p.Cols, least)
			}
			n = (p.Rows+p.Cols)*c.Rank + c.values()
		}
		counts = append(counts, n)
	}
	if l, err = newLayout(params, counts); err != nil {
		return layout{}, nil, fmt.Errorf("lay out %s: %w", c.Name, err)
	}
	return l, channels, nil
}

// trains says whether weights of module m are trained, by Modules.
func (c Config) trains(m model.Module) bool {
	switch {
	case c.Modules == "mlp":
		return m == model.Gate || m == model.Up || m == model.Down
	case c.Modules == "linear", c.lowRank():
		return m.Linear()
	}
	return true
}
