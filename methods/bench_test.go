package methods

import (
	"fmt"
	"testing"

	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
)

// BenchmarkSelect chooses the sets of one layer of a 135M model, of which there are 30, on one thread. It compares with
// the products of one Gram matrix of such a layer computed whole.
func BenchmarkSelect(b *testing.B) {
	k := fast(b, 1, cpu.Auto)
	var weights []*model.Matrix
	for i, s := range []shape{{576, 576}, {192, 576}, {192, 576}, {576, 576}, {1536, 576}, {1536, 576}, {576, 1536}} {
		weights = append(weights, randomMatrix(model.BF16, s.rows, s.cols, uint64(i)))
	}
	b.Run("layer", func(b *testing.B) {
		for range b.N {
			for _, w := range weights {
				if _, err := principalSet(k, w, 16, 16*(w.Rows+w.Cols), 1); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("products", func(b *testing.B) {
		g, x := make([]float32, 576*576), make([]float32, 1536*576)
		for range b.N {
			k.GradDense(g, x, x, 1536)
		}
	})
}

// BenchmarkPull compares the gradient at a set with the whole gradient, which bounds it from the side of dense products.
func BenchmarkPull(b *testing.B) {
	k := fast(b, 1, cpu.Auto)
	const m, n, T = 1536, 576, 512
	o := &model.Outer{Kernels: k, T: T, DY: make([]float32, T*m), X: make([]float32, T*n)}
	for i := range o.DY {
		o.DY[i] = float32(i%7) - 3
	}
	for i := range o.X {
		o.X[i] = float32(i%5) - 2
	}
	transpose(o, m, n)
	dw := make([]float32, m*n)
	for _, percent := range []int{1, 5, 20, 40, 60, 100} {
		b.Run(fmt.Sprintf("set of %d%%", percent), func(b *testing.B) {
			var set []uint32
			for i := range uint32(m * n) {
				if rng.New(1).Uint64n(uint64(i), 100) < uint64(percent) {
					set = append(set, i)
				}
			}
			b.ResetTimer()
			for range b.N {
				k.GradAt(dw[:len(set)], o.DYT, o.XT, set, n, T)
			}
		})
	}
	b.Run("whole", func(b *testing.B) {
		for range b.N {
			clear(dw)
			k.GradDense(dw, o.DY, o.X, T)
		}
	})
}

// BenchmarkPenalty holds the factors of one layer of a 135M model, of which there are 30, to orthonormality.
func BenchmarkPenalty(b *testing.B) {
	for _, threads := range []int{1, 2} {
		b.Run(fmt.Sprintf("threads %d", threads), func(b *testing.B) {
			o := orthonormality{kind: "frobenius", factors: 420, threads: threads}
			const r = 16
			for range b.N {
				for _, s := range []shape{{576, 576}, {192, 576}, {192, 576}, {576, 576}, {1536, 576}, {1536, 576}, {576, 1536}} {
					x, dx := make([]float32, 2*r*1536), make([]float32, 2*r*1536)
					for i := range x {
						x[i] = float32(i%7) / 100
					}
					o.add(0.2, r, factor{x[:r*s.cols], dx[:r*s.cols]}, factor{x[r*1536:][:r*s.rows], dx[r*1536:][:r*s.rows]})
				}
			}
		})
	}
}
