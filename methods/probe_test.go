package methods

import (
	"math"
	"slices"
	"testing"

	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
)

// unchosen is an s2ft on the small model whose channels a probe is to choose.
func unchosen(t *testing.T, c Config) (*probed, *channelProbe, *model.Weights) {
	t.Helper()
	w := grouped(t, model.F32)
	f, err := New(c, w, 1)
	if err != nil {
		t.Fatal(err)
	}
	return f.(*probed), f.(*probed).probe, w
}

// scoresOf runs a probe over a batch.
func scoresOf(p *channelProbe, w *model.Weights, b model.Batch) []float64 {
	totals := make([]float64, p.Len())
	gather := func(id model.WeightID, score func(scores []float32)) {
		if p.of[id] < 0 {
			return
		}
		t := p.tensors[p.of[id]]
		scores := make([]float32, t.Len)
		score(scores)
		for i, s := range scores {
			totals[t.Off+i] = float64(s)
		}
	}
	net := model.New(w, cpu.Ref())
	if p.Forward() {
		net.Watch(b, func(id model.WeightID, x []float32, T int) {
			gather(id, func(scores []float32) { p.Input(id, x, T, scores) })
		})
		return totals
	}
	net.Train(p.Wants)
	net.Gradient(b, probeSink(func(id model.WeightID, o *model.Outer) {
		gather(id, func(scores []float32) { p.Pull(id, o, scores) })
	}))
	return totals
}

type probeSink func(model.WeightID, *model.Outer)

func (s probeSink) Outer(id model.WeightID, o *model.Outer) { s(id, o) }
func (s probeSink) Whole(model.WeightID, []float32)         { panic("a gradient nobody wants") }

// A head or channel that nothing flows through has the least activation, and none of its columns a gradient.
func TestProbeFindsSilentChannels(t *testing.T) {
	for _, by := range []string{"activation", "gradient"} {
		for _, largest := range []string{"smallest-", "largest-"} {
			c := Config{Name: "s2ft", O: 0.26, Down: 0.1, V: 0.5, Up: 0.1, Select: largest + by}
			f, p, w := unchosen(t, c)
			// Silence channels 3, 4 of the MLP and the first key-value head, with its two query heads, in every layer.
			for id, x := range w.Params {
				s := w.Config.Params()[id]
				for i := range x.Len() {
					row := i / x.Cols
					if x.Module == model.Up && (row == 3 || row == 4) || x.Module == model.V && row/s.HeadDim == 0 {
						x.Set(i, 0)
					}
				}
			}
			totals := scoresOf(p, w, textBatch(w.Config.Vocab))
			sets, err := p.Choose(totals)
			if err != nil {
				t.Fatal(err)
			}
			theta, m, v := f.Start(w), make([]float32, f.Len()), make([]float32, f.Len())
			if err := f.Adopt(sets, w, theta, m, v); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(theta, f.Start(w)) || !slices.ContainsFunc(theta, func(x float32) bool { return x != 0 }) {
				t.Errorf("%s%s: θ is not what the weights have", largest, by)
			}
			for i, ten := range f.tensors {
				s := w.Config.Params()[ten.Weight]
				silent := func(c int32) bool {
					switch s.Module {
					case model.O:
						return c < 2*6
					case model.V:
						return c < 6
					}
					return c == 3 || c == 4
				}
				if got := len(f.channels[i]) * s.Rows * s.Cols / axis(s); got != ten.Len || !slices.IsSorted(f.channels[i]) {
					t.Errorf("%s%s, %s: channels %v make %d values, want %d", largest, by, ten.Name, f.channels[i], got, ten.Len)
				}
				if s.Module == model.Up && by == "gradient" || s.Module == model.V && by == "gradient" {
					continue // of a silent channel's own rows the gradient need not be small
				}
				quiet := 0
				for _, c := range f.channels[i] {
					if silent(c) {
						quiet++
					}
				}
				want := 0
				if largest == "smallest-" {
					want = min(len(f.channels[i]), map[model.Module]int{model.O: 12, model.V: 6, model.Up: 2, model.Down: 2}[s.Module])
				}
				if quiet != want {
					t.Errorf("%s%s, %s: channels %v, %d of them silent, want %d", largest, by, ten.Name, f.channels[i], quiet, want)
				}
			}
		}
	}
}

