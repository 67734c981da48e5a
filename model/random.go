package model

import (
	"math"
	"runtime"
	"sync"

	"github.com/torctrain/torc/internal/detmath"
	"github.com/torctrain/torc/internal/rng"
)

// NewRandom makes fresh weights, stored as d: linear weights and embeddings normal with standard deviation
// Config.InitRange, norms one, biases zero, as transformers initialises them. Each value is a function of seed, parameter
// and element alone.
func NewRandom(c *Config, d DType, seed uint64) *Weights {
	shapes := c.Params()
	w := &Weights{Config: c, Params: make([]Param, len(shapes))}
	var wait sync.WaitGroup
	slots := make(chan struct{}, runtime.GOMAXPROCS(0)) // one token per running worker
	for i, p := range shapes {
		m := NewMatrix(d, p.Rows, p.Cols)
		w.Params[i] = Param{Name: p.Name, Layer: p.Layer, Module: p.Module, Matrix: m}
		slots <- struct{}{}
		wait.Go(func() {
			fill(m, p, c.InitRange, rng.New(seed).Sub(uint64(i)))
			<-slots
		})
	}
	wait.Wait()
	return w
}

func fill(m *Matrix, p ParamShape, std float64, key rng.Key) {
	switch {
	case !p.Vector():
		for i := 0; i < m.Len(); i += 2 {
			a, b := key.Pair(uint64(i / 2))
			m.Set(i, float32(std*normal(a)))
			if i+1 < m.Len() {
				m.Set(i+1, float32(std*normal(b)))
			}
		}
	case p.Module == AttnNorm, p.Module == MLPNorm, p.Module == FinalNorm, p.Module == QNorm, p.Module == KNorm:
		for i := range m.Len() {
			m.Set(i, 1)
		}
	}
}

// normal turns 64 random bits into a standard normal number: the quantile function at the middle of one of 2⁵² equal parts
// of (0, 1), with a relative error below 2·10⁻⁷.
// Source: M. J. Wichura, Algorithm AS 241, Applied Statistics 37 (1988), the variant PPND7.
func normal(bits uint64) float64 {
	p := (float64(bits>>12) + 0.5) * 0x1p-52
	q := p - 0.5
	if math.Abs(q) <= 0.425 {
		r := 0.180625 - float64(q*q)
		num := horner(r, 59.109374720, 159.29113202, 50.434271938, 3.3871327179)
		return q * num / horner(r, 67.187563600, 78.757757664, 17.895169469, 1)
	}
	r := math.Sqrt(-detmath.Log(min(p, 1-p)))
	var x float64
	if r <= 5 {
		r -= 1.6
		x = horner(r, 0.17023821103, 1.3067284816, 2.7568153900, 1.4234372777) / horner(r, 0.12021132975, 0.73700164250, 1)
	} else {
		r -= 5
		x = horner(r, 0.017337203997, 0.42868294337, 3.0812263860, 6.6579051150) / horner(r, 0.012258202635, 0.24197894225, 1)
	}
	if q < 0 {
		return -x
	}
	return x
}

// horner evaluates a polynomial given from the highest coefficient down, each step rounded on its own.
func horner(x float64, coefficients ...float64) float64 {
	y := 0.0
	for _, c := range coefficients {
		y = float64(y*x) + c
	}
	return y
}
