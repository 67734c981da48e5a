package sharding

import (
	"fmt"
	"math"
)

// Assign gives each lane to a rank. prev[lane] is the rank in the new view of the lane's owner so far, or negative if
// there is none; prev may be empty. speeds[rank] is measured in any one unit; a rank without one (0, negative or not
// finite) counts as the mean of the others.
//
// With no more ranks than lanes each has at least one lane, and the step, which lasts as long as its slowest rank
// (lanes/speed), is as short as that allows; among such assignments it is one that moves fewest lanes. Ranks beyond the
// number of lanes are spares and get none: owners keep their seats, then the fastest sit. Assign is pure.
func Assign(prev []int, speeds []float64, lanes int) []int {
	if lanes < 1 || len(speeds) == 0 || len(prev) != 0 && len(prev) != lanes {
		panic(fmt.Sprintf("sharding: Assign: %d lanes, %d ranks, %d lanes before", lanes, len(speeds), len(prev)))
	}
	a := assignment{owner: make([]int, lanes), held: make([]int, len(speeds)), speed: measured(speeds)}
	for lane := range a.owner {
		a.owner[lane] = -1
		if len(prev) != 0 && prev[lane] >= 0 && prev[lane] < len(speeds) {
			a.owner[lane] = prev[lane]
			a.held[prev[lane]]++
		}
	}
	a.seat()
	a.limit()
	a.release()
	a.fill()
	return a.owner
}

// measured replaces missing speeds by the mean of the others.
func measured(speeds []float64) []float64 {
	known := func(s float64) bool { return s > 0 && !math.IsInf(s, 1) }
	sum, n := 0.0, 0
	for _, s := range speeds {
		if known(s) {
			sum += s
			n++
		}
	}
	out := make([]float64, len(speeds))
	for i, s := range speeds {
		switch {
		case known(s):
			out[i] = s
		case n > 0 && known(sum/float64(n)):
			out[i] = sum / float64(n)
		default:
			out[i] = 1
		}
	}
	return out
}

// assignment is a table of lanes in the making.
type assignment struct {
	owner []int     // by lane; −1 for none
	held  []int     // lanes by rank
	speed []float64 // by rank
	seats []int     // ranks that get lanes, ascending
	most  []int     // by rank, the lanes that do not lengthen the shortest step
}

// seat chooses the ranks that get lanes.
func (a *assignment) seat() {
	seated := make([]bool, len(a.speed))
	for range min(len(a.owner), len(a.speed)) {
		best := -1
		for rank := range a.speed {
			if !seated[rank] && (best < 0 || a.before(rank, best)) {
				best = rank
			}
		}
		seated[best] = true
	}
	for rank, ok := range seated {
		if ok {
			a.seats = append(a.seats, rank)
		}
	}
}

// before tells whether rank r is seated rather than s: owners before others, then the faster.
func (a *assignment) before(r, s int) bool {
	if owns, other := a.held[r] > 0, a.held[s] > 0; owns != other {
		return owns
	}
	return a.speed[r] > a.speed[s]
}

// time is how long a step lasts for a rank with so many lanes.
func (a *assignment) time(rank, lanes int) float64 { return float64(lanes) / a.speed[rank] }

// limit finds the shortest step, by giving lane after lane to who would finish it first, and what each rank can hold in it.
func (a *assignment) limit() {
	count := make([]int, len(a.speed))
	shortest := 0.0
	give := func(rank int) {
		count[rank]++
		shortest = max(shortest, a.time(rank, count[rank]))
	}
	for _, rank := range a.seats {
		give(rank)
	}
	for range len(a.owner) - len(a.seats) {
		give(a.first(count))
	}
	a.most = make([]int, len(a.speed))
	for _, rank := range a.seats {
		most := int(min(shortest*a.speed[rank], float64(len(a.owner)))) + 1
		for most > 1 && a.time(rank, most) > shortest {
			most--
		}
		a.most[rank] = most
	}
}

// first returns the seated rank that would finish one more lane first, the lowest among equals.
func (a *assignment) first(count []int) int {
	best := -1
	for _, rank := range a.seats {
		if best < 0 || a.time(rank, count[rank]+1) < a.time(best, count[best]+1) {
			best = rank
		}
	}
	return best
}

// release takes lanes, highest first, from ranks that hold more than they can, and, where a seat has none and no lane
// is free for it, from the slowest.
func (a *assignment) release() {
	free := 0
	for lane := len(a.owner) - 1; lane >= 0; lane-- {
		if rank := a.owner[lane]; rank >= 0 && a.held[rank] > a.most[rank] {
			a.owner[lane] = -1
			a.held[rank]--
		}
		if a.owner[lane] < 0 {
			free++
		}
	}
	empty := 0
	for _, rank := range a.seats {
		if a.held[rank] == 0 {
			empty++
		}
	}
	for ; free < empty; free++ {
		a.drop(a.slowest())
	}
}

// slowest returns the rank with more than one lane that ends its step last, the highest among equals.
func (a *assignment) slowest() int {
	worst := -1
	for rank, n := range a.held {
		if n > 1 && (worst < 0 || a.time(rank, n) >= a.time(worst, a.held[worst])) {
			worst = rank
		}
	}
	return worst
}

// drop frees the highest lane of rank.
func (a *assignment) drop(rank int) {
	for lane := len(a.owner) - 1; lane >= 0; lane-- {
		if a.owner[lane] == rank {
			a.owner[lane] = -1
			a.held[rank]--
			return
		}
	}
}

// fill gives the free lanes, lowest first: one to each seat without, the others to who would finish first.
func (a *assignment) fill() {
	give := make([]int, 0, len(a.owner)) // ranks, one entry for each lane they get
	count := append([]int(nil), a.held...)
	free := 0
	for _, rank := range a.owner {
		if rank < 0 {
			free++
		}
	}
	for _, rank := range a.seats {
		if count[rank] == 0 {
			give = append(give, rank)
			count[rank]++
		}
	}
	for len(give) < free {
		rank := a.first(count)
		give = append(give, rank)
		count[rank]++
	}
	a.deal(give)
}

// deal writes the owners of the free lanes, those of one rank next to each other: lanes side by side share shards.
func (a *assignment) deal(give []int) {
	due := make([]int, len(a.speed))
	for _, rank := range give {
		due[rank]++
	}
	rank := 0
	for lane := range a.owner {
		if a.owner[lane] >= 0 {
			continue
		}
		for due[rank] == 0 {
			rank++
		}
		a.owner[lane] = rank
		due[rank]--
	}
}
