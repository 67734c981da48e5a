package train

import (
	"context"
	"log/slog"
	"testing"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/internal/view"
	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
	"github.com/torctrain/torc/sharding"
)

// drillData are samples as short as the demo's.
type drillData struct{ vocab int }

func (d drillData) Examples(step uint64, lane int) ([]sharding.Example, error) {
	x := sharding.Example{Tokens: make([]int32, 60), Counted: make([]bool, 60)}
	for j := range x.Tokens {
		x.Tokens[j], x.Counted[j] = int32((j*7+lane)%d.vocab), j > 40
	}
	return []sharding.Example{x}, nil
}

// BenchmarkStep is one step of the demo's size on one member: 32 lanes of 60 tokens.
func BenchmarkStep(b *testing.B) {
	for name, c := range map[string]methods.Config{"lift": liftOf(4), "full": methods.Default("full"), "lora": ranked("lora"), "sorsa": ranked("sorsa")} {
		b.Run(name, func(b *testing.B) {
			config, err := model.Preset("tiny", model.BF16)
			if err != nil {
				b.Fatal(err)
			}
			w := model.NewRandom(config, model.BF16, 1)
			r := &spec.Resolved{Spec: spec.Default(c.Name)}
			r.Method = c
			k, err := cpu.New(2, cpu.Auto)
			if err != nil {
				b.Fatal(err)
			}
			defer k.Close()
			method, err := methods.New(c, w, 1)
			if err != nil {
				b.Fatal(err)
			}
			if err := methods.Prepare(method, []model.Kernels{k}, w); err != nil {
				b.Fatal(err)
			}
			job := &Job{Spec: r, SpecHash: [32]byte{1}, Steps: uint64(b.N) + 1, Kernels: k, Workers: []model.Kernels{k}, Weights: w, Method: method, Train: drillData{config.Vocab}}
			v := &view.View{Run: "bench", Members: []view.Member{{}}, Owner: make([]int, 32), Ring: []int{0}}
			net := allreduce.MemNet(1)
			id := allreduce.Identity{Run: v.Run, View: v.Hash(), Members: 1, Order: v.Ring}
			ring := allreduce.NewRing(id, net.Mesh(id), r.Reduce)
			defer ring.Close()
			t, err := NewTrainer(job, nil, &heard{}, slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			if err := t.Run(context.Background(), v, 0, ring); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(32*60*(b.N+1))/b.Elapsed().Seconds(), "tokens/s")
		})
	}
}

func ranked(name string) methods.Config {
	c := methods.Default(name)
	c.Rank = 4
	return c
}

func liftOf(rank int) methods.Config {
	c := methods.Default("lift")
	c.Rank, c.Refresh = rank, 0
	return c
}
