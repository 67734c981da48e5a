package detmath

import "math"

// Log returns the natural logarithm of x: −Inf at zero, NaN below.
func Log(x float64) float64 {
	switch {
	case x != x || x > math.MaxFloat64:
		return x
	case x < 0:
		return math.NaN()
	case x == 0:
		return math.Inf(-1)
	}
	m, e := split(x)
	f, k := m-1, float64(e)

	// log(1+f) = 2·atanh(s) = 2s + s·r = f − s·(f − r) = f − (f²/2 − s·(f²/2 + r)) with s = f/(2+f)
	s := f / (2 + f)
	r, z := 0.0, float64(s*s)
	for i := len(atanhTaylor) - 1; i >= 0; i-- {
		r = float64(z * (r + atanhTaylor[i]))
	}
	half := float64(float64(0.5*f) * f)
	low := float64(s*(half+r)) + float64(k*ln2Lo)
	return float64(k*ln2Hi) - ((half - low) - f)
}

// atanhTaylor are the coefficients of 2·atanh(s)/s − 2 in powers of s²; the first one left out adds less than 0.01 ulp.
var atanhTaylor = [...]float64{2. / 3, 2. / 5, 2. / 7, 2. / 9, 2. / 11, 2. / 13, 2. / 15, 2. / 17, 2. / 19, 2. / 21, 2. / 23}

// split returns m in [√½, √2) and e with x = m·2ᵉ, for a finite x above zero.
func split(x float64) (m float64, e int) {
	if x < 0x1p-1022 {
		x *= 0x1p54
		e = -54
	}
	u := math.Float64bits(x)
	e += int(u>>52) - 1023
	m = math.Float64frombits(u&(1<<52-1) | 1023<<52)
	if m >= math.Sqrt2 {
		m, e = m/2, e+1
	}
	return m, e
}
