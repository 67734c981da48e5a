package methods

import (
	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/model"
)

func randomMatrix(d model.DType, m, n int, seed uint64) *model.Matrix {
	w, key := model.NewMatrix(d, m, n), rng.New(seed)
	for i := range w.Len() {
		w.Set(i, float32(key.Float64(uint64(i))-0.5)*float32(1+i%n)/float32(n))
	}
	return w
}
