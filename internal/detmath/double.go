package detmath

// double is the unevaluated sum hi + lo of two float64, with |lo| at most half an ulp of hi: about 106 bits.
type double struct{ hi, lo float64 }

// add2 returns a + b exactly.
func add2(a, b float64) double {
	s := a + b
	t := s - a
	return double{s, (a - (s - t)) + (b - t)}
}

// mul2 returns a·b exactly, for |a|, |b| < 2⁹⁹⁰ and a product far above the subnormals (Dekker's product).
func mul2(a, b float64) double {
	p := float64(a * b)
	ah, al := halves(a)
	bh, bl := halves(b)
	e := float64(ah*bh) - p
	e += float64(ah * bl)
	e += float64(al * bh)
	return double{p, e + float64(al*bl)}
}

// halves cuts a into two numbers of at most 26 bits, whose products are exact.
func halves(a float64) (hi, lo float64) {
	c := float64((1<<27 + 1) * a)
	hi = c - (c - a)
	return hi, a - hi
}

func (x double) add(y double) double {
	s := add2(x.hi, y.hi)
	return fast2(s.hi, s.lo+(x.lo+y.lo))
}

func (x double) mul(y double) double {
	p := mul2(x.hi, y.hi)
	return fast2(p.hi, p.lo+(float64(x.hi*y.lo)+float64(x.lo*y.hi)))
}

func (x double) div(y double) double {
	q := x.hi / y.hi
	p := y.mul(double{q, 0})
	r := x.add(double{-p.hi, -p.lo})
	return fast2(q, (r.hi+r.lo)/y.hi)
}

// fast2 returns a + b for |a| ≥ |b|.
func fast2(a, b float64) double {
	s := a + b
	return double{s, b - (s - a)}
}
