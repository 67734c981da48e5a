package model_test

import (
	"math"
	"testing"

	"github.com/torctrain/torc/model"
)

// halves are the two 16-bit types: how to widen and round them, and the bits of their infinity.
var halves = map[model.DType]struct {
	widen func(uint16) float32
	round func(float32) uint16
	inf   uint16
}{
	model.F16:  {model.FromF16, model.ToF16, 0x7c00},
	model.BF16: {model.FromBF16, model.ToBF16, 0x7f80},
}

func TestEveryHalfSurvivesWidening(t *testing.T) {
	for d, h := range halves {
		previous := float32(-1)
		for b := range 1 << 16 {
			bits := uint16(b)
			v := h.widen(bits)
			if bits&0x7fff > h.inf {
				if v == v || h.round(v)&0x7fff <= h.inf {
					t.Fatalf("%v: NaN %04x becomes %v", d, bits, v)
				}
				continue
			}
			if got := h.round(v); got != bits {
				t.Fatalf("%v: %04x is %v, which rounds to %04x", d, bits, v, got)
			}
			if bits <= h.inf {
				if v <= previous {
					t.Fatalf("%v: %04x is %v, not above %v", d, bits, v, previous)
				}
				previous = v
			}
		}
	}
}

// Between two neighbours everything rounds to the nearer one, and the middle to the even one; also up to infinity.
func TestHalvesRoundToNearestEven(t *testing.T) {
	for d, h := range halves {
		for b := range int(h.inf) {
			low, high := uint16(b), uint16(b+1)
			a, z := float64(h.widen(low)), float64(h.widen(high))
			if high == h.inf {
				z = 2*a - float64(h.widen(low-1)) // where the next finite one would be
			}
			middle := float32((a + z) / 2)
			even := low + low&1
			for _, c := range []struct {
				v    float32
				want uint16
			}{{middle, even}, {math.Nextafter32(middle, 0), low}, {math.Nextafter32(middle, float32(math.Inf(1))), high}} {
				if got := h.round(c.v); got != c.want {
					t.Fatalf("%v: %v rounds to %04x, want %04x", d, c.v, got, c.want)
				}
				if got := h.round(-c.v); got != c.want|0x8000 {
					t.Fatalf("%v: %v rounds to %04x, want %04x", d, -c.v, got, c.want|0x8000)
				}
			}
		}
	}
}

func TestMatrixReadsWhatItStored(t *testing.T) {
	for _, d := range []model.DType{model.F32, model.F16, model.BF16} {
		m := model.NewMatrix(d, 2, 3)
		var stored []float32
		for i := range m.Len() {
			stored = append(stored, m.Set(i, float32(i)/3))
		}
		got := make([]float32, 4)
		m.Read(got, 1)
		for i, v := range got {
			if v != stored[i+1] || v != m.At(i+1) || math.Abs(float64(v)-float64(i+1)/3) > 0x1p-8 {
				t.Errorf("%v: element %d reads %v, stored %v", d, i+1, v, stored[i+1])
			}
		}
		if s := m.T.Shape(); s[0] != 2 || s[1] != 3 {
			t.Errorf("%v: tensor of shape %v", d, s)
		}
		if d == model.F32 && &m.T.Float32s()[0] != &m.F32[0] {
			t.Error("the tensor is a copy")
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a matrix over too few elements does not panic")
		}
	}()
	model.MatrixOver32(make([]float32, 5), 2, 3)
}
