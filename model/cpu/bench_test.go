package cpu

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/torctrain/torc/model"
)

// benchShapes are tokens, input and output features: the 135M shape, its head, a layer of the demo, one token of it. Package
// bench/peers/gemm has more, and the comparison with OpenBLAS.
var benchShapes = []struct{ T, n, m int }{{512, 576, 1536}, {128, 1536, 576}, {64, 576, 49152}, {128, 128, 384}, {1, 576, 1536}}

// benchProducts runs f for each shape on one and two threads and reports GFLOP/s.
func benchProducts(b *testing.B, dtypes []model.DType, f func(k *Kernels, w *model.Matrix, x, y []float32, T int)) {
	for _, threads := range []int{1, 2} {
		k, err := New(threads, Auto)
		if err != nil {
			b.Fatal(err)
		}
		defer k.Close()
		for _, s := range benchShapes {
			for _, d := range dtypes {
				b.Run(fmt.Sprintf("T=%d/n=%d/m=%d/%v/threads=%d", s.T, s.n, s.m, d, threads), func(b *testing.B) {
					r := rand.New(rand.NewPCG(1, 2))
					w, x, y := randomMatrix(r, d, s.m, s.n), random(r, s.T*s.n), random(r, s.T*s.m)
					b.ReportAllocs()
					for b.Loop() {
						f(k, w, x, y, s.T)
					}
					b.ReportMetric(2*float64(s.T*s.n*s.m)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
				})
			}
		}
	}
}

func BenchmarkLinear(b *testing.B) {
	benchProducts(b, []model.DType{model.F32, model.BF16}, func(k *Kernels, w *model.Matrix, x, y []float32, T int) {
		k.Linear(y, x, w, T)
	})
}

func BenchmarkLinearGradX(b *testing.B) {
	benchProducts(b, []model.DType{model.BF16}, func(k *Kernels, w *model.Matrix, x, y []float32, T int) {
		k.LinearGradX(x, y, w, T)
	})
}

func BenchmarkGradDense(b *testing.B) {
	benchProducts(b, []model.DType{model.F32}, func(k *Kernels, w *model.Matrix, x, y []float32, T int) {
		k.GradDense(w.F32, y, x, T)
	})
}

// BenchmarkGradAt takes 5.6 % and 3.8 % of a weight, without the transposes, next to the dense gradient.
func BenchmarkGradAt(b *testing.B) {
	k, err := New(1, Auto)
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close()
	for _, s := range []struct{ T, n, m, nnz int }{{512, 576, 576, 18432}, {2048, 576, 576, 18432}, {512, 576, 1536, 33792}, {128, 128, 384, 2458}} {
		r := rand.New(rand.NewPCG(1, 2))
		pad := model.Pad(s.T)
		at := make([]uint32, 0, s.nnz)
		for i := range s.n * s.m {
			if r.IntN(s.n*s.m-i) < s.nnz-len(at) {
				at = append(at, uint32(i))
			}
		}
		dw, dyT, xT := make([]float32, s.m*s.n), random(r, s.m*pad), random(r, s.n*pad)
		shape := fmt.Sprintf("T=%d/n=%d/m=%d/", s.T, s.n, s.m)
		b.Run(shape+"sampled", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				k.GradAt(dw[:len(at)], dyT, xT, at, s.n, s.T)
			}
			b.ReportMetric(2*float64(s.T*len(at))*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
		})
		b.Run(shape+"vs-dense", func(b *testing.B) {
			for b.Loop() {
				k.GradDense(dw, dyT[:s.T*s.m], xT[:s.T*s.n], s.T)
			}
		})
	}
}

func BenchmarkTransposePad(b *testing.B) {
	k, err := New(1, Auto)
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close()
	for _, s := range []struct{ T, n int }{{512, 576}, {2048, 576}, {500, 1536}} {
		b.Run(fmt.Sprintf("T=%d/n=%d", s.T, s.n), func(b *testing.B) {
			src, dst := make([]float32, s.T*s.n), make([]float32, model.Pad(s.T)*s.n)
			for b.Loop() {
				k.TransposePad(dst, src, s.T, s.n)
			}
			b.SetBytes(int64(8 * s.T * s.n))
		})
	}
}
