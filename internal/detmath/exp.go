package detmath

import "math"

const (
	ln2Hi = 0x1.62e42feep-1     // the first 32 bits of ln 2: its product with an integer below 2²¹ is exact
	ln2Lo = math.Ln2 - ln2Hi    // the rest, rounded
	log2E = 1 / math.Ln2        // rounded
	expHi = 709.782712893383973 // the largest argument with a finite exponential
	expLo = -745.13321910194122 // the smallest with one above zero
)

// Exp returns eˣ.
func Exp(x float64) float64 {
	switch {
	case x != x:
		return x
	case x > expHi:
		return math.Inf(1)
	case x < expLo:
		return 0
	}
	k := math.Floor(float64(x*log2E) + 0.5)
	hi := x - float64(k*ln2Hi)
	return scale(expSmall(hi, float64(k*ln2Lo)), int(k))
}

// expSmall returns exp(hi−lo) for |hi| ≤ ln 2 / 2 and a tiny lo.
func expSmall(hi, lo float64) float64 {
	r := hi - lo
	c := (hi - r) - lo // what the subtraction lost
	q := 0.0
	for i := len(expTaylor) - 1; i >= 0; i-- {
		q = float64(q*r) + expTaylor[i]
	}
	return 1 + (r + (c + float64(float64(r*r)*q)))
}

// expTaylor are the coefficients 1/n! of eʳ from n = 2 on; the first one left out adds less than 0.05 ulp.
var expTaylor = [...]float64{
	1. / 2, 1. / 6, 1. / 24, 1. / 120, 1. / 720, 1. / 5040, 1. / 40320, 1. / 362880, 1. / 3628800,
	1. / 39916800, 1. / 479001600, 1. / 6227020800,
}

// scale returns x·2ᵏ for x in [½, 2] and k in [−1100, 1100], rounded once.
func scale(x float64, k int) float64 {
	if k > 1000 {
		return float64(x*0x1p1000) * pow2(k-1000)
	}
	if k < -1000 {
		return float64(x*pow2(k+1000)) * 0x1p-1000
	}
	return x * pow2(k)
}

// pow2 returns 2ᵏ for a normal result.
func pow2(k int) float64 { return math.Float64frombits(uint64(k+1023) << 52) }
