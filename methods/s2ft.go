package methods

import "github.com/torctrain/torc/model"

// s2ft trains whole channels: columns of O and Down that read them, rows of V and Up that write them, W[:, S] = θ or
// W[S, :] = θ. S is chosen once, see channels.go. Weights stay in their order: the slices of x or dY that a gradient needs
// are gathered, which works for any grouping of heads, and gradients of slices are dense products.
//
// Source: S²FT, arXiv:2412.06289. Differs: no permutation; heads of V are key-value heads; heads and channels are spread
// evenly over the layers, as in the paper, where the authors' scripts draw them from the whole model: so what is trained of
// each weight is known without the seed.
type s2ft struct {
	layout
	channels [][]int32 // of each tensor, ascending
	byColumn []bool    // whether its channels are columns
	slice    []float32 // (T, channels) of x or dY, as large as the largest yet
}

var _ Sliced = (*s2ft)(nil)

func newS2FT(l layout, params []model.ParamShape, chosen [][]int32) *s2ft {
	f := &s2ft{layout: l}
	for _, t := range l.tensors {
		f.channels = append(f.channels, chosen[t.Weight])
		f.byColumn = append(f.byColumn, readsChannels(params[t.Weight].Module))
	}
	return f
}

// readsChannels says whether the channels of a weight are columns, of what it reads, and not rows, of what it writes.
func readsChannels(m model.Module) bool { return m == model.O || m == model.Down }

// axis is how many channels a weight has, and unit how many of them are chosen together.
func axis(p model.ParamShape) int {
	if readsChannels(p.Module) {
		return p.Cols
	}
	return p.Rows
}

func unit(p model.ParamShape) int { return max(1, p.HeadDim) }

func (f *s2ft) Slices() []Slice {
	all := make([]Slice, len(f.tensors))
	for i, t := range f.tensors {
		all[i] = Slice{Weight: t.Weight, ByColumn: f.byColumn[i], Channels: f.channels[i], Off: t.Off, Len: t.Len}
	}
	return all
}

func (f *s2ft) Wants(id model.WeightID) model.Want {
	if f.of[id] < 0 {
		return model.Nothing
	}
	return model.Dense
}

// each visits the elements of tensor i: their places in θ from its offset on, and in the weight.
func (f *s2ft) each(i int, visit func(at, element int)) {
	s, at := f.shapes[i], 0
	if !f.byColumn[i] {
		for _, row := range f.channels[i] {
			for j := range s.cols {
				visit(at, int(row)*s.cols+j)
				at++
			}
		}
		return
	}
	for row := range s.rows {
		for _, col := range f.channels[i] {
			visit(at, row*s.cols+int(col))
			at++
		}
	}
}

func (f *s2ft) Start(w *model.Weights) []float32 {
	theta := make([]float32, f.len)
	for i, t := range f.tensors {
		part, m := f.part(theta, i), w.Params[t.Weight].Matrix
		f.each(i, func(at, element int) { part[at] = m.At(element) })
	}
	return theta
}

func (f *s2ft) Push(theta []float32, w *model.Weights) {
	f.mustLen("Push", len(theta))
	for i, t := range f.tensors {
		part, m := f.part(theta, i), w.Params[t.Weight].Matrix
		f.each(i, func(at, element int) { m.Set(element, part[at]) })
	}
}

// Pull does not allocate once it has seen the largest batch.
func (f *s2ft) Pull(id model.WeightID, o *model.Outer, dtheta []float32) {
	i := f.tensor(id)
	clear(dtheta)
	if f.byColumn[i] {
		o.Kernels.GradDense(dtheta, o.DY, f.gather(o.X, f.shapes[i].cols, i), o.T)
		return
	}
	o.Kernels.GradDense(dtheta, f.gather(o.DY, f.shapes[i].rows, i), o.X, o.T)
}

// gather returns the channels of tensor i of each row of x (T, width).
func (f *s2ft) gather(x []float32, width, i int) []float32 {
	channels := f.channels[i]
	n := len(x) / width * len(channels)
	if cap(f.slice) < n {
		f.slice = make([]float32, n)
	}
	out := f.slice[:n]
	for t := 0; t < n; t += len(channels) {
		row := x[:width]
		x = x[width:]
		for j, c := range channels {
			out[t+j] = row[c]
		}
	}
	return out
}

func (f *s2ft) PullWhole(id model.WeightID, _, _ []float32) { panicWhole(id) }

func (f *s2ft) Penalty(model.WeightID, []float32, []float32) float64 { return 0 }
