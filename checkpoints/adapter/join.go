package adapter

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Join makes one delta of several of the same base: elements are added up as Apply would, factors stand beside each other. A
// weight of which one delta holds elements and another factors cannot be joined.
func Join(deltas ...Weighted) (*Delta, error) {
	if len(deltas) == 0 {
		return nil, errors.New("join deltas: there are none")
	}
	if err := mustBelong(deltas, deltas[0].Base, "the first one's base"); err != nil {
		return nil, fmt.Errorf("join deltas: %w", err)
	}
	joined := &Delta{Base: deltas[0].Base}
	var order, kinds []string
	changes := map[string][]weightedChange{}
	for _, d := range deltas {
		if !slices.Contains(kinds, d.Method) {
			kinds = append(kinds, d.Method)
		}
		for i := range d.Changes {
			c := &d.Changes[i]
			if changes[c.Name] == nil {
				order = append(order, c.Name)
			}
			changes[c.Name] = append(changes[c.Name], weightedChange{c, d.Weight})
		}
	}
	joined.Method = strings.Join(kinds, "+")
	for _, name := range order {
		c, err := joinOne(changes[name])
		if err != nil {
			return nil, fmt.Errorf("join changes of %s: %w", name, err)
		}
		joined.Changes = append(joined.Changes, c)
	}
	return joined, nil
}

func joinOne(all []weightedChange) (Change, error) {
	first := all[0]
	for _, c := range all[1:] {
		if c.Rows != first.Rows || c.Cols != first.Cols {
			return Change{}, fmt.Errorf("one is (%d, %d), another (%d, %d): a file is damaged", first.Rows, first.Cols, c.Rows, c.Cols)
		}
		if (c.Form == Factors) != (first.Form == Factors) {
			return Change{}, errors.New("one has elements, another factors: apply both to the base instead")
		}
	}
	out := Change{Name: first.Name, Rows: first.Rows, Cols: first.Cols, DType: first.DType, Form: Sparse}
	if first.Form == Factors {
		out.Form = Factors
		for _, c := range all {
			out.Rank, out.A = out.Rank+c.Rank, append(out.A, c.A...)
			for _, v := range c.B {
				out.B = append(out.B, float32(c.weight*float64(v)))
			}
		}
		return out, nil
	}
	s := newSum(first.Rows * first.Cols)
	was := make([]uint32, s.len())
	for _, c := range all {
		c.each(func(at, element int) { was[element] = c.Was[at] })
		s.add(c, func(i int) float32 { return fromBits(first.DType, was[i]) })
	}
	for i, hits := range s.hits {
		if hits > 0 {
			out.At = append(out.At, uint32(i))
			out.Now = append(out.Now, s.value(i, fromBits(first.DType, was[i])))
			out.Was = append(out.Was, was[i])
		}
	}
	return out, nil
}
