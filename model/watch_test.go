package model_test

import (
	"slices"
	"testing"

	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
)

// Watch shows each linear weight once, in the order of the forward pass, with the input whose product a loss is made of, and
// changes nothing.
func TestWatchShowsTheInputsOfAllLinearWeights(t *testing.T) {
	c, err := model.Preset("tiny", model.F32)
	if err != nil {
		t.Fatal(err)
	}
	w := model.NewRandom(c, model.F32, 1)
	m := model.New(w, cpu.Ref())
	var b model.Batch
	b.Add([]int32{5, 6, 7, 8}, []bool{false, true, true, true})
	want, _ := m.Loss(b, nil)
	var seen []model.WeightID
	m.Watch(b, func(id model.WeightID, x []float32, T int) {
		seen = append(seen, id)
		p := w.Params[id]
		if T != 3 || len(x) != T*p.Cols || !slices.ContainsFunc(x, func(v float32) bool { return v != 0 }) {
			t.Errorf("%s: %d inputs for %d tokens of %d", p.Name, len(x), T, p.Cols)
		}
	})
	var linear []model.WeightID
	for id, p := range w.Params {
		if p.Module.Linear() {
			linear = append(linear, model.WeightID(id))
		}
	}
	slices.Sort(seen)
	if !slices.Equal(seen, linear) {
		t.Errorf("weights %v were shown, want %v", seen, linear)
	}
	if got, _ := m.Loss(b, nil); got != want {
		t.Errorf("loss is %v afterwards, was %v", got, want)
	}
}