// Scores of lanes that are rounded and added as integers choose the same, however lanes are dealt out: they are sums over
// tokens, so those of a batch are those of its sequences together.
func TestScoresOfLanesAddUp(t *testing.T) {
	_, p, w := unchosen(t, Config{Name: "s2ft", O: 0.26, Down: 0.1, Select: "largest-activation"})
	whole := textBatch(w.Config.Vocab)
	var parts [2]model.Batch
	for s := range 2 {
		from, to := whole.Starts[s], whole.Starts[s+1]
		parts[s] = model.Batch{Tokens: whole.Tokens[from:to], Targets: whole.Targets[from:to], Starts: []int32{0, to - from}}
	}
	want, a, b := scoresOf(p, w, whole), scoresOf(p, w, parts[0]), scoresOf(p, w, parts[1])
	for i := range want {
		if math.Abs(a[i]+b[i]-want[i]) > 1e-5*want[i] {
			t.Errorf("score %d is %v and %v, together %v", i, a[i], b[i], want[i])
		}
	}
	if _, err := p.Choose(want[1:]); err == nil {
		t.Error("a score is missing: no error")
	}
}

// A selection that began steps ago sees the weights of then, whoever makes it.
func TestLeadingSelectionSeesTheWeightsOfItsStart(t *testing.T) {
	c := liftConfig(2)
	c.Refresh, c.Lead = 10, 3
	for _, d := range []model.DType{model.F32, model.BF16} {
		w := small(d, 4)
		f := newLIFTFor(t, w, c).(*lift)
		theta, m, v := f.Start(w), make([]float32, f.Len()), make([]float32, f.Len())
		adopt(t, f, selectAll(t, f, w), w, theta, m, v)
		var pending []float32
		var then []*model.Matrix
		for step := uint64(1); step <= 9; step++ {
			if f.Begins(step) {
				if step != 7 {
					t.Errorf("a selection begins before step %d, want 7", step)
				}
				pending = slices.Clone(theta)
				for _, s := range f.Selected() {
					x := w.Params[s.Weight]
					seen := model.NewMatrix(d, x.Rows, x.Cols)
					copy(seen.F32, x.F32)
					copy(seen.U16, x.U16)
					then = append(then, seen)
				}
			}
			train(f, w, DefaultOptimizer("lift"), step, theta, m, v)
		}
		for i, s := range f.Selected() {
			mustSameBits(t, w.Params[s.Weight].Name, f.AsOf(s.Weight, pending, w), then[i])
		}
	}
}

// What is restored is what was adopted; channels that cannot be are refused and change nothing.
func TestChannelsOfAStateAreChecked(t *testing.T) {
	f, p, w := unchosen(t, Config{Name: "s2ft", O: 0.26, Down: 0.1, Select: "smallest-activation"})
	sets, err := p.Choose(scoresOf(p, w, textBatch(w.Config.Vocab)))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Restore(sets, nil, w); err != nil {
		t.Fatal(err)
	}
	channels := slices.Clone(f.channels)
	head := slices.IndexFunc(f.units, func(u int) bool { return u > 1 })
	for name, spoil := range map[string]func(bad [][]uint32) [][]uint32{
		"a set too few":     func(bad [][]uint32) [][]uint32 { return bad[1:] },
		"a channel too few": func(bad [][]uint32) [][]uint32 { bad[0] = bad[0][1:]; return bad },
		"a channel twice":   func(bad [][]uint32) [][]uint32 { bad[0] = append(bad[0][:1:1], bad[0][:len(bad[0])-1]...); return bad },
		"outside the weight": func(bad [][]uint32) [][]uint32 {
			bad[0] = append(bad[0][:len(bad[0])-1:len(bad[0])-1], 1<<20)
			return bad
		},
		"parts of two heads":  func(bad [][]uint32) [][]uint32 { bad[head] = shifted(bad[head]); return bad },
		"retired coordinates": nil,
		"a gap inside a head ": func(bad [][]uint32) [][]uint32 {
			bad[head] = slices.Clone(bad[head])
			bad[head][len(bad[head])-1]++
			return bad
		},
	} {
		bad, retired := slices.Clone(sets), []Sparse(nil)
		if spoil != nil {
			bad = spoil(bad)
		} else {
			retired = make([]Sparse, len(sets))
		}
		if err := f.Restore(bad, retired, w); err == nil {
			t.Errorf("%s: no error", name)
		}
		for i := range channels {
			if !slices.Equal(f.channels[i], channels[i]) {
				t.Errorf("%s: what was refused changed the channels of %s", name, f.tensors[i].Name)
			}
		}
	}
	if err := f.Restore(nil, nil, w); err != nil || f.Sets() != nil {
		t.Errorf("the state before the choice has sets %v (%v)", f.Sets(), err)
	}
}

// shifted moves channels by half a head.
func shifted(set []uint32) []uint32 {
	moved, by := slices.Clone(set), uint32(3)
	if set[0] > 0 {
		by = -by
	}
	for i := range moved {
		moved[i] += by
	}
	return moved
}
