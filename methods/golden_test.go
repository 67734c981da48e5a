package methods

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
	"github.com/torctrain/torc/model/safetensors"
)

// sink pulls the gradients of one batch into a vector laid out like θ.
type sink struct {
	m      Method
	dtheta []float32
}

func (s sink) part(id model.WeightID) []float32 {
	for _, t := range s.m.Tensors() {
		if t.Weight == id {
			return s.dtheta[t.Off : t.Off+t.Len]
		}
	}
	panic("a gradient nobody wants")
}

func (s sink) Outer(id model.WeightID, o *model.Outer) { s.m.Pull(id, o, s.part(id)) }
func (s sink) Whole(id model.WeightID, dw []float32)   { s.m.PullWhole(id, dw, s.part(id)) }

// testdata/make_lift.py trains the same model with PyTorch by the definition of LIFT: full decomposition, dense gradient,
// moments scattered and gathered. Nine steps, with selections before steps 1, 3, 6 and 9.
func TestLIFTTrainsAModelAsItsDefinitionDoes(t *testing.T) {
	var want struct {
		Steps, Refresh, Rank int
		LR, Warmup           float64
		Texts                [][]int32
		Rates, Losses        []float64
	}
	text, err := os.ReadFile("testdata/lift/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	w, err := model.Load("testdata/lift")
	if err != nil {
		t.Fatal(err)
	}
	f := newLIFTFor(t, w, Config{Name: "lift", Modules: "linear", Rank: want.Rank, Refresh: want.Refresh})
	net := model.New(w, cpu.Ref())
	net.Train(f.Wants)
	var batch model.Batch
	for _, ids := range want.Texts {
		counted := make([]bool, len(ids))
		for i := range counted {
			counted[i] = i > 0
		}
		batch.Add(ids, counted)
	}
	o := DefaultOptimizer("lift")
	o.LR, o.Warmup = want.LR, want.Warmup
	theta, m, v, g := f.Start(w), make([]float32, f.Len()), make([]float32, f.Len()), make([]float32, f.Len())
	for step := uint64(1); step <= uint64(want.Steps); step++ {
		if f.Due(step) {
			adopt(t, f, selectAll(t, f, w), w, theta, m, v)
		}
		loss, counted := net.Gradient(batch, sink{f, g})
		if d := math.Abs(loss - want.Losses[step-1]); d > 2e-5*loss {
			t.Errorf("step %d: loss is %v, want %v", step, loss, want.Losses[step-1])
		}
		for i := range g {
			g[i] /= float32(counted)
		}
		rate := o.Rate(step, uint64(want.Steps))
		if math.Abs(rate-want.Rates[step-1]) > 1e-12 {
			t.Errorf("step %d: rate is %v, want %v", step, rate, want.Rates[step-1])
		}
		AdamW(theta, m, v, g, o.Step(step, rate))
		f.Push(theta, w)
	}
	if loss, _ := net.Loss(batch, nil); math.Abs(loss-want.Losses[want.Steps]) > 2e-5*loss {
		t.Errorf("loss in the end is %v, want %v", loss, want.Losses[want.Steps])
	}
	compareTrained(t, f, w)
}

// compareTrained holds the weights against those PyTorch trained. A step moves a value by up to the rate of 4e-3.
func compareTrained(t *testing.T, f Refresher, w *model.Weights) {
	t.Helper()
	file, err := safetensors.Open("testdata/lift/trained.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	base, err := model.Load("testdata/lift")
	if err != nil {
		t.Fatal(err)
	}
	retired := 0
	for i, s := range f.Selected() {
		p := w.Params[s.Weight]
		info, err := file.Tensor(p.Name)
		if err != nil {
			t.Fatal(err)
		}
		for j, x := range p.F32 {
			want := math.Float32frombits(binary.LittleEndian.Uint32(info.Data[4*j:]))
			if math.Abs(float64(x-want)) > 1e-4 || (x == base.Params[s.Weight].F32[j]) != (want == base.Params[s.Weight].F32[j]) {
				t.Errorf("%s[%d] is %v, want %v; it was %v", p.Name, j, x, want, base.Params[s.Weight].F32[j])
			}
		}
		retired += len(f.Retired()[i].At)
	}
	if retired == 0 {
		t.Error("no coordinate ever left a set: the refreshes showed nothing")
	}
}
