package methods

import (
	"fmt"
	"math"

	"github.com/torctrain/torc/model"
)

// A coordinate that enters a set begins with zero moments, while the bias correction of the global step takes them for ripe:
// with Beta2 = 0.999 its updates reach 6.6 times the rate. Corrected by its own age, which is the number of steps since it
// entered, it moves like any other. Ages are part of State, since they cannot be found again.

// Aged is AdamW for coordinates of different ages: each makes the step that it would make if the run had begun when it entered
// its set. Threads share out coordinates, so how many there are does not show in the result.
type Aged struct {
	threads    int
	root, rest []float64 // √(1−Beta2^age) and 1−Beta1^age, from age 1 up to the one from which they are 1 in float32
	rates      []float32 // of the step at work, by the same ages
}

// NewAged prepares the corrections of o.
func NewAged(o Optimizer, threads int) *Aged {
	a := &Aged{threads: threads}
	for age := uint64(1); ; age++ {
		p1, p2 := power(o.Beta1, age), power(o.Beta2, age)
		a.root, a.rest = append(a.root, math.Sqrt(1-p2)), append(a.rest, 1-p1)
		if age >= math.MaxUint16 || p1 < 0x1p-26 && p2 < 0x1p-26 {
			a.rates = make([]float32, len(a.root))
			return a
		}
	}
}

// SetRate makes rate that of the steps to come.
func (a *Aged) SetRate(rate float64) {
	for i, root := range a.root {
		a.rates[i] = float32(rate * root / a.rest[i])
	}
}

// agedPart is how many coordinates a thread takes at a time.
const agedPart = 1 << 13

// AdamW is the function of that name, but for s.Rate: each coordinate has that of its age, which is counted from 0 and raised by
// one here. All are of one length.
func (a *Aged) AdamW(theta, m, v, g []float32, ages []uint16, s model.AdamWStep) {
	n := len(theta)
	if len(m) != n || len(v) != n || len(g) != n || len(ages) != n {
		panic(fmt.Sprintf("methods: Aged.AdamW: lengths %d, %d, %d, %d and %d, want one", n, len(m), len(v), len(g), len(ages)))
	}
	share(a.threads, (n+agedPart-1)/agedPart, func(i int) {
		from, to := i*agedPart, min(n, (i+1)*agedPart)
		a.part(theta[from:to], m[from:to], v[from:to], g[from:to], ages[from:to], s)
	})
}

func (a *Aged) part(theta, m, v, g []float32, ages []uint16, s model.AdamWStep) {
	for i, x := range g {
		m[i] = float32(s.B1*m[i]) + float32(s.OneB1*x)
		v[i] = float32(s.B2*v[i]) + float32(s.OneB2*float32(x*x))
		rate := a.rates[min(int(ages[i]), len(a.rates)-1)]
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
