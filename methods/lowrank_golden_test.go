package methods

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"strconv"
	"testing"

	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
	"github.com/torctrain/torc/model/safetensors"
)

type lowRankGolden struct {
	Steps, Rank         int
	LR, Warmup          float64
	Lambda, Alpha, Clip float64
	Texts               [][]int32
	Losses              map[string][]float64
}

// testdata/make_lowrank.py trains the same model with PyTorch by the definitions, with dense products and autograd: gradient,
// clip, penalty, AdamW, six times.
func TestLowRankMethodsTrainAModelAsTheirDefinitionsDo(t *testing.T) {
	var want lowRankGolden
	text, err := os.ReadFile("testdata/lowrank/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	for name, losses := range want.Losses {
		t.Run(name, func(t *testing.T) { followGolden(t, name, want, losses) })
	}
}

func followGolden(t *testing.T, name string, want lowRankGolden, losses []float64) {
	w, err := model.Load("testdata/lowrank")
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Name: name, Rank: want.Rank}
	switch name {
	case "sorsa":
		c.Lambda, c.Penalty = strconv.FormatFloat(want.Lambda, 'g', -1, 64), "frobenius"
	case "lora":
		c.Alpha = want.Alpha
	}
	m, err := New(c, w, 1)
	if err != nil {
		t.Fatal(err)
	}
	f := m.(Factored)
	if err := f.Prepare([]model.Kernels{cpu.Ref()}, w); err != nil {
		t.Fatal(err)
	}
	theta := f.Start(w)
	startAsGolden(t, name, f, theta)
	f.Push(theta, w)
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
	o := DefaultOptimizer(name)
	o.LR, o.Warmup, o.Schedule, o.Clip = want.LR, want.Warmup, "linear", want.Clip
	moment, v, g := make([]float32, f.Len()), make([]float32, f.Len()), make([]float32, f.Len())
	for step := uint64(1); step <= uint64(want.Steps); step++ {
		loss, counted := net.Gradient(batch, factoredSink{f, g})
		if d := math.Abs(loss - losses[step-1]); d > 2e-5*loss {
			t.Errorf("step %d: loss is %v, want %v", step, loss, losses[step-1])
		}
		var norm Norm
		for i := range g {
			g[i] /= float32(counted)
		}
		norm.Add(g)
		factor := ClipFactor(norm.Value(), o.Clip)
		for i := range g {
			g[i] *= factor
		}
		eachWeight(f, func(id model.WeightID, from, to int) { f.Penalty(id, theta[from:to], g[from:to]) })
		AdamW(theta, moment, v, g, o.Step(step, o.Rate(step, uint64(want.Steps))))
		f.Push(theta, w)
	}
	if loss, _ := net.Loss(batch, nil); math.Abs(loss-losses[want.Steps]) > 2e-5*loss {
		t.Errorf("loss in the end is %v, want %v", loss, losses[want.Steps])
	}
	f.Merge(cpu.Ref(), theta, w)
	for name, values := range floats(t, "testdata/lowrank/"+name+".safetensors") {
		id, _ := w.ID(name)
		for j, x := range w.Params[id].F32 {
			if math.Abs(float64(x-values[j])) > 2e-4 {
				t.Errorf("%s[%d] is %v, want %v", name, j, x, values[j])
			}
		}
	}
}

// startAsGolden gives LoRA the golden's random start, and moves SORSA's factors away from orthonormality as the golden does.
func startAsGolden(t *testing.T, name string, f Factored, theta []float32) {
	starts := floats(t, "testdata/lowrank/lora_start.safetensors")
	for _, part := range f.Tensors() {
		v, weight, factor := theta[part.Off:part.Off+part.Len], part.Name[:len(part.Name)-2], part.Name[len(part.Name)-1]
		switch {
		case name == "lora" && factor == 'A':
			copy(v, starts[weight])
		case name == "sorsa" && factor == 'A':
			fold(v, v, 0, len(v), 1.05)
		case name == "sorsa" && factor == 'B':
			fold(v, v, 0, len(v), 0.97)
		}
	}
}

// eachWeight visits the parts of θ that belong to one weight.
func eachWeight(m Method, visit func(id model.WeightID, from, to int)) {
	tensors := m.Tensors()
	for i := 0; i < len(tensors); {
		id, from, to := tensors[i].Weight, tensors[i].Off, 0
		for ; i < len(tensors) && tensors[i].Weight == id; i++ {
			to = tensors[i].Off + tensors[i].Len
		}
		visit(id, from, to)
	}
}

// floats reads all tensors of a file of F32.
func floats(t *testing.T, path string) map[string][]float32 {
	t.Helper()
	file, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	all := map[string][]float32{}
	for _, name := range file.Names() {
		info, err := file.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(info.Data); i += 4 {
			all[name] = append(all[name], math.Float32frombits(binary.LittleEndian.Uint32(info.Data[i:])))
		}
	}
	return all
}
