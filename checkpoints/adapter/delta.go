package adapter

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
)

// Form is how a change of a weight is held.
type Form string

// The forms of a change.
const (
	Sparse  Form = "at"      // single elements
	Columns Form = "columns" // whole columns
	Rows    Form = "rows"    // whole rows
	Factors Form = "factors" // a product of low rank that is added
)

// Delta is what a run changed of the weights of its base.
type Delta struct {
	Base    [32]byte // Hash of the base's weights
	Method  string   // for people
	Changes []Change // by weight, in the order of θ

	path string // where Read found it
}

// Change is what became of one weight (m, n).
type Change struct {
	Name       string
	Rows, Cols int
	DType      model.DType // of the base
	Form       Form

	// Of Sparse, Columns and Rows: flat indices, columns or rows, ascending; and the elements there, row by row of what is
	// changed: what they became, and the bits they have in the base.
	At  []uint32
	Now []float32
	Was []uint32

	// Of Factors: Bᵀ·A is added.
	Rank int
	A, B []float32 // (Rank, n), (Rank, m)
}

// Hash names the weights of a model by all of their bits.
func Hash(w *model.Weights) [32]byte {
	h := sha256.New()
	var buf []byte
	for _, p := range w.Params {
		fmt.Fprintf(h, "%s %s (%d, %d)\n", p.Name, p.DType, p.Rows, p.Cols)
		for at := 0; at < p.Len(); at += 1 << 14 {
			buf = buf[:0]
			for i := at; i < min(at+1<<14, p.Len()); i++ {
				if p.DType == model.F32 {
					buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(p.F32[i]))
				} else {
					buf = binary.LittleEndian.AppendUint16(buf, p.U16[i])
				}
			}
			h.Write(buf)
		}
	}
	return [32]byte(h.Sum(nil))
}

// Of returns what a run changed: theta is θ at its end and start what Method.Start returned before its first step, m the run's
// method with the sets of that end, and base the weights as they were before all of it, untouched.
func Of(m methods.Method, theta, start []float32, base *model.Weights, method string) (*Delta, error) {
	d := &Delta{Base: Hash(base), Method: method}
	switch m := m.(type) {
	case methods.Refresher:
		d.Changes = sparse(m, theta, base)
	case methods.Factored:
		d.Changes = differences(m.Factors(theta), m.Factors(start), base)
	case methods.Sliced:
		d.Changes = columnsAndRows(m.Slices(), theta, base)
	default:
		return nil, fmt.Errorf("make a delta of %s: it may change every weight: export the model instead (--format hf)", method)
	}
	return d, nil
}

// sparse lists the coordinates in a set at the end, and those retired from one.
func sparse(m methods.Refresher, theta []float32, base *model.Weights) []Change {
	var changes []Change
	sets, retired := m.Sets(), m.Retired()
	for i, t := range m.Tensors() {
		if sets == nil { // no step was made
			break
		}
		p := base.Params[t.Weight]
		c := newChange(p, Sparse)
		now := map[uint32]float32{}
		for j, at := range retired[i].At {
			now[at] = fromBits(p.DType, retired[i].Bits[j])
		}
		for j, at := range sets[i] {
			now[at] = theta[t.Off+j]
		}
		c.At = slices.Concat(sets[i], retired[i].At)
		slices.Sort(c.At)
		for _, at := range c.At {
			c.Now, c.Was = append(c.Now, now[at]), append(c.Was, bits(p.Matrix, int(at)))
		}
		changes = append(changes, c)
	}
	return changes
}

// columnsAndRows lists whole columns and rows.
func columnsAndRows(all []methods.Slice, theta []float32, base *model.Weights) []Change {
	var changes []Change
	for _, s := range all {
		p := base.Params[s.Weight]
		c := newChange(p, Rows)
		if s.ByColumn {
			c.Form = Columns
		}
		for _, at := range s.Channels {
			c.At = append(c.At, uint32(at))
		}
		c.Now = slices.Clone(theta[s.Off : s.Off+s.Len])
		c.each(func(_, element int) { c.Was = append(c.Was, bits(p.Matrix, element)) })
		changes = append(changes, c)
	}
	return changes
}

