package methods

import (
	"math"

	"github.com/torctrain/torc/model"
)

// A coordinate that enters a set begins with zero moments, while the bias correction of the global step takes them for ripe:
// with Beta2 = 0.999 its updates reach 6.6 times the rate. Corrected by its own age, which is the number of steps since it
// entered, it moves like any other. Ages are part of State, since they cannot be found again.

// AgedRates are the rates of AdamW for coordinates of age 1, 2, …, up to the age from which the correction is none in float32;
// older coordinates have the last.
func (o Optimizer) AgedRates(rate float64) []float32 {
	var rates []float32
	for a := uint64(1); ; a++ {
		r := float32(rate * math.Sqrt(1-power(o.Beta2, a)) / (1 - power(o.Beta1, a)))
		rates = append(rates, r)
		if a >= math.MaxUint16 || power(o.Beta1, a) < 0x1p-26 && power(o.Beta2, a) < 0x1p-26 {
			return rates
		}
	}
}

// AgedAdamW is AdamW in which each coordinate has the bias correction of its age, counted from 0 and raised by one here.
func AgedAdamW(theta, m, v, g []float32, ages []uint16, s model.AdamWStep, rates []float32) {
	for i, x := range g {
		m[i] = float32(s.B1*m[i]) + float32(s.OneB1*x)
		v[i] = float32(s.B2*v[i]) + float32(s.OneB2*float32(x*x))
		rate := rates[min(int(ages[i]), len(rates)-1)]
		update := rate * m[i] / (float32(math.Sqrt(float64(v[i]))) + s.Eps)
		theta[i] = theta[i] - float32(s.Decay*theta[i]) - update
		if ages[i] < math.MaxUint16 {
			ages[i]++
		}
	}
}

// RemapAges carries ages, laid out like θ, from the sets was to the sets next of a Selector: survivors keep theirs, newcomers begin
// at 0. was is nil before the first Adopt.
func RemapAges(was, next [][]uint32, ages []uint16) {
	if was == nil {
		clear(ages)
		return
	}
	for i, set := range next {
		remapAges(was[i], set, ages[:len(set)])
		ages = ages[len(set):]
	}
}

// remapAges is RemapAges of one set.
func remapAges(old, next []uint32, ages []uint16) {
	was := append([]uint16(nil), ages...)
	merge(old, next, func(from, to int) { ages[to] = was[from] }, func(int) {}, func(to int) { ages[to] = 0 })
}
