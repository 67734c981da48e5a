package control

import "slices"

// circle seats members around a ring such that no pair of apart are neighbours: a permutation of their indices. ok is false
// when there is no such order; the order is then the given one.
func circle(members []string, apart []pair) (order []int, ok bool) {
	n := len(members)
	order = ascending(n)
	free := func(i, j int) bool { return !slices.Contains(apart, pairOf(members[i], members[j])) }
	if !slices.ContainsFunc(order, func(i int) bool { return !free(i, (i+1)%n) && n > 1 }) {
		return order, true
	}
	// Few pairs quarrel, so that searching in order finds a seat for nearly everybody at once.
	path, used := []int{0}, make([]bool, n)
	used[0] = true
	budget := 100_000 // seats tried; a ring that needs more is not worth waiting for
	var search func() bool
	search = func() bool {
		if len(path) == n {
			return free(path[n-1], path[0])
		}
		for i := range n {
			if budget--; budget < 0 {
				return false
			}
			if used[i] || !free(path[len(path)-1], i) {
				continue
			}
			used[i], path = true, append(path, i)
			if search() {
				return true
			}
			used[i], path = false, path[:len(path)-1]
		}
		return false
	}
	if search() {
		return path, true
	}
	return order, false
}

func ascending(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}
