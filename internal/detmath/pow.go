package detmath

import "math"

const (
	ln2Mid = 0x1.a39ef35793c76p-33     // ln2Lo rounded
	ln2End = math.Ln2 - ln2Hi - ln2Mid // what is left then
)

// Pow returns xʸ. Its error is below 0.51 ulp (subnormal results: 1 ulp), so a result that is a float64 is exact. The
// logarithm and the exponential are computed with 106 bits, which takes microseconds: Pow is for tables and schedules.
func Pow(x, y float64) float64 {
	switch {
	case y == 0 || x == 1:
		return 1
	case y == 1:
		return x
	case x != x || y != y:
		return math.NaN()
	}
	size, odd, whole := math.Abs(x), false, math.Abs(y) >= 0x1p53 || math.Floor(y) == y
	if whole && math.Abs(y) < 0x1p53 {
		odd = int64(y)&1 != 0
	}
	if x < 0 && !whole && !math.IsInf(x, 0) {
		return math.NaN()
	}
	r := powPositive(size, y)
	if odd && math.Signbit(x) {
		return -r
	}
	return r
}

// powPositive returns xʸ for x in [0, ∞] and y ≠ 0.
func powPositive(x, y float64) float64 {
	switch {
	case x == 1:
		return 1
	case x == 0 || math.IsInf(x, 1) || math.Abs(y) >= 0x1p70: // the last one leaves [0, ∞] for any x ≠ 1
		if (x > 1) == (y > 0) {
			return math.Inf(1)
		}
		return 0
	}
	l := logDouble(x)
	switch p := l.hi * y; {
	case p > expHi+1:
		return math.Inf(1)
	case p < expLo-1:
		return 0
	case math.Abs(p) < 0x1p-60:
		return 1
	}
	return expDouble(l.mul(double{y, 0}))
}

// logDouble returns log x with a relative error below 2⁻⁹⁰, for a finite x above zero.
func logDouble(x float64) double {
	m, e := split(x)
	s := double{m - 1, 0}.div(add2(m, 1))
	z := s.mul(s)
	p := double{}
	for n := 45; n >= 1; n -= 2 { // atanh(s)/s = Σ s²ⁱ/(2i+1)
		p = p.mul(z).add(double{1, 0}.div(double{float64(n), 0}))
	}
	l := p.mul(double{2 * s.hi, 2 * s.lo})
	k := float64(e)
	return double{float64(k * ln2Hi), 0}.add(mul2(k, ln2Mid).add(double{float64(k * ln2End), 0}).add(l))
}

// expDouble returns exp x rounded, for x.hi in [expLo−1, expHi+1].
func expDouble(x double) float64 {
	k := math.Floor(float64(x.hi*log2E) + 0.5)
	r := double{x.hi - float64(k*ln2Hi), 0}.add(double{x.lo, 0})
	m := mul2(k, ln2Mid)
	r = r.add(double{-m.hi, -m.lo}).add(double{-float64(k * ln2End), 0})
	p := double{1, 0}
	for n := 24; n >= 1; n-- { // 1 + r·(1 + r/2·(1 + r/3·(…)))
		p = p.mul(r).div(double{float64(n), 0}).add(double{1, 0})
	}
	return scale(p.hi, int(k))
}
