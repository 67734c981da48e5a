package model_test

import (
	"fmt"
	"testing"

	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
)

// pull takes gradients as a method does: full forms all of dW, the others a twentieth of its elements.
type pull struct {
	dw []float32
	at map[model.WeightID][]uint32
}

func (p *pull) Outer(id model.WeightID, o *model.Outer) {
	n := len(o.X) / o.T
	if at := p.at[id]; at != nil {
		o.Kernels.GradAt(p.dw[:len(at)], o.DYT, o.XT, at, n, o.T)
		return
	}
	o.Kernels.GradDense(p.dw[:len(o.DY)/o.T*n], o.DY, o.X, o.T)
}

func (p *pull) Whole(model.WeightID, []float32) {}

// BenchmarkGradient is one micro-batch of 512 tokens, half of which count, of four layers of smollm-135m and its head.
func BenchmarkGradient(b *testing.B) {
	preset, err := model.Preset("smollm-135m", model.BF16)
	if err != nil {
		b.Fatal(err)
	}
	c, err := preset.With(map[string]any{"num_hidden_layers": 4})
	if err != nil {
		b.Fatal(err)
	}
	w := model.NewRandom(c, model.BF16, 1)
	ids, counted := make([]int32, 512), make([]bool, 512)
	for i := range ids {
		ids[i], counted[i] = int32(i*7919%c.Vocab), i >= 256
	}
	var batch model.Batch
	batch.Add(ids, counted)
	shapes := c.Params()
	for _, threads := range []int{1, 2} {
		for _, kind := range []string{"loss", "linear frozen", "sampled", "dense"} {
			b.Run(fmt.Sprintf("%s/threads=%d", kind, threads), func(b *testing.B) {
				k, err := cpu.New(threads, cpu.Auto)
				if err != nil {
					b.Fatal(err)
				}
				defer k.Close()
				m := model.New(w, k)
				sink := &pull{dw: make([]float32, c.Hidden*c.FFN), at: map[model.WeightID][]uint32{}}
				m.Train(func(id model.WeightID) model.Want {
					switch {
					case kind == "loss":
						return model.Nothing
					case kind == "linear frozen" && shapes[id].Module == model.AttnNorm, kind == "dense" && shapes[id].Module.Linear():
						return model.Dense
					case kind == "sampled" && shapes[id].Module.Linear():
						for i := 0; i < shapes[id].Len(); i += 20 {
							sink.at[id] = append(sink.at[id], uint32(i))
						}
						return model.Sampled
					}
					return model.Nothing
				})
				for b.Loop() {
					if kind == "loss" {
						m.Loss(batch, nil)
					} else {
						m.Gradient(batch, sink)
					}
				}
				b.ReportMetric(float64(len(batch.Tokens)*b.N)/b.Elapsed().Seconds(), "tokens/s")
			})
		}
	}
}

// BenchmarkDecode is one token of greedy decoding after 256 others, of the whole smollm-135m.
func BenchmarkDecode(b *testing.B) {
	c, err := model.Preset("smollm-135m", model.BF16)
	if err != nil {
		b.Fatal(err)
	}
	k, err := cpu.New(2, cpu.Auto)
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close()
	m := model.New(model.NewRandom(c, model.BF16, 1), k)
	const room = 1024
	d := m.Decoder(room)
	one := []int32{1}
	for b.Loop() {
		if d.Room() == 0 || d.Len() == 0 {
			d.Reset()
			d.Next(make([]int32, 256))
		}
		d.Next(one)
	}
}
