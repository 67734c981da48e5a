package methods

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"math"

	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/model"
)

// KnownAnswer is a hash of what this package computes from fixed operands with k: the approximation and the set that Select
// finds for small weights, tall and wide, and the scalars of some optimizer steps; in a few milliseconds. Together with the
// kernels' own answer it says whether two members would train alike.
func KnownAnswer(k model.Kernels) [32]byte {
	h := sha256.New()
	for i, s := range []shape{{41, 23}, {19, 37}, {200, 101}} {
		w, key := model.NewMatrix(model.BF16, s.rows, s.cols), rng.New(uint64(i))
		for j := range w.Len() {
			w.Set(j, float32(key.Float64(uint64(j))-0.5)*float32(1+j%s.cols))
		}
		newPrincipal(k, w, 3, key).tiles(func(_ int, scores []float32) { hashFloats(h, scores...) })
		set, err := principalSet(k, w, 3, 2*s.cols, key)
		if err != nil {
			h.Write([]byte(err.Error()))
		}
		h.Write(EncodeSet(nil, set))
	}
	for _, method := range []string{"lift", "full"} {
		for _, schedule := range schedules {
			o := DefaultOptimizer(method)
			o.Schedule, o.WeightDecay = schedule, 0.01
			for _, t := range []uint64{1, 2, 30, 500, 999} {
				s := o.Step(t, o.Rate(t, 1000))
				hashFloats(h, s.B1, s.B2, s.OneB1, s.OneB2, s.Eps, s.Rate, s.Decay)
			}
		}
	}
	return [32]byte(h.Sum(nil))
}

func hashFloats(h hash.Hash, v ...float32) {
	var b []byte
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	h.Write(b)
}
