package methods

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/model"
)

// principal says whether lift chooses by W′.
func (c Config) principal() bool { return c.Mode == "" || c.Mode == "principal" }

// block is the shape in which coordinates are chosen together.
type block struct{ rows, cols int }

func (b block) size() int { return b.rows * b.cols }

func (c Config) block() block {
	switch c.Block {
	case "1x8":
		return block{1, 8}
	case "4x4":
		return block{4, 4}
	}
	return block{1, 1}
}

// chooseSet returns the count indices of w that lift trains, ascending.
func (c Config) chooseSet(k model.Kernels, w *model.Matrix, count int, key rng.Key) ([]uint32, error) {
	b := c.block()
	if c.Mode == "random" {
		return b.elements(drawBlocks(w.Len()/b.size(), count/b.size(), key), w.Cols), nil
	}
	if count == w.Len() { // nothing to choose, but a weight that is not finite is a mistake all the same
		if err := finite(w); err != nil {
			return nil, err
		}
		return everything(count), nil
	}
	if err := decomposable(w); err != nil {
		return nil, err
	}
	p := &principal{e: Engine{Kernels: k}, w: w}
	switch {
	case c.principal() && (c.Directions == "" || c.Directions == "largest"):
		p = newPrincipal(k, w, c.filter(), key)
	case c.principal():
		p = c.newDirected(k, w, key)
	}
	return p.set(b, count)
}

// everything is the set of all of n coordinates.
func everything(n int) []uint32 {
	set := make([]uint32, n)
	for i := range set {
		set[i] = uint32(i)
	}
	return set
}

// drawBlocks draws count of n blocks, ascending.
func drawBlocks(n, count int, key rng.Key) []uint32 {
	order, set := key.Permutation(n), make([]uint32, count)
	for i := range set {
		set[i] = uint32(order.At(i))
	}
	slices.Sort(set)
	return set
}

// newDirected approximates w by singular directions that are not the largest, from a whole decomposition in float64.
func (c Config) newDirected(k model.Kernels, w *model.Matrix, key rng.Key) *principal {
	p := &principal{e: Engine{Kernels: k}, w: w}
	n, r := min(w.Rows, w.Cols), c.filter()
	if r >= n {
		return p
	}
	_, all := newWide(w).directions()
	var from []uint32
	switch c.Directions {
	case "smallest":
		from = everything(n)[n-r:]
	case "random":
		from = drawBlocks(n, r, key.Sub(1))
	case "hybrid":
		from = slices.Concat(everything(n)[:(r+1)/2], everything(n)[n-r/2:])
	}
	p.basis = p.e.New(r, n)
	for to, at := range from {
		toFloat32(p.basis.Float32s()[to*n:(to+1)*n], all[int(at)*n:(int(at)+1)*n])
	}
	p.lean()
	return p
}

// set returns the count indices, in whole blocks, at which the sums of |W′| are largest.
func (p *principal) set(b block, count int) ([]uint32, error) {
	top := newTopK(count / b.size())
	p.blocks(b, func(_ int, scores []float32) { top.count(scores) })
	if err := top.split(); err != nil {
		return nil, err
	}
	p.blocks(b, top.collect)
	return b.elements(top.set(), p.w.Cols), nil
}

// blocks shows the scores of blocks like tiles those of elements: band by band of b.rows rows, from left to right.
func (p *principal) blocks(b block, visit func(from int, scores []float32)) {
	if b.size() == 1 {
		p.tiles(visit)
		return
	}
	n := p.w.Cols
	var sums []float32
	p.tiles(func(from int, scores []float32) {
		if cap(sums) < len(scores)/b.size() {
			sums = make([]float32, len(scores)/b.size())
		}
		sums = sums[:len(scores)/b.size()]
		clear(sums)
		for at, v := range scores {
			i, j := at/n/b.rows, at%n/b.cols
			sums[i*(n/b.cols)+j] += float32(math.Abs(float64(v)))
		}
		visit(from/b.size(), sums)
	})
}

