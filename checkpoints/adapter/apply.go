package adapter

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"

	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/safetensors"
)

// Weighted is a delta and how much of it is meant: 1 is all of it, −1 its opposite.
type Weighted struct {
	*Delta
	Weight float64
}

// name is the file that delta i of several was read from, else its number.
func (w Weighted) name(i int) string {
	if w.path != "" {
		return w.path
	}
	return fmt.Sprintf("delta %d", i+1)
}

// mustBelong refuses deltas of other bases.
func mustBelong(deltas []Weighted, base [32]byte, of string) error {
	for i, d := range deltas {
		if d.Base != base {
			return fmt.Errorf("%s belongs to the base %s, %s is %s: use the model that the run started from, in the same type",
				d.name(i), short(d.Base), of, short(base))
		}
	}
	return nil
}

// short is enough of a hash to tell two apart.
func short(h [32]byte) string { return hex.EncodeToString(h[:6]) }

// Undo is what weights were before Apply.
type Undo struct {
	Base, Result [32]byte
	Old          []Old
}

// Old are elements of a weight as they were: those at the flat indices At, or all of them where At is nil.
type Old struct {
	Name string
	At   []uint32
	Bits []uint32
	d    model.DType
}

// Apply adds deltas to w, the weights of the base that all of them belong to. Where a single delta with the weight 1 holds an
// element, the element becomes just what it was at the end of the run; all else is added up in float64 and rounded once.
// On an error w is as it was.
func Apply(w *model.Weights, deltas ...Weighted) (*Undo, error) {
	undo := &Undo{Base: Hash(w)}
	if err := mustBelong(deltas, undo.Base, "this model"); err != nil {
		return nil, err
	}
	changes := map[string][]weightedChange{}
	for i, d := range deltas {
		for j := range d.Changes {
			c := &d.Changes[j]
			at := slices.IndexFunc(w.Params, func(p model.Param) bool { return p.Name == c.Name })
			if at < 0 || w.Params[at].Rows != c.Rows || w.Params[at].Cols != c.Cols {
				return nil, fmt.Errorf("%s changes %s (%d, %d), which the model has not: the file is damaged", d.name(i), c.Name, c.Rows, c.Cols)
			}
			changes[c.Name] = append(changes[c.Name], weightedChange{c, d.Weight})
		}
	}
	for _, p := range w.Params {
		if len(changes[p.Name]) > 0 {
			undo.Old = append(undo.Old, applyTo(p, changes[p.Name]))
		}
	}
	undo.Result = Hash(w)
	return undo, nil
}

type weightedChange struct {
	*Change
	weight float64
}

// applyTo changes one weight and returns what it was.
func applyTo(p model.Param, changes []weightedChange) Old {
	sum := newSum(p.Rows * p.Cols)
	for _, c := range changes {
		sum.add(c, func(i int) float32 { return p.At(i) })
	}
	old := Old{Name: p.Name, d: p.DType}
	if sum.count < sum.len()/2 {
		old.At = make([]uint32, 0, sum.count)
	}
	for i, hits := range sum.hits {
		if hits > 0 || old.At == nil {
			if old.At != nil {
				old.At = append(old.At, uint32(i))
			}
			old.Bits = append(old.Bits, bits(p.Matrix, i))
		}
		if hits > 0 {
			p.Set(i, sum.value(i, p.At(i)))
		}
	}
	return old
}

// sum gathers what deltas make of each element of one weight.
type sum struct {
	diff  []float64
	now   []float32 // where one delta of weight 1 holds the element
	hits  []uint8   // 0: unchanged, 1: now is the value, 2: diff is added
	count int       // elements that change
}

func newSum(n int) *sum {
	return &sum{diff: make([]float64, n), now: make([]float32, n), hits: make([]uint8, n)}
}

func (s *sum) len() int { return len(s.hits) }

