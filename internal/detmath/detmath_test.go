package detmath

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// The oracle computes with prec bits from series, far beyond what float64 shows.
const prec = 320

func num(x float64) *big.Float { return new(big.Float).SetPrec(prec).SetFloat64(x) }

func mul(a, b *big.Float) *big.Float { return new(big.Float).SetPrec(prec).Mul(a, b) }

func sub(a, b *big.Float) *big.Float { return new(big.Float).SetPrec(prec).Sub(a, b) }

func add(a, b *big.Float) *big.Float { return new(big.Float).SetPrec(prec).Add(a, b) }

func quo(a, b *big.Float) *big.Float { return new(big.Float).SetPrec(prec).Quo(a, b) }

func bigExp(x *big.Float) *big.Float {
	const halvings = 30
	r := new(big.Float).SetPrec(prec).SetMantExp(x, -halvings)
	sum, term := num(1), num(1)
	for n := 1.0; n < 25; n++ {
		term = quo(mul(term, r), num(n))
		sum = add(sum, term)
	}
	for range halvings {
		sum = mul(sum, sum)
	}
	return sum
}

func bigLog(x *big.Float) *big.Float {
	m, e := num(0), x.MantExp(nil)
	m.SetMantExp(x, -e)
	f, _ := m.Float64()
	y := num(math.Log(f))
	for range 3 { // Newton: each round doubles the digits
		y = add(y, sub(mul(m, bigExp(num(0).Neg(y))), num(1)))
	}
	return add(y, mul(num(float64(e)), bigLn2()))
}

func bigLn2() *big.Float { // Σ 1/(n·2ⁿ)
	sum := num(0)
	for n := 1; n < prec; n++ {
		sum = add(sum, quo(num(0).SetMantExp(num(1), -n), num(float64(n))))
	}
	return sum
}

// bigPi is long enough for arguments up to 2¹⁰²⁴. Machin: π/4 = 4·atan(1/5) − atan(1/239).
func bigPi() *big.Float {
	const long = 1600
	atan := func(n int64) *big.Float {
		x := new(big.Float).SetPrec(long).Quo(big.NewFloat(1).SetPrec(long), new(big.Float).SetPrec(long).SetInt64(n))
		sum, p := new(big.Float).SetPrec(long).Set(x), new(big.Float).SetPrec(long).Set(x)
		for i := int64(1); i < 400; i++ {
			p.Quo(p, new(big.Float).SetPrec(long).SetInt64(-n*n))
			sum.Add(sum, new(big.Float).SetPrec(long).Quo(p, new(big.Float).SetPrec(long).SetInt64(2*i+1)))
		}
		return sum
	}
	a := atan(5)
	a.Mul(a, big.NewFloat(4).SetPrec(long)).Sub(a, atan(239))
	return a.Mul(a, big.NewFloat(4).SetPrec(long))
}

var pi = bigPi()

func bigSinCos(x float64) (sin, cos *big.Float) {
	half := new(big.Float).SetPrec(1600).Quo(pi, big.NewFloat(2))
	r := new(big.Float).SetPrec(1600).SetFloat64(x)
	n, _ := new(big.Float).SetPrec(1600).Quo(r, half).Int(nil)
	r.Sub(r, new(big.Float).SetPrec(1600).Mul(half, new(big.Float).SetPrec(1600).SetInt(n)))
	r.SetPrec(prec)
	sin, cos = num(0), num(0)
	term := num(1)
	for i := 0; i < 120; i++ {
		switch i % 4 {
		case 0:
			cos = add(cos, term)
		case 1:
			sin = add(sin, term)
		case 2:
			cos = sub(cos, term)
		case 3:
			sin = sub(sin, term)
		}
		term = quo(mul(term, r), num(float64(i+1)))
	}
	switch new(big.Int).And(n, big.NewInt(3)).Int64() { // two's complement: right for negative n too
	case 1:
		return cos, num(0).Neg(sin)
	case 2:
		return num(0).Neg(sin), num(0).Neg(cos)
	case 3:
		return num(0).Neg(cos), sin
	}
	return sin, cos
}

