package control

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// orders yields every order of n members around a ring, which begins with the first of them.
func orders(n int, yield func([]int) bool) {
	order := ascending(n)
	var permute func(k int) bool
	permute = func(k int) bool {
		if k == n {
			return yield(order)
		}
		for i := k; i < n; i++ {
			order[k], order[i] = order[i], order[k]
			if !permute(k + 1) {
				return false
			}
			order[k], order[i] = order[i], order[k]
		}
		return true
	}
	permute(min(1, n))
}

// neighbours says whether a pair of apart sit side by side.
func neighbours(order []int, members []string, apart []pair) bool {
	n := len(order)
	for i := range order {
		if n > 1 && slices.Contains(apart, pairOf(members[order[i]], members[order[(i+1)%n]])) {
			return true
		}
	}
	return false
}

// Every set of quarrels among up to five members, and a thousand among seven, against all orders there are.
func TestCircleSeatsApartWheneverThatIsPossible(t *testing.T) {
	check := func(n int, apart []pair, members []string) {
		t.Helper()
		order, ok := circle(members, apart)
		if sorted := slices.Sorted(slices.Values(order)); !slices.Equal(sorted, ascending(n)) {
			t.Fatalf("%d members with %v: %v is no order of them", n, apart, order)
		}
		if ok && neighbours(order, members, apart) {
			t.Fatalf("%d members with %v: %v seats a pair side by side", n, apart, order)
		}
		possible := false
		orders(n, func(o []int) bool {
			possible = !neighbours(o, members, apart)
			return !possible
		})
		if ok != possible {
			t.Fatalf("%d members with %v: circle says %v, possible is %v", n, apart, ok, possible)
		}
		if !ok && !slices.Equal(order, ascending(n)) {
			t.Fatalf("%d members with %v: %v is not the given order", n, apart, order)
		}
	}
	members := []string{"a", "b", "c", "d", "e", "f", "g"}
	for n := range 6 {
		var all []pair
		for i := range n {
			for j := range i {
				all = append(all, pairOf(members[i], members[j]))
			}
		}
		for set := range 1 << len(all) {
			var apart []pair
			for i, a := range all {
				if set>>i&1 == 1 {
					apart = append(apart, a)
				}
			}
			check(n, apart, members[:n])
		}
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		n := 6 + r.IntN(2)
		apart := []pair{{"gone", "b"}} // one of a member that is not here counts for nothing
		for range r.IntN(16) {
			i, j := r.IntN(n), r.IntN(n)
			if i != j {
				apart = append(apart, pairOf(members[i], members[j]))
			}
		}
		check(n, apart, members[:n])
	}
}

// With many members and few quarrels the search must not run into its bound.
func TestCircleIsFoundForManyMembers(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var members []string
	for i := range 256 {
		members = append(members, fmt.Sprintf("m%03d", i))
	}
	for range 50 {
		var apart []pair
		for range 32 {
			i := r.IntN(len(members))
			apart = append(apart, pairOf(members[i], members[(i+1+r.IntN(5))%len(members)]))
		}
		if order, ok := circle(members, apart); !ok || neighbours(order, members, apart) {
			t.Fatalf("no circle of %d members with %v", len(members), apart)
		}
	}
}