// add adds a change; was is what the base has.
func (s *sum) add(c weightedChange, was func(i int) float32) {
	if c.Form == Factors {
		for i := range c.Rows {
			for k := range c.Rank {
				t := c.weight * float64(c.B[k*c.Rows+i])
				for j, a := range c.A[k*c.Cols : (k+1)*c.Cols] {
					s.diff[i*c.Cols+j] += t * float64(a)
				}
			}
		}
		for i := range s.hits {
			s.hit(i, 2)
		}
		return
	}
	c.each(func(at, element int) {
		s.diff[element] += c.weight * (float64(c.Now[at]) - float64(was(element)))
		s.now[element] = c.Now[at]
		if c.weight == 1 && s.hits[element] == 0 {
			s.hit(element, 1)
		} else {
			s.hit(element, 2)
		}
	})
}

func (s *sum) hit(i int, how uint8) {
	if s.hits[i] == 0 {
		s.count++
	}
	s.hits[i] = how
}

// value is what the element becomes that was.
func (s *sum) value(i int, was float32) float32 {
	if s.hits[i] == 1 {
		return s.now[i]
	}
	return float32(float64(was) + s.diff[i])
}

// Revert gives w, as Apply left it, the bits of the base again. On an error w is as it was.
func (u *Undo) Revert(w *model.Weights) error {
	if got := Hash(w); got != u.Result {
		return fmt.Errorf("the model's weights are %s, its undo file is for %s: they changed after the delta was applied, apply it to the base again", short(got), short(u.Result))
	}
	for _, o := range u.Old {
		at := slices.IndexFunc(w.Params, func(p model.Param) bool { return p.Name == o.Name })
		if at < 0 || o.At == nil && len(o.Bits) != w.Params[at].Len() || o.At != nil && (len(o.At) != len(o.Bits) ||
			len(o.At) > 0 && int64(slices.Max(o.At)) >= int64(w.Params[at].Len())) {
			return fmt.Errorf("the undo file does not fit %s: it is damaged, apply the delta to the base again", o.Name)
		}
	}
	u.swap(w)
	if got := Hash(w); got != u.Base {
		u.swap(w)
		return fmt.Errorf("what the undo file restores is %s, the base was %s: it is damaged, apply the delta to the base again", short(got), short(u.Base))
	}
	return nil
}

// swap exchanges the old bits with those of w.
func (u *Undo) swap(w *model.Weights) {
	for _, o := range u.Old {
		p := w.Params[slices.IndexFunc(w.Params, func(p model.Param) bool { return p.Name == o.Name })]
		for j, b := range o.Bits {
			i := j
			if o.At != nil {
				i = int(o.At[j])
			}
			o.Bits[j] = bits(p.Matrix, i)
			setBits(p.Matrix, i, b)
		}
	}
}

// Write writes u to a new file at path.
func (u *Undo) Write(path string) error {
	meta := map[string]string{
		"format": undoFormat, "base": hex.EncodeToString(u.Base[:]), "result": hex.EncodeToString(u.Result[:]),
		"weights": strconv.Itoa(len(u.Old)),
	}
	var tensors []safetensors.Tensor
	for _, o := range u.Old {
		meta[o.Name] = "whole"
		if o.At != nil {
			meta[o.Name] = "at"
			tensors = append(tensors, words(o.Name+".at", o.At))
		}
		tensors = append(tensors, stored(o.Name+".was", o.d, o.Bits, len(o.Bits)))
	}
	return safetensors.Write(path, tensors, meta)
}

// ReadUndo reads what Undo.Write wrote.
func ReadUndo(path string) (*Undo, error) {
	f, err := safetensors.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	u := &Undo{}
	if u.Base, err = readHash(f, undoFormat, "base"); err != nil {
		return nil, err
	}
	if u.Result, err = readHash(f, undoFormat, "result"); err != nil {
		return nil, err
	}
	for _, name := range described(f) {
		was, err := f.Tensor(name + ".was")
		if err != nil {
			return nil, err
		}
		o := Old{Name: name}
		if o.d, err = parseDType(was.DType); err != nil {
			return nil, fmt.Errorf("read %s: %s: %w", path, name, err)
		}
		o.Bits = readStored(was.Data, o.d)
		if f.Metadata()[name] == "at" {
			at, err := f.Tensor(name + ".at")
			if err != nil {
				return nil, err
			}
			o.At = readWords(at.Data)
		}
		u.Old = append(u.Old, o)
	}
	return u, nil
}