// elements lists the coordinates of blocks of a weight with n columns, ascending.
func (b block) elements(chosen []uint32, n int) []uint32 {
	if b.size() == 1 {
		return chosen
	}
	wide := n / b.cols
	set := make([]uint32, 0, len(chosen)*b.size())
	for len(chosen) > 0 {
		band := int(chosen[0]) / wide
		end := slices.IndexFunc(chosen, func(c uint32) bool { return int(c)/wide != band })
		if end < 0 {
			end = len(chosen)
		}
		for i := range b.rows {
			for _, c := range chosen[:end] {
				first := (band*b.rows+i)*n + int(c)%wide*b.cols
				for j := range b.cols {
					set = append(set, uint32(first+j))
				}
			}
		}
		chosen = chosen[end:]
	}
	return set
}

// CheckFinite refuses weights with values that are not: all that the model could learn from them is wrong. The embedding is passed
// over, since rows of tokens that no text has do no harm. The weights are spread over threads.
func CheckFinite(w *model.Weights, threads int) error {
	errs := make([]error, len(w.Params))
	share(threads, len(w.Params), func(i int) {
		if w.Params[i].Module != model.Embed {
			errs[i] = finite(w.Params[i].Matrix)
		}
	})
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("model: %s: %w", w.Params[i].Name, err)
		}
	}
	return nil
}

// finite refuses a weight with values that are not: those whose exponent has all bits.
func finite(w *model.Matrix) error {
	bad := -1
	switch w.DType {
	case model.F32:
		bad = slices.IndexFunc(w.F32, func(v float32) bool { return math.Float32bits(v)&0x7f800000 == 0x7f800000 })
	case model.BF16:
		bad = slices.IndexFunc(w.U16, func(b uint16) bool { return b&0x7f80 == 0x7f80 })
	case model.F16:
		bad = slices.IndexFunc(w.U16, func(b uint16) bool { return b&0x7c00 == 0x7c00 })
	}
	if bad < 0 {
		return nil
	}
	return fmt.Errorf("element (%d, %d) is %v: repair the base model, or, if training made it so, lower optimizer.lr", bad/w.Cols, bad%w.Cols, w.At(bad))
}

var errZero = errors.New("it is zero and has no singular vectors: " +
	"set method.name to lora or full, or let chance choose: method.mode random with lift, method.select random with s2ft")

// decomposable refuses matrices without singular vectors.
func decomposable(w *model.Matrix) error {
	if err := finite(w); err != nil {
		return err
	}
	for i := range w.Len() {
		if w.At(i) != 0 {
			return nil
		}
	}
	return errZero
}

// ExactSet is the set that lift by c would choose if the decomposition were exact: by an eigendecomposition in float64, which
// takes seconds for a large weight. It judges other ways to choose, see Overlap.
func ExactSet(c Config, w *model.Matrix, count int) ([]uint32, error) {
	if err := decomposable(w); err != nil {
		return nil, err
	}
	n, r := min(w.Rows, w.Cols), c.filter()
	exact := newWide(w)
	_, all := exact.directions()
	b, top := c.block(), newTopK(count/c.block().size())
	scores := make([]float32, w.Len())
	exact.approximate(all[:min(r, n)*n], func(i int, row []float64) { toFloat32(scores[i*w.Cols:(i+1)*w.Cols], row) })
	p := &principal{w: model.MatrixOver32(scores, w.Rows, w.Cols)} // of full rank: its scores are its elements
	p.blocks(b, func(_ int, s []float32) { top.count(s) })
	if err := top.split(); err != nil {
		return nil, err
	}
	p.blocks(b, top.collect)
	return b.elements(top.set(), w.Cols), nil
}

// Overlap is the share of a set that is in another of the same size.
func Overlap(a, b []uint32) float64 {
	common := 0
	merge(a, b, func(int, int) { common++ }, func(int) {}, func(int) {})
	return float64(common) / float64(max(1, len(a)))
}

// LargestSet is the set that lift by c would choose by magnitude alone.
func LargestSet(c Config, w *model.Matrix, count int) ([]uint32, error) {
	return (&principal{w: w}).set(c.block(), count)
}
