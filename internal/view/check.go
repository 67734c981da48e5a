package view

import "fmt"

// maxMembers bounds a view that somebody tells of.
const maxMembers = 1 << 12

// Check says what is wrong with a view of somebody who is not believed to know: one of run with so many lanes has members in
// the order of their ids, each once, every lane belongs to one of them, and the ring visits each once.
func (v *View) Check(run string, lanes int) error {
	n := len(v.Members)
	switch {
	case v.Run != run:
		return fmt.Errorf("the view is of run %.70q, not of %s", v.Run, run)
	case n == 0 || n > maxMembers:
		return fmt.Errorf("the view has %d members: it must have 1 to %d", n, maxMembers)
	case len(v.Owner) != lanes:
		return fmt.Errorf("the view has %d lanes, the run has %d", len(v.Owner), lanes)
	case len(v.Ring) != n:
		return fmt.Errorf("the view has %d members and a ring of %d", n, len(v.Ring))
	}
	for i := 1; i < n; i++ {
		if a, b := v.Members[i-1].Node, v.Members[i].Node; a.Compare(b) >= 0 {
			return fmt.Errorf("the view has member %v before %v: they must be sorted and differ", a, b)
		}
	}
	for lane, rank := range v.Owner {
		if rank < 0 || rank >= n {
			return fmt.Errorf("the view gives lane %d to rank %d of %d", lane, rank, n)
		}
	}
	seen := make([]bool, n)
	for _, rank := range v.Ring {
		if rank < 0 || rank >= n || seen[rank] {
			return fmt.Errorf("the view's ring does not visit each of %d members once", n)
		}
		seen[rank] = true
	}
	return nil
}
