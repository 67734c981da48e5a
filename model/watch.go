package model

// Watch runs b forward and shows the input x (T, n) of every linear weight on its way, which is good until watch returns.
func (m *Llama) Watch(b Batch, watch func(id WeightID, x []float32, T int)) {
	b.mustFit(m.c)
	if len(b.Tokens) == 0 {
		return
	}
	m.training, m.watch = false, watch
	m.forward(b, m.c.Layers)
	m.watch = nil
}