// ulps is the distance of got from want in units of the last place of want as a float64.
func ulps(got float64, want *big.Float) float64 {
	w, _ := want.Float64()
	if math.IsInf(w, 0) || math.IsInf(got, 0) {
		if w == got {
			return 0
		}
		return math.Inf(1)
	}
	if w == 0 && got == 0 {
		return 0
	}
	ulp := math.Nextafter(math.Abs(w), math.Inf(1)) - math.Abs(w)
	d, _ := quo(sub(num(got), want), num(ulp)).Float64()
	return math.Abs(d)
}

// accuracy checks f against the oracle at points and reports the worst.
func accuracy(t *testing.T, name string, f func(float64) float64, oracle func(float64) *big.Float, bound float64, points []float64) {
	t.Helper()
	worst, at := 0.0, 0.0
	for _, x := range points {
		if u := ulps(f(x), oracle(x)); u > worst || u != u {
			worst, at = u, x
		}
	}
	t.Logf("%s: at most %.3f ulp, at %v", name, worst, at)
	if !(worst <= bound) {
		t.Errorf("%s(%v) = %v is %.3f ulp off, want at most %v", name, at, f(at), worst, bound)
	}
}

func spread(n int, lo, hi float64) []float64 {
	rng := rand.New(rand.NewPCG(7, 7))
	v := make([]float64, n)
	for i := range v {
		v[i] = lo + float64((hi-lo)*rng.Float64())
	}
	return v
}

// anySize are positive numbers of all exponents, subnormal ones among them.
func anySize(n int) []float64 {
	rng := rand.New(rand.NewPCG(7, 8))
	v := []float64{0x1p-1074, 0x1p-1022, math.MaxFloat64, math.Nextafter(1, 0), math.Nextafter(1, 2)}
	for range n {
		v = append(v, math.Float64frombits(rng.Uint64N(2047<<52)))
	}
	return v
}

func TestExpIsWithinOneUlp(t *testing.T) {
	points := append(spread(600, -708, 709.78), spread(600, -2, 2)...)
	points = append(points, 0, 1, -1, 1e-300, 709.782712893384, -708.3)
	accuracy(t, "Exp", Exp, func(x float64) *big.Float { return bigExp(num(x)) }, 1, points)
	accuracy(t, "Exp of subnormal results", Exp, func(x float64) *big.Float { return bigExp(num(x)) }, 1.01, spread(200, -745.1, -708))
}

func TestLogIsWithinOneUlp(t *testing.T) {
	points := append(anySize(300), spread(500, 0.5, 2)...)
	accuracy(t, "Log", Log, func(x float64) *big.Float { return bigLog(num(x)) }, 1, points)
	if Log(1) != 0 {
		t.Errorf("Log(1) = %v", Log(1))
	}
}

func TestSinAndCosAreWithinOneUlp(t *testing.T) {
	points := append(anySize(400), spread(600, -10, 10)...)
	points = append(points, spread(400, 0, 200000)...)
	// The double nearest to a multiple of π/2 of all (Kahan), and near misses.
	points = append(points, 0x1.6ac5b262ca1ffp+849, 0x1.921fb54442d18p0, 0x1.921fb54442d18p1, 355, -22)
	accuracy(t, "Sin", Sin, func(x float64) *big.Float { s, _ := bigSinCos(x); return s }, 1, points)
	accuracy(t, "Cos", Cos, func(x float64) *big.Float { _, c := bigSinCos(x); return c }, 1, points)
}

