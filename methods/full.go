package methods

import "github.com/torctrain/torc/model"

// full trains every element of the weights it covers: θ is their fp32 master copy.
type full struct{ layout }

var _ Method = (*full)(nil)

func (f *full) Wants(id model.WeightID) model.Want {
	if f.of[id] < 0 {
		return model.Nothing
	}
	return model.Dense
}

func (f *full) Start(w *model.Weights) []float32 {
	theta := make([]float32, f.len)
	for i, t := range f.tensors {
		w.Params[t.Weight].Read(f.part(theta, i), 0)
	}
	return theta
}

func (f *full) Push(theta []float32, w *model.Weights) {
	f.mustLen("Push", len(theta))
	for i, t := range f.tensors {
		write(w.Params[t.Weight].Matrix, f.part(theta, i))
	}
}

// write stores all elements of w, each rounded to its type.
func write(w *model.Matrix, v []float32) {
	switch w.DType {
	case model.F32:
		copy(w.F32, v)
	case model.BF16:
		for i, x := range v {
			w.U16[i] = model.ToBF16(x)
		}
	case model.F16:
		for i, x := range v {
			w.U16[i] = model.ToF16(x)
		}
	}
}

func (f *full) Pull(id model.WeightID, o *model.Outer, dtheta []float32) {
	clear(dtheta)
	o.Kernels.GradDense(dtheta, o.DY, o.X, o.T)
}

func (f *full) PullWhole(_ model.WeightID, dw, dtheta []float32) { copy(dtheta, dw) }

func (f *full) Penalty(model.WeightID, []float32, []float32) float64 { return 0 }
