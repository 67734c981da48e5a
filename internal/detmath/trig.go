package detmath

import (
	"math"
	"math/bits"
)

// Sin returns the sine of x radians, for x of any size.
func Sin(x float64) float64 {
	quarter, r := reduce(x)
	return circle(quarter, r)
}

// Cos returns the cosine of x radians, for x of any size.
func Cos(x float64) float64 {
	quarter, r := reduce(x)
	return circle(quarter+1, r)
}

// circle returns sin(quarter·π/2 + r).
func circle(quarter uint64, r double) float64 {
	v := sinSmall(r)
	if quarter&1 != 0 {
		v = cosSmall(r)
	}
	if quarter&2 != 0 {
		return -v
	}
	return v
}

// sinSmall returns the sine of r, |r| ≤ π/4.
func sinSmall(r double) float64 {
	z := float64(r.hi * r.hi)
	if z == 0 {
		return r.hi // keeps the sign of zero
	}
	s := 0.0
	for n := 17.0; n >= 3; n -= 2 { // sin r = r − r³/3! + …, the terms after the first as r·s
		s = -float64(z*(1+s)) / (n * (n - 1))
	}
	return r.hi + (r.lo + float64(r.hi*s))
}

// cosSmall returns the cosine of r, |r| ≤ π/4.
func cosSmall(r double) float64 {
	z := float64(r.hi * r.hi)
	c := 0.0
	for n := 18.0; n >= 4; n -= 2 { // cos r = 1 − r²/2·(1 + c)
		c = -float64(z*(1+c)) / (n * (n - 1))
	}
	half := float64(0.5 * z)
	w := 1 - half
	return w + (((1 - w) - half) - (float64(half*c) + float64(r.hi*r.lo)))
}

// reduce returns r in [−π/4, π/4] and quarter, modulo 4, with x = quarter·π/2 + r. NaN and infinities give NaN.
func reduce(x float64) (quarter uint64, r double) {
	size := math.Abs(x)
	switch {
	case size <= math.Pi/4:
		return 0, double{x, 0}
	case !(size <= math.MaxFloat64):
		return 0, double{math.NaN(), 0}
	}
	u := math.Float64bits(size)
	m, e := u&(1<<52-1)|1<<52, int(u>>52)-1075 // size = m·2ᵉ
	f := turns(m, e)

	quarter = f[2] >> 62
	f = [3]uint64{f[0] << 2, f[1]<<2 | f[0]>>62, f[2]<<2 | f[1]>>62} // a fraction of 192 bits
	negative := f[2]>>63 != 0
	if negative { // the next quarter is nearer
		quarter++
		f = [3]uint64{-f[0], ^f[1], ^f[2]}
		if f[0] == 0 {
			f[1]++
		}
	}
	r = fraction(f).mul(double{halfPi, halfPiLo})
	if negative {
		r = double{-r.hi, -r.lo}
	}
	if x < 0 {
		return -quarter & 3, double{-r.hi, -r.lo}
	}
	return quarter & 3, r
}

const (
	halfPi   = 0x1.921fb54442d18p0
	halfPiLo = math.Pi/2 - halfPi
)

// turns returns m·2ᵉ·2/π modulo 4, as an integer of 192 bits in units of 2⁻¹⁹⁰, lowest word first. Bits of 2/π that give
// multiples of 4 are left out; those beyond the 192 bits taken change the result by less than 2⁻¹³⁰.
func turns(m uint64, e int) [3]uint64 {
	first := max(0, e-2)
	word, shift := first/64, uint(first%64)
	var q [3]uint64 // 192 bits of 2/π from bit first on, lowest word first
	for i := range q {
		q[2-i] = twoOverPi[word+i]<<shift | twoOverPi[word+i+1]>>(64-shift)
	}
	var p [4]uint64 // m·q
	var carry uint64
	for i := range q {
		hi, lo := bits.Mul64(m, q[i])
		p[i], carry = bits.Add64(lo, carry, 0)
		carry += hi
	}
	p[3] = carry
	if right := uint(max(0, 2-e)); right > 0 { // small x: align to 190 bits behind the point
		for i := range 3 {
			p[i] = p[i]>>right | p[i+1]<<(64-right)
		}
	}
	return [3]uint64{p[0], p[1], p[2]}
}

// fraction returns f·2⁻¹⁹².
func fraction(f [3]uint64) double {
	lead := bits.LeadingZeros64(f[2])
	if lead == 64 { // no float64 comes that near to a multiple of π/2
		return double{}
	}
	s := uint(lead)
	hi := f[2]<<s | f[1]>>(64-s)
	lo := f[1]<<s | f[0]>>(64-s)
	top := float64(hi >> 11)
	rest := float64(hi&(1<<11-1)<<42 | lo>>22)
	return fast2(float64(top*pow2(-53-lead)), float64(rest*pow2(-106-lead)))
}

// twoOverPi are the bits of 2/π behind the point, highest first.
var twoOverPi = [...]uint64{
	0xa2f9836e4e441529, 0xfc2757d1f534ddc0, 0xdb6295993c439041, 0xfe5163abdebbc561,
	0xb7246e3a424dd2e0, 0x06492eea09d1921c, 0xfe1deb1cb129a73e, 0xe88235f52ebb4484,
	0xe99c7026b45f7e41, 0x3991d639835339f4, 0x9c845f8bbdf9283b, 0x1ff897ffde05980f,
	0xef2f118b5a0a6d1f, 0x6d367ecf27cb09b7, 0x4f463f669e5fea2d, 0x7527bac7ebe5f17b,
	0x3d0739f78a5292ea, 0x6bfb5fb11f8d5d08, 0x56033046fc7b6bab, 0xf0cfbc209af4361d,
}
