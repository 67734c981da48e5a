package methods

import (
	"fmt"

	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/model"
)

// New makes the method that c describes for the weights w. seed is the run's.
func New(c Config, w *model.Weights, seed uint64) (Method, error) {
	params := make([]model.ParamShape, len(w.Params))
	for i, p := range w.Params {
		params[i] = model.ParamShape{Name: p.Name, Layer: p.Layer, Module: p.Module, Rows: p.Rows, Cols: p.Cols}
	}
	l, err := c.layout(params)
	if err != nil {
		return nil, err
	}
	if c.Name == "full" {
		return &full{layout: l}, nil
	}
	return newLIFT(c, l, rng.New(seed).Sub(streamSelect)), nil
}

// streamSelect names the random numbers of this package among those of a run: FNV-1a of "methods/select".
const streamSelect = 0x789861892a84fdfa

// TensorCount is how much of a weight is trained.
type TensorCount struct {
	Name       string
	Rows, Cols int
	Trained    int
}

// Trained says what c would train of a model with such parameters, in the order of θ, without any weights.
func Trained(c Config, params []model.ParamShape) ([]TensorCount, error) {
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

func (c Config) layout(params []model.ParamShape) (layout, error) {
	if err := c.Validate(); err != nil {
		return layout{}, err
	}
	l, err := newLayout(params, func(p model.ParamShape) int {
		if !c.trains(p.Module) {
			return 0
		}
		if c.Name == "lift" {
			return c.budget(p.Rows, p.Cols)
		}
		return p.Rows * p.Cols
	})
	if err != nil {
		return layout{}, fmt.Errorf("lay out %s: %w", c.Name, err)
	}
	return l, nil
}

// trains says whether weights of module m are trained, by Modules.
func (c Config) trains(m model.Module) bool {
	switch c.Modules {
	case "mlp":
		return m == model.Gate || m == model.Up || m == model.Down
	case "linear":
		return m.Linear()
	}
	return true
}
