package methods

import (
	"math"
	"slices"
	"testing"

	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
)

// S²FT as published moves what it trains to the front: rows of Up and Gate and columns of Down together, which changes no output,
// and trains a range of rows and a range of columns. torc leaves weights where they are. Here is the published form, to compare with.

// frontOrder is where each channel of n comes from when those of up and down are moved to the front: (U\D), (U∩D), (D\U), the rest.
// Then the channels of up are the first, and those of down begin behind U\D.
func frontOrder(n int, up, down []int32) (order []int32, downFrom int) {
	group := func(inUp, inDown bool) {
		for c := range int32(n) {
			if slices.Contains(up, c) == inUp && slices.Contains(down, c) == inDown {
				order = append(order, c)
			}
		}
	}
	group(true, false)
	downFrom = len(order)
	group(true, true)
	group(false, true)
	group(false, false)
	return order, downFrom
}

// methods.md §7.
func TestFrontOrderMeetsItsVector(t *testing.T) {
	order, from := frontOrder(6, []int32{1, 4}, []int32{4, 5})
	if !slices.Equal(order, []int32{1, 4, 5, 0, 2, 3}) || from != 1 {
		t.Errorf("order is %v, and Down's channels begin at %d; want [1 4 5 0 2 3] and 1", order, from)
	}
}

// permuteRows and permuteColumns take row or column i from order[i], in groups of so many.
func permuteRows(w *model.Matrix, order []int32, size int) {
	was := slices.Clone(w.F32)
	for i := range w.Rows {
		from := int(order[i/size])*size + i%size
		copy(w.F32[i*w.Cols:(i+1)*w.Cols], was[from*w.Cols:(from+1)*w.Cols])
	}
}

func permuteColumns(w *model.Matrix, order []int32, size int) {
	was := slices.Clone(w.F32)
	for i := range w.Rows {
		for j := range w.Cols {
			w.F32[i*w.Cols+j] = was[i*w.Cols+int(order[j/size])*size+j%size]
		}
	}
}

// methods.md §6: the permuted model is the same model, and the slices at its front have the gradients of ours.
func TestPublishedSlicesHaveTheGradientsOfOurs(t *testing.T) {
	w, permuted := grouped(t, model.F32), grouped(t, model.F32)
	m, err := New(Config{Name: "s2ft", Up: 0.2, Down: 0.3, Select: "random"}, w, 43)
	if err != nil {
		t.Fatal(err)
	}
	s, head := m.(*s2ft), w.Config.HeadDim
	chosen := map[model.Module]map[int][]int32{model.Up: {}, model.Down: {}} // by layer
	for i, ten := range s.tensors {
		p := w.Params[ten.Weight]
		chosen[p.Module][p.Layer] = s.channels[i]
	}
	heads, groups := []int32{3, 2, 0, 1}, []int32{1, 0} // whole groups, and any order of query heads inside them
	for id, p := range permuted.Params {
		order, _ := frontOrder(w.Config.FFN, chosen[model.Up][p.Layer], chosen[model.Down][p.Layer])
		switch p.Module {
		case model.Gate, model.Up:
			permuteRows(permuted.Params[id].Matrix, order, 1)
		case model.Down:
			permuteColumns(permuted.Params[id].Matrix, order, 1)
		case model.Q:
			permuteRows(permuted.Params[id].Matrix, heads, head)
		case model.K, model.V:
			permuteRows(permuted.Params[id].Matrix, groups, head)
		case model.O:
			permuteColumns(permuted.Params[id].Matrix, heads, head)
		}
	}

	f, err := New(Config{Name: "full", Modules: "linear"}, permuted, 43)
	if err != nil {
		t.Fatal(err)
	}
	gradient := func(m Method, w *model.Weights) (loss float64, dtheta []float32) {
		net := model.New(w, cpu.Ref())
		net.Train(m.Wants)
		dtheta = make([]float32, m.Len())
		loss, _ = net.Gradient(textBatch(w.Config.Vocab), factoredSink{m, dtheta})
		return loss, dtheta
	}
	loss, ours := gradient(s, w)
	same, all := gradient(f, permuted)
	if math.Abs(loss-same) > 1e-5*loss {
		t.Fatalf("the permuted model has the loss %v, want %v", same, loss)
	}
	for i, ten := range s.tensors {
		p := w.Params[ten.Weight]
		order, downFrom := frontOrder(w.Config.FFN, chosen[model.Up][p.Layer], chosen[model.Down][p.Layer])
		from, to := 0, len(chosen[model.Up][p.Layer]) // what is published as trained: rows of Up, columns of Down
		if p.Module == model.Down {
			from, to = downFrom, downFrom+len(chosen[model.Down][p.Layer])
		}
		off := f.Tensors()[slices.IndexFunc(f.Tensors(), func(x Tensor) bool { return x.Weight == ten.Weight })].Off
		s.each(i, func(at, element int) {
			row, col := element/p.Cols, element%p.Cols
			channel := &row
			if p.Module == model.Down {
				channel = &col
			}
			if *channel = slices.Index(order, int32(*channel)); *channel < from || *channel >= to {
				t.Fatalf("%s: a trained channel is moved to %d, outside [%d, %d)", p.Name, *channel, from, to)
			}
			got, want := ours[ten.Off+at], all[off+row*p.Cols+col]
			if math.Abs(float64(got-want)) > 1e-5*(1+math.Abs(float64(want))) {
				t.Fatalf("%s[%d]: the gradient is %v, published %v", p.Name, element, got, want)
			}
		})
	}
}
