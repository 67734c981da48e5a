package methods

import "math"

// normBlock is the number of squares that are added up before they join the total.
const normBlock = 4096

// Norm adds up the Euclidean norm of a vector that arrives in parts, in order. The result depends on the vector alone and
// not on how it was cut: blocks of 4096 elements in float64, four running sums in each, element i in sum i mod 4.
// The zero Norm is ready to use.
type Norm struct {
	total float64
	block [4]float64
	n     int // elements so far
}

// Add takes the next part of the vector.
func (s *Norm) Add(g []float32) {
	for len(g) > 0 {
		part := g[:min(len(g), normBlock-s.n%normBlock)]
		g = g[len(part):]
		s.addWithin(part)
		if s.n%normBlock == 0 {
			s.total += s.sum()
			s.block = [4]float64{}
		}
	}
}

// addWithin takes elements of one block.
func (s *Norm) addWithin(g []float32) {
	for ; s.n%4 != 0 && len(g) > 0; g = g[1:] {
		s.block[s.n%4] += float64(g[0]) * float64(g[0]) // exact products: 48 bits
		s.n++
	}
	a, b, c, d := s.block[0], s.block[1], s.block[2], s.block[3]
	s.n += len(g)
	for ; len(g) >= 4; g = g[4:] {
		a += float64(g[0]) * float64(g[0])
		b += float64(g[1]) * float64(g[1])
		c += float64(g[2]) * float64(g[2])
		d += float64(g[3]) * float64(g[3])
	}
	s.block = [4]float64{a, b, c, d}
	for i, x := range g {
		s.block[i] += float64(x) * float64(x)
	}
}

func (s *Norm) sum() float64 { return (s.block[0] + s.block[1]) + (s.block[2] + s.block[3]) }

// Value is the norm of what was added.
func (s *Norm) Value() float64 { return math.Sqrt(s.total + s.sum()) }

// ClipFactor is what a gradient of that norm is to be multiplied by so that it is no longer than limit; 1 when it is not,
// or when limit is 0. Like PyTorch's clip_grad_norm_, it aims 1e-6 below.
func ClipFactor(norm, limit float64) float32 {
	if limit <= 0 || !(norm > limit) {
		return 1
	}
	return float32(limit / (norm + 1e-6))
}
