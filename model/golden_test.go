package model_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/safetensors"
)

// goldenTolerance is relative to the largest element of a tensor: both sides are float32 and differ in the order of sums and
// in the angles of rope, which torch rounds to float32 before it takes their sine.
const goldenTolerance = 2e-5

// lossTolerance is what torc promises of a loss: relative to that of torch in float32.
const lossTolerance = 1e-5

var goldenModels = []string{"llama", "llama31", "llama_bias", "llama_linear", "mistral", "qwen2", "qwen3", "qwen3_bias"}

func goldenDir(name string) string { return filepath.Join("testdata", name) }

// golden is what testdata/make_golden.py recorded.
type golden struct {
	batch  model.Batch
	logits []float64
	loss   float64
	file   *safetensors.File
}

func openGolden(t *testing.T, name string) golden {
	t.Helper()
	f, err := safetensors.Open(filepath.Join(goldenDir(name), "golden.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	g := golden{file: f}
	g.batch = model.Batch{Tokens: g.ints(t, "tokens"), Targets: g.ints(t, "targets"), Starts: g.ints(t, "starts")}
	g.logits, g.loss = g.floats(t, "logits"), g.floats(t, "loss")[0]
	return g
}

func (g golden) ints(t *testing.T, name string) []int32 {
	t.Helper()
	info, err := g.file.Tensor(name)
	if err != nil || info.DType != "I32" {
		t.Fatalf("tensor %s: %s, %v", name, info.DType, err)
	}
	v := make([]int32, len(info.Data)/4)
	for i := range v {
		v[i] = int32(binary.LittleEndian.Uint32(info.Data[4*i:]))
	}
	return v
}

func (g golden) floats(t *testing.T, name string) []float64 {
	t.Helper()
	info, err := g.file.Tensor(name)
	if err != nil || info.DType != "F32" {
		t.Fatalf("tensor %s: %s, %v", name, info.DType, err)
	}
	v := make([]float64, len(info.Data)/4)
	for i := range v {
		v[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(info.Data[4*i:])))
	}
	return v
}

func TestLogitsLossAndGradientsAreThoseOfTransformers(t *testing.T) {
	for _, name := range goldenModels {
		t.Run(name, func(t *testing.T) {
			g := openGolden(t, name)
			w, err := model.Load(goldenDir(name))
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range kernels(t) {
				m := model.New(w, k)
				var logits []float32
				for s := range g.batch.Sequences() {
					logits = append(logits, m.AllLogits(g.batch.Tokens[g.batch.Starts[s]:g.batch.Starts[s+1]])...)
				}
				near(t, k.Name()+" logits", logits, g.logits, goldenTolerance)

				m.Train(all(model.Sampled))
				got := newSink(t)
				loss, counted := m.Gradient(g.batch, got)
				if counted != g.batch.Counted() || math.Abs(loss-g.loss) > lossTolerance*g.loss {
					t.Errorf("%s: loss %v of %d, want %v", k.Name(), loss, counted, g.loss)
				}
				if forward, _ := m.Loss(g.batch, nil); math.Abs(forward-g.loss) > lossTolerance*g.loss {
					t.Errorf("%s: loss without gradient %v, want %v", k.Name(), forward, g.loss)
				}
				for id, p := range w.Params {
					near(t, fmt.Sprintf("%s gradient of %s", k.Name(), p.Name), got.grads[model.WeightID(id)], g.floats(t, "grad."+p.Name), goldenTolerance)
				}
			}
		})
	}
}

func TestGreedyGenerationIsThatOfTransformers(t *testing.T) {
	for _, name := range goldenModels {
		t.Run(name, func(t *testing.T) {
			g := openGolden(t, name)
			w, err := model.Load(goldenDir(name))
			if err != nil {
				t.Fatal(err)
			}
			want := g.ints(t, "greedy")
			if len(want) < 20 {
				t.Fatalf("%d tokens are generated", len(want))
			}
			for _, k := range kernels(t) {
				d := model.New(w, k).Decoder(5 + len(want))
				if got := model.Greedy(d, g.batch.Tokens[:5], len(want), nil); !slices.Equal(got, want) {
					t.Errorf("%s: %v, want %v", k.Name(), got, want)
				}
			}
		})
	}
}