func TestPowIsWithinOneUlp(t *testing.T) {
	for _, y := range []float64{0.5, -0.5, 2, 3, -1, 1. / 3, 100, 12345, -700.25, 1e-10, 1e6, -33.75, 0.015625} {
		oracle := func(x float64) *big.Float { return bigExp(mul(num(y), bigLog(num(x)))) }
		points := append(spread(60, 0.9, 1.1), spread(40, 0, 3)...)
		for _, x := range append(anySize(60), 10000, 500000, 0.95, 0.999) {
			if p := y * math.Log2(x); p < 1023 && p > -1021 {
				points = append(points, x)
			}
		}
		in := points[:0:0]
		for _, x := range points {
			if p := y * math.Log2(x); p < 1023.9 && p > -1021 {
				in = append(in, x)
			}
		}
		accuracy(t, "Pow", func(x float64) float64 { return Pow(x, y) }, oracle, 0.51, in)
	}
}

func TestPowIsExactWhereItCan(t *testing.T) {
	for x := 2.0; x < 40; x++ {
		p := 1.0
		for y := 1.0; p*x < 0x1p53; y++ {
			p *= x
			if got := Pow(x, y); got != p {
				t.Errorf("Pow(%v, %v) = %v, want %v", x, y, got, p)
			}
			if got := Pow(p, 1/y); y == 2 && got != x {
				t.Errorf("Pow(%v, ½) = %v, want %v", p, got, x)
			}
		}
	}
}

func TestSpecialCasesAreThoseOfPackageMath(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	special := []float64{0, math.Copysign(0, -1), 1, -1, 2, -2, 3, -3, 0.5, -0.5, 1e300, -1e300, 1e-300, 0x1p53, 0x1p60 + 1, inf, -inf, nan}
	same := func(a, b float64) bool {
		return a == b && math.Signbit(a) == math.Signbit(b) || a != a && b != b
	}
	for _, x := range special {
		for _, f := range []struct {
			name      string
			got, want func(float64) float64
		}{{"Exp", Exp, math.Exp}, {"Log", Log, math.Log}} {
			if got, want := f.got(x), f.want(x); (x != x || math.IsInf(x, 0) || want == 0 || math.IsInf(want, 0)) && !same(got, want) {
				t.Errorf("%s(%v) = %v, want %v", f.name, x, got, want)
			}
		}
		for _, y := range special {
			if got, want := Pow(x, y), math.Pow(x, y); !same(got, want) && math.Abs(got-want) > 1e-13*math.Abs(want) {
				t.Errorf("Pow(%v, %v) = %v, want %v", x, y, got, want)
			}
		}
	}
	for _, x := range []float64{inf, -inf, nan} {
		if Sin(x) == Sin(x) || Cos(x) == Cos(x) {
			t.Errorf("Sin(%v) = %v, Cos = %v, want NaN", x, Sin(x), Cos(x))
		}
	}
	if s := Sin(math.Copysign(0, -1)); s != 0 || !math.Signbit(s) {
		t.Errorf("Sin(−0) = %v, want −0", s)
	}
}

func TestTwoOverPi(t *testing.T) {
	x := new(big.Float).SetPrec(1500).Quo(big.NewFloat(2), pi)
	for i, w := range twoOverPi {
		x.SetMantExp(x, 64)
		n, _ := x.Uint64()
		if n != w {
			t.Fatalf("word %d is %#x, want %#x", i, w, n)
		}
		x.Sub(x, new(big.Float).SetUint64(n))
	}
}

// The bits, not only their accuracy, are the contract: a change here is a change of every arithmetic class.
func TestBitsArePinned(t *testing.T) {
	var h uint64 = 14695981039346656037
	for i, x := range append(anySize(3000), spread(3000, -50, 50)...) {
		for _, v := range []float64{Exp(x), Exp(-float64(i) / 7), Log(math.Abs(x)), Sin(x), Cos(x), Pow(math.Abs(x), 0.37)} {
			h = (h ^ math.Float64bits(v)) * 1099511628211
		}
	}
	if want := uint64(0x9ef5fd4428ea0c1e); h != want {
		t.Errorf("hash of results is %#x, want %#x", h, want)
	}
}
