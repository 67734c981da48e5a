package methods

import (
	"fmt"

	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/model"
)

// New makes the method that c describes for the weights w, whose Config may be nil unless s2ft chooses heads. seed is the
// run's. Where s2ft chooses by the weights, it reads them now: w is the base model's.
func New(c Config, w *model.Weights, seed uint64) (Method, error) {
	params := make([]model.ParamShape, len(w.Params))
	for i, p := range w.Params {
		params[i] = model.ParamShape{Name: p.Name, Layer: p.Layer, Module: p.Module, Rows: p.Rows, Cols: p.Cols}
	}
	if w.Config != nil {
		params = w.Config.Params()
	}
	key := rng.New(seed).Sub(streamSelect)
	c, err := c.resolve(params)
	if err != nil {
		return nil, err
	}
	channels, err := c.channels(params, key, w)
	if err != nil {
		return nil, err
	}
	l, err := c.layout(params)
	if err != nil {
		return nil, err
	}
	switch c.Name {
	case "lift":
		return newLIFT(c, l, key), nil
	case "s2ft":
		if c.byData() {
			return newProbed(c, l, params)
		}
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
	c, err := c.resolve(params)
	if err != nil {
		return nil, err
	}
	l, err := c.layout(params)
	if err != nil {
		return nil, err
	}
	counts := make([]TensorCount, len(l.tensors))
	for i, t := range l.tensors {
		counts[i] = TensorCount{Name: t.Name, Rows: l.shapes[i].rows, Cols: l.shapes[i].cols, Trained: t.Len}
	}
	return counts, nil
}

// resolve checks c and spends its budget.
func (c Config) resolve(params []model.ParamShape) (Config, error) {
	if err := c.Validate(); err != nil {
		return c, err
	}
	for _, p := range params { // a filter that was asked for; one that follows from the rank or the budget may be of full rank
		if least := min(p.Rows, p.Cols); c.Filter > least && c.trains(p.Module) {
			return c, fmt.Errorf("method.filter is %d: %s is (%d, %d), use up to %d, or method.mode magnitude in its place", c.Filter, p.Name, p.Rows, p.Cols, least)
		}
	}
	return c.Spend(params)
}

// layout lays out θ, by a c that is resolved.
func (c Config) layout(params []model.ParamShape) (layout, error) {
	counts, err := c.counts(params)
	if err != nil {
		return layout{}, err
	}
	l, err := newLayout(params, counts)
	if err != nil {
		return layout{}, fmt.Errorf("lay out %s: %w", c.Name, err)
	}
	return l, nil
}

// counts is how much of each weight is trained.
func (c Config) counts(params []model.ParamShape) ([]int, error) {
	counts := make([]int, len(params))
	var units []int
	if c.Name == "s2ft" {
		var err error
		if units, err = c.quotas(params); err != nil {
			return nil, err
		}
	}
	for id, p := range params {
		switch {
		case c.Name == "s2ft":
			counts[id] = p.Rows * p.Cols / axis(p) * unit(p) * units[id]
		case !c.trains(p.Module):
		case c.Name == "lift":
			if b := c.block(); p.Rows%b.rows != 0 || p.Cols%b.cols != 0 {
				return nil, fmt.Errorf("method.block is %q: %s is (%d, %d), no multiple of it: use 1x1", c.Block, p.Name, p.Rows, p.Cols)
			}
			counts[id] = c.count(p.Rows, p.Cols)
		case c.lowRank():
			if least := min(p.Rows, p.Cols); c.Rank > least {
				return nil, fmt.Errorf("method.rank is %d: %s is (%d, %d), use up to %d", c.Rank, p.Name, p.Rows, p.Cols, least)
			}
			counts[id] = (p.Rows+p.Cols)*c.Rank + c.values()
		default:
			counts[id] = p.Rows * p.Cols
		}
	}
	return counts, nil
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
