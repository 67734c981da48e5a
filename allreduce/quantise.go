package allreduce

import (
	"fmt"
	"math"
)

// NoScale is the exponent of a tensor that has no scale yet.
const NoScale int16 = math.MinInt16

// Every other exponent lies in [minScale, maxScale], where 2^e is a normal float32.
const (
	minScale = -100
	maxScale = 100
)

const (
	finiteMax = 0x7f7fffff // bits of the largest finite float32
	absMask   = 0x7fffffff
)

// Quantise adds round-to-nearest-even(g·2^e) to own, element by element, wrapping around.
//
// max is the bits of the largest |g| among the finite elements, which as integers order like the values; finite says
// that all were. A value outside int32, infinite or NaN adds −2^31: a step with such a lane never commits (Scales.Judge
// sees max or the lane's non-finite flag), but its bits are still the same on every machine. With e == NoScale nothing
// is added and g is measured all the same.
//
// Source: protocol.md §2.1.
func Quantise(own []int32, g []float32, e int16) (max uint32, finite bool) {
	if len(own) != len(g) {
		panic(fmt.Sprintf("allreduce: Quantise: len(own)=%d, want %d", len(own), len(g)))
	}
	if e == NoScale {
		return measure(g)
	}
	return quantise(own, g, e)
}

// Dequantise writes float32(float64(sum)·2^−e / float64(counted)), the mean gradient per counted token.
// Without a scale, or with nothing counted, it writes zeros.
//
// Source: protocol.md §2.5.
func Dequantise(dst []float32, sum []int32, e int16, counted int64) {
	if len(dst) != len(sum) {
		panic(fmt.Sprintf("allreduce: Dequantise: len(dst)=%d, want %d", len(dst), len(sum)))
	}
	if e == NoScale || counted <= 0 {
		clear(dst)
		return
	}
	unit, n := pow2(-e), float64(counted)
	for i, q := range sum {
		dst[i] = float32(float64(q) * unit / n)
	}
}

// quantiseGo is the portable twin of quantiseAVX2 and its specification.
func quantiseGo(own []int32, g []float32, e int16) (max uint32, finite bool) {
	// Adding 1.5·2^52 leaves the nearest integer, ties to even, in the low bits of the mantissa. The product is exact in
	// float64, so a compiler that fuses multiplication and addition changes nothing.
	const magic = 3 << 51
	scale := pow2(e)
	finite = true
	own = own[:len(g)]
	for i, x := range g {
		abs := math.Float32bits(x) & absMask
		if abs > finiteMax {
			finite = false
		} else if abs > max {
			max = abs
		}
		q := int32(math.MinInt32)
		if y := float64(x) * scale; y > math.MinInt32 && y < -math.MinInt32 {
			q = int32(uint32(math.Float64bits(y + magic)))
		}
		own[i] += q
	}
	return max, finite
}

func measure(g []float32) (max uint32, finite bool) {
	finite = true
	for _, x := range g {
		abs := math.Float32bits(x) & absMask
		if abs > finiteMax {
			finite = false
		} else if abs > max {
			max = abs
		}
	}
	return max, finite
}

// pow2 returns 2^e for a scale e or its negative, exactly.
func pow2(e int16) float64 {
	if e < minScale || e > maxScale {
		panic(fmt.Sprintf("allreduce: scale is %d, want %d to %d", e, minScale, maxScale))
	}
	return math.Float64frombits(uint64(1023+int64(e)) << 52)
}