// differences are the paths at the end less those at the start, which for LoRA add nothing.
func differences(end, start []methods.Factors, base *model.Weights) []Change {
	var changes []Change
	for i, f := range end {
		p := base.Params[f.Weight]
		c := newChange(p, Factors)
		c.Rank, c.A, c.B = f.Rank, slices.Clone(f.A), scaled(f, 1)
		if before := scaled(start[i], -1); slices.ContainsFunc(before, func(v float32) bool { return v != 0 }) {
			c.Rank, c.A, c.B = 2*f.Rank, append(c.A, start[i].A...), append(c.B, before...)
		}
		changes = append(changes, c)
	}
	return changes
}

// scaled is B with all scales of the path in it.
func scaled(f methods.Factors, sign float32) []float32 {
	b, m := slices.Clone(f.B), len(f.B)/f.Rank
	for j := range f.Rank {
		scale := sign * f.Scale
		if len(f.S) > 0 {
			scale *= f.S[j]
		}
		for i := range m {
			b[j*m+i] *= scale
		}
	}
	return b
}

func newChange(p model.Param, form Form) Change {
	return Change{Name: p.Name, Rows: p.Rows, Cols: p.Cols, DType: p.DType, Form: form}
}

// each visits the elements of a change that holds some: their places in Now, and in the weight.
func (c *Change) each(visit func(i, element int)) {
	switch i := 0; c.Form {
	case Sparse:
		for i, at := range c.At {
			visit(i, int(at))
		}
	case Columns:
		for row := range c.Rows {
			for _, col := range c.At {
				visit(i, row*c.Cols+int(col))
				i++
			}
		}
	case Rows:
		for _, row := range c.At {
			for col := range c.Cols {
				visit(i, int(row)*c.Cols+col)
				i++
			}
		}
	}
}

// elements is how many values of the weight the change holds, 0 for factors.
func (c *Change) elements() int {
	switch c.Form {
	case Sparse:
		return len(c.At)
	case Columns:
		return len(c.At) * c.Rows
	case Rows:
		return len(c.At) * c.Cols
	}
	return 0
}

// maxElements bounds a weight: its elements are numbered by uint32.
const maxElements = 1 << 32

// check says what does not belong together. Nothing that it multiplies overflows.
func (c *Change) check() error {
	if c.Rows < 1 || c.Cols < 1 || c.Rows > maxElements/c.Cols {
		return fmt.Errorf("its weight is (%d, %d)", c.Rows, c.Cols)
	}
	limit := map[Form]int{Sparse: c.Rows * c.Cols, Columns: c.Cols, Rows: c.Rows, Factors: 0}[c.Form]
	switch {
	case c.Form == Factors && (c.Rank < 1 || c.Rank > len(c.A) || len(c.A) != c.Rank*c.Cols || len(c.B) != c.Rank*c.Rows):
		return fmt.Errorf("its factors have %d and %d elements at rank %d, the weight is (%d, %d)", len(c.A), len(c.B), c.Rank, c.Rows, c.Cols)
	case len(c.Now) != c.elements() || len(c.Was) != c.elements():
		return fmt.Errorf("it has %d new and %d old values, want %d", len(c.Now), len(c.Was), c.elements())
	}
	for i, at := range c.At {
		if int64(at) >= int64(limit) || i > 0 && at <= c.At[i-1] {
			return errors.New("its coordinates are not ascending, or outside the weight")
		}
	}
	return nil
}

// bits are those of element i as stored.
func bits(m *model.Matrix, i int) uint32 {
	if m.DType == model.F32 {
		return math.Float32bits(m.F32[i])
	}
	return uint32(m.U16[i])
}

func setBits(m *model.Matrix, i int, b uint32) {
	if m.DType == model.F32 {
		m.F32[i] = math.Float32frombits(b)
		return
	}
	m.U16[i] = uint16(b)
}

func fromBits(d model.DType, b uint32) float32 {
	switch d {
	case model.BF16:
		return model.FromBF16(uint16(b))
	case model.F16:
		return model.FromF16(uint16(b))
	}
	return math.Float32frombits(b)
}
