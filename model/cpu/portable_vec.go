package cpu

import "math"

// The Go twin of vecOps: the portable tier, what drivers do with odd ends, and the specification of the assembly, which has
// the very bits. Each product is rounded before it is added.

func portableVec() vecOps {
	return vecOps{
		dot: dot, dot3: dot3, normScale: normScale, normGrad: normGrad, normGradW: normGradW, rope: rope,
		swiglu: swiglu, swigluD: swigluD, add: add, scale: scale, top: top, sum: sum, expSub: expSub, expDiff: expDiff,
		scoreRows: scoreRows, expRows: expRows, scaleRows: scaleRows, softmaxD: softmaxD, adamW: adamW,
	}
}

// The exponential: x = n·ln 2 + r with |r| ≤ ln 2 / 2, exp(x) = 2ⁿ·(1 + r + r²·q(r)).
const (
	expMin   = -87.0           // below, the result is 0; here it is still a normal number
	expMax   = 88.0            // above, the result stays the one here, which is finite
	expMagic = 12582912.0      // 1.5·2²³: adding it rounds to an integer and leaves that in the low bits
	expLog2E = 1.442695        // 1/ln 2
	expLn2Hi = 0.693359375     // ln 2 to 9 bits, so that its products with n are exact
	expLn2Lo = -2.12194440e-04 // the rest
)

// expQ are the coefficients of q, constant first, for the least greatest relative error of exp(r): 3.1e-9.
var expQ = [...]float32{0.499999934, 0.166665201, 0.0416683942, 0.00836878041, 0.00138144671}

// exp32 returns eˣ with an error below 1.2 ulp; a NaN stays one.
func exp32(x float32) float32 {
	z := min32(expMax, max32(expMin, x))
	t := float32(z*expLog2E) + expMagic
	n := t - expMagic
	r := z - float32(n*expLn2Hi)
	r -= float32(n * expLn2Lo)
	q := expQ[4]
	for i := 3; i >= 0; i-- {
		q = float32(q*r) + expQ[i]
	}
	y := float32(float32(r*r)*q) + r + 1
	if x < expMin {
		return 0
	}
	return y * math.Float32frombits(math.Float32bits(t)<<23+1<<23*127) // 2ⁿ; by a product, since a NaN has any low bits
}

// max32 and min32 are the instructions: b when one operand is a NaN or both are zero.
func max32(a, b float32) float32 {
	if a > b {
		return a
	}
	return b
}

func min32(a, b float32) float32 {
	if a < b {
		return a
	}
	return b
}

// sum64 adds 64 partial sums by the fixed tree.
func sum64(s *[64]float32) float32 {
	for j := range 16 {
		s[j] = (s[j] + s[j+16]) + (s[j+32] + s[j+48])
	}
	for half := 8; half > 0; half /= 2 {
		for j := range half {
			s[j] += s[j+half]
		}
	}
	return s[0]
}

func dot(a, b []float32) float32 {
	var s [64]float32
	for ; len(a) >= 64; a, b = a[64:], b[64:] {
		x, y := (*[64]float32)(a), (*[64]float32)(b)
		for j := range s {
			s[j] += float32(x[j] * y[j])
		}
	}
	return sum64(&s)
}

func dot3(a, b, c []float32) float32 {
	var s [64]float32
	for ; len(a) >= 64; a, b, c = a[64:], b[64:], c[64:] {
		x, y, z := (*[64]float32)(a), (*[64]float32)(b), (*[64]float32)(c)
		for j := range s {
			s[j] += float32(float32(x[j]*y[j]) * z[j])
		}
	}
	return sum64(&s)
}

func normScale(y, x, w []float32, r float32) {
	for i, v := range x {
		y[i] = float32(v*r) * w[i]
	}
}

func normGrad(dx, dy, w, x []float32, r, c float32) {
	for i := range dx {
		dx[i] += float32(float32(dy[i]*w[i])*r) - float32(x[i]*c)
	}
}

func normGradW(dw, dy, x []float32, r float32) {
	for i := range dw {
		dw[i] += float32(float32(dy[i]*x[i]) * r)
	}
}

func rope(a, b, cos, sin []float32) {
	for i, c := range cos {
		x, y := a[i], b[i]
		a[i] = float32(x*c) - float32(y*sin[i])
		b[i] = float32(y*c) + float32(x*sin[i])
	}
}

func swiglu(y, gate, up []float32) {
	for i, g := range gate {
		y[i] = g / (1 + exp32(-g)) * up[i]
	}
}

func swigluD(dgate, dup, dy, gate, up []float32) {
	for i, d := range dy {
		g, u := gate[i], up[i]
		s := 1 / (1 + exp32(-g))
		a := float32(g * s)
		dup[i] = float32(d * a)
		dgate[i] = float32(d*u) * float32(s+float32(a*(1-s)))
	}
}

func add(y, x []float32) {
	for i, v := range x {
		y[i] += v
	}
}

func scale(x []float32, by float32) {
	for i := range x {
		x[i] *= by
	}
}

func top(x []float32) float32 {
	var s [16]float32
	copy(s[:], x)
	for x = x[16:]; len(x) >= 16; x = x[16:] {
		for j, v := range x[:16] {
			s[j] = max32(v, s[j])
		}
	}
	return top16(&s)
}

func top16(s *[16]float32) float32 {
	for half := 8; half > 0; half /= 2 {
		for j := range half {
			s[j] = max32(s[j], s[j+half])
		}
	}
	return s[0]
}

func expSub(x []float32, top float32) {
	for i, v := range x {
		x[i] = exp32(v - top)
	}
}

func sum(x []float32) float32 {
	var s [64]float32
	for ; len(x) >= 64; x = x[64:] {
		for j, v := range (*[64]float32)(x) {
			s[j] += v
		}
	}
	return sum64(&s)
}

func expDiff(x, y []float32) {
	for i := range x {
		x[i] = exp32(x[i] - y[i])
	}
}

func scoreRows(p, top []float32, scale float32) {
	for r := range top {
		row := (*[64]float32)(p[r*64:])
		var s [16]float32
		for j := range row {
			row[j] *= scale
		}
		for j := range s {
			s[j] = max32(max32(row[j], row[j+16]), max32(row[j+32], row[j+48]))
		}
		top[r] = max32(top16(&s), top[r])
	}
}

func expRows(p, top, sums []float32) {
	for r := range top {
		row := p[r*64 : (r+1)*64]
		expSub(row, top[r])
		sums[r] = sum(row)
	}
}

func scaleRows(x, by []float32, width int) {
	for r, b := range by {
		scale(x[r*width:(r+1)*width], b)
	}
}

func softmaxD(p, dp, lse, delta []float32, width int, scale float32) {
	for r := range lse {
		for i := r * width; i < (r+1)*width; i++ {
			p[i] = exp32(float32(p[i]*scale) - lse[r])
			dp[i] = float32(p[i]*(dp[i]-delta[r])) * scale
		}
	}
}

func adamW(theta, m, v, g []float32, b1, b2, oneB1, oneB2, eps, rate, decay float32) {
	for i := range theta {
		m[i] = float32(b1*m[i]) + float32(oneB1*g[i])
		v[i] = float32(b2*v[i]) + float32(oneB2*float32(g[i]*g[i]))
		root := float32(math.Sqrt(float64(v[i])))
		update := float32(rate*m[i]) / (root + eps)
		theta[i] = float32(theta[i]-float32(decay*theta[i])) - update
	}
}
