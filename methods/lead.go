package methods

import "github.com/torctrain/torc/model"

// Begins says whether the selection of a refresh starts before this step, in the background: lead steps ahead of a step that is
// due. The first selection has nothing to be ahead of.
func (f *lift) Begins(step uint64) bool {
	return f.c.Lead > 0 && step > 1 && f.Due(step+uint64(f.c.Lead)) && step+uint64(f.c.Lead) > 1
}

// AsOf is a copy of weight id as it was when θ was pending, under the sets of now: what a selection that began then looks at,
// also for a member that joined since. w has θ of now.
func (f *lift) AsOf(id model.WeightID, pending []float32, w *model.Weights) *model.Matrix {
	f.mustLen("AsOf", len(pending))
	p, i := w.Params[id], f.tensor(id)
	then := model.NewMatrix(p.DType, p.Rows, p.Cols)
	copy(then.F32, p.F32)
	copy(then.U16, p.U16)
	scatter(then, f.sets[i], f.part(pending, i))
	return then
}
