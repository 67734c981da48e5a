package methods

import (
	"testing"

	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
)

func randomMatrix(d model.DType, m, n int, seed uint64) *model.Matrix {
	w, key := model.NewMatrix(d, m, n), rng.New(seed)
	for i := range w.Len() {
		w.Set(i, float32(key.Float64(uint64(i))-0.5)*float32(1+i%n)/float32(n))
	}
	return w
}

// fast are kernels that end with the test.
func fast(t testing.TB, threads int, tier cpu.Tier) model.Kernels {
	t.Helper()
	k, err := cpu.New(threads, tier)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}
