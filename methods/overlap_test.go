package methods

import (
	"math"
	"slices"
	"testing"

	"github.com/torctrain/torc/model"
)

func TestMagnitudeOverlapIsThatOfTheLargest(t *testing.T) {
	w := model.NewMatrix(model.F32, 2, 4)
	copy(w.F32, []float32{-8, 1, 2, 0, 4, -4, 4, 16})
	for _, c := range []struct {
		set  []uint32
		want float64
	}{
		{[]uint32{0, 7}, 1},
		{[]uint32{0, 1}, 0.5},
		{[]uint32{1, 3}, 0},
		{[]uint32{0, 4, 7}, (2 + 1./3) / 3}, // one place for three of size 4
		{[]uint32{0, 1, 2, 3, 4, 5, 6, 7}, 1},
		{nil, 0},
	} {
		if got := MagnitudeOverlap(w, c.set); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("of %v it is %v, want %v", c.set, got, c.want)
		}
	}
	for _, d := range []model.DType{model.F32, model.BF16, model.F16} {
		all := small(d, 4).Params
		w := all[slices.IndexFunc(all, func(p model.Param) bool { return p.Module == model.Down })].Matrix
		c := liftConfig(2)
		plain, err := LargestSet(c, w, 40)
		if err != nil {
			t.Fatal(err)
		}
		if got := MagnitudeOverlap(w, plain); got < 0.95 {
			t.Errorf("%s: the largest overlap with themselves by %v", d, got)
		}
		rest := make([]uint32, 0, 40)
		for i := uint32(0); len(rest) < 40; i++ {
			if _, in := slices.BinarySearch(plain, i); !in {
				rest = append(rest, i)
			}
		}
		if got := MagnitudeOverlap(w, rest); got > 0.05 {
			t.Errorf("%s: others overlap with the largest by %v", d, got)
		}
	}
}
