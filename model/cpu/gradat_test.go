package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/torctrain/torc/model"
)

// dot64 is the arithmetic of a sampled product: 64 chains and a fixed tree.
func dot64(a, b []float32) float32 {
	var s [64]float32
	for t := range a {
		s[t%64] = fma32(a[t], b[t], s[t%64])
	}
	for j := range 16 {
		s[j] = (s[j] + s[j+16]) + (s[j+32] + s[j+48])
	}
	for half := 8; half > 0; half /= 2 {
		for j := range half {
			s[j] += s[j+half]
		}
	}
	return s[0]
}

// TestGradAtIsOneTree holds sampled products of every tier and thread count to the bits of 64 chains and one tree
// per 512 tokens
// (docs/protocol.md, kernel rules 2 and 3), through the transposes that TransposePad makes.
func TestGradAtIsOneTree(t *testing.T) {
	kernels := fast(t)
	for _, s := range []struct {
		T, n, m int
		density float64
	}{
		{1, 1, 1, 1},
		{5, 9, 17, 0.3},
		{63, 20, 8, 0.5},
		{64, 33, 40, 0.05},
		{65, 16, 100, 0.9},
		{300, 300, 50, 0.05},
		{513, 200, 30, 0.1},
		{2048, 70, 65, 0.07},
		{130, 7, 900, 0.01},
	} {
		t.Run(fmt.Sprintf("T%d n%d m%d", s.T, s.n, s.m), func(t *testing.T) {
			r := rand.New(rand.NewPCG(2, uint64(s.T*s.n*s.m)))
			x, dy := random(r, s.T*s.n), random(r, s.T*s.m)
			var at []uint32
			for i := range s.m * s.n {
				if r.Float64() < s.density {
					at = append(at, uint32(i))
				}
			}
			pad := model.Pad(s.T)
			wantX, wantDY, want := transposed(x, s.T, s.n, pad), transposed(dy, s.T, s.m, pad), make([]float32, len(at))
			for k, a := range at {
				i, j := int(a)/s.n, int(a)%s.n
				for t := 0; t < pad; t += 512 {
					u := min(pad, t+512)
					want[k] += dot64(wantDY[i*pad+t:i*pad+u], wantX[j*pad+t:j*pad+u])
				}
			}
			for name, k := range kernels {
				xT, dyT, dw := random(r, s.n*pad), random(r, s.m*pad), random(r, len(at))
				k.TransposePad(xT, x, s.T, s.n)
				k.TransposePad(dyT, dy, s.T, s.m)
				sameBits(t, name+": transpose of x", xT, wantX)
				sameBits(t, name+": transpose of dy", dyT, wantDY)
				k.GradAt(dw, dyT, xT, at, s.n, s.T)
				sameBits(t, name+": GradAt", dw, want)
			}
		})
	}
}

func transposed(s []float32, rows, cols, pad int) []float32 {
	d := make([]float32, cols*pad)
	for r := range rows {
		for c := range cols {
			d[c*pad+r] = s[r*cols+c]
		}
	}
	return d
}

func TestGradAtRefusesWrongIndices(t *testing.T) {
	for name, k := range fast(t) {
		for what, at := range map[string][]uint32{"beyond the weight": {3, 12}, "of a row before": {5, 1, 7}} {
			func() {
				defer func() {
					if got := fmt.Sprint(recover()); !strings.Contains(got, "cpu: GradAt: index") {
						t.Errorf("%s: GradAt of an index %s ends with %q", name, what, got)
					}
				}()
				k.GradAt(make([]float32, len(at)), make([]float32, 3*64), make([]float32, 4*64), at, 4, 10)
			}()
		}
	}
}

func TestGradAtOfNothing(t *testing.T) {
	for name, k := range fast(t) {
		dw := []float32{1, 2}
		k.GradAt(dw, nil, nil, []uint32{0, 1}, 2, 0)
		if dw[0] != 0 || dw[1] != 0 {
			t.Errorf("%s: gradient of no tokens is %v, want zeros", name, dw)
		}
		k.GradAt(nil, make([]float32, 64), make([]float32, 64), nil, 1, 7)
		k.TransposePad(nil, nil, 0, 5)
		k.TransposePad(nil, nil, 5, 0)
	}
}

// TestKernelsDoNotAllocate: hot loops allocate nothing once buffers have grown.
func TestKernelsDoNotAllocate(t *testing.T) {
	const T, n, m = 70, 100, 300
	r := rand.New(rand.NewPCG(3, 3))
	w := randomMatrix(r, model.BF16, m, n)
	x, y, dw := random(r, T*n), random(r, T*m), random(r, m*n)
	xT, yT := random(r, n*model.Pad(T)), random(r, m*model.Pad(T))
	at := make([]uint32, 0, m*n/10)
	for i := 0; i < m*n; i += 10 {
		at = append(at, uint32(i))
	}
	for name, k := range fast(t) {
		for kernel, f := range map[string]func(){
			"Linear":       func() { k.Linear(y, x, w, T) },
			"LinearGradX":  func() { k.LinearGradX(x, y, w, T) },
			"GradDense":    func() { k.GradDense(dw, y, x, T) },
			"TransposePad": func() { k.TransposePad(xT, x, T, n) },
			"GradAt":       func() { k.GradAt(dw[:len(at)], yT, xT, at, n, T) },
		} {
			for range 20 { // grow the buffers of all workers
				f()
			}
			if got := testing.AllocsPerRun(20, f); math.Floor(got) > 0 {
				t.Errorf("%s: %s allocates %v times a call", name, kernel, got)
			}
		}
	}
}
