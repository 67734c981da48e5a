package kerneltest

import "math"

// Tolerance bounds |got − want| by Rel·|want| + RMS·(root mean square of the output) + Abs. The zero Tolerance asks for the
// very bits.
type Tolerance struct{ Rel, RMS, Abs float64 }

// Float32 are the tolerances for arithmetic in float32 against Ref, which rounds once. 1 ulp is 1.2e-7.
//
// Matrix products: a chain of n roundings, each of half an ulp of a partial sum, wanders by about √n/2 ulp of the result's
// typical size; 1e-5 holds n up to 20,000 and is far below the 1/√n that a missing or doubled term would change.
// Norms, rotations and SwiGLU are a few roundings per element and the error of our own exponential; their gradients
// subtract numbers of the same size once. Attention adds the error of scores up to about 40, which the exponential turns
// into a relative error of some 40 ulp; a missing key is 100 times that. Its gradient multiplies such numbers, and where a
// query sees one key it is the difference of two dot products of operands of size 1: Abs. Cross-entropy likewise: tiny
// probabilities are right relative to themselves, but p − 1 and log Σ − x are differences of numbers near 1.
// The rest is defined rounding by rounding and exact.
var Float32 = map[string]Tolerance{
	"Linear":        {RMS: 1e-5},
	"LinearGradX":   {RMS: 1e-5},
	"GradDense":     {RMS: 1e-5},
	"TransposePad":  {},
	"GradAt":        {RMS: 1e-5},
	"RMSNorm":       {Rel: 1e-6},
	"RMSNormGrad":   {Rel: 1e-6, RMS: 3e-6},
	"Rope":          {Rel: 1e-6, RMS: 3e-7},
	"Attention":     {Rel: 1e-6, RMS: 2e-5},
	"AttentionGrad": {RMS: 5e-5, Abs: 5e-6},
	"SwiGLU":        {Rel: 1e-6, RMS: 1e-12},
	"SwiGLUGrad":    {Rel: 1e-6, RMS: 1e-6},
	"Add":           {},
	"AddBias":       {},
	"CrossEntropy":  {Rel: 2e-5, Abs: 3e-7},
	"Embed":         {},
	"EmbedGrad":     {},
	"AdamW":         {},
}

// worst returns the index at which got is furthest outside the tolerance, or −1.
func (tol Tolerance) worst(got, want []float32) int {
	sum := 0.0
	for _, w := range want {
		sum += float64(w) * float64(w)
	}
	rms := math.Sqrt(sum / float64(max(1, len(want))))
	at, most := -1, 0.0
	for i, w := range want {
		if tol == (Tolerance{}) {
			if math.Float32bits(w) != math.Float32bits(got[i]) {
				return i
			}
			continue
		}
		over := math.Abs(float64(got[i])-float64(w)) - tol.Rel*math.Abs(float64(w)) - tol.RMS*rms - tol.Abs
		if over != over || over > most {
			at, most = i, over
			if over != over {
				return at
			}
		}
	}
	return at
}
