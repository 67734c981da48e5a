package drills

import (
	"strconv"
	"strings"

	"github.com/torctrain/torc/internal/rng"
)

// limit bounds every number a problem meets: two digits.
const limit = 99

// op changes a running number: '+', '-' or '*', and by how much.
type op struct {
	sign byte
	n    int
}

func (o op) apply(x int) int {
	switch o.sign {
	case '+':
		return x + o.n
	case '-':
		return x - o.n
	}
	return x * o.n
}

// chain is a number and what happens to it: the skeleton of a problem, without words.
type chain struct {
	start int
	ops   []op
}

// newChain draws a chain of the given number of steps whose every intermediate number lies in [1, limit].
func newChain(d *draws, steps int) chain {
	c := chain{start: d.between(2, 20)}
	x := c.start
	for range steps {
		o := newOp(d, x)
		c.ops = append(c.ops, o)
		x = o.apply(x)
	}
	return c
}

// newOp draws an operation that keeps x in [1, limit].
func newOp(d *draws, x int) op {
	for {
		switch d.below(5) {
		case 0, 1:
			if x < limit {
				return op{'+', d.between(1, min(9, limit-x))}
			}
		case 2, 3:
			if x > 1 {
				return op{'-', d.between(1, min(9, x-1))}
			}
		default:
			if 2*x <= limit {
				return op{'*', d.between(2, min(3, limit/x))}
			}
		}
	}
}

// worked is the solution, one line for each step: "12+5=17\n17*2=34".
func (c chain) worked() string {
	var b strings.Builder
	x := c.start
	for i, o := range c.ops {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(strconv.Itoa(x))
		b.WriteByte(o.sign)
		b.WriteString(strconv.Itoa(o.n))
		x = o.apply(x)
		b.WriteByte('=')
		b.WriteString(strconv.Itoa(x))
	}
	return b.String()
}

// answer is the number at the end.
func (c chain) answer() int {
	x := c.start
	for _, o := range c.ops {
		x = o.apply(x)
	}
	return x
}

// heldOut says whether the chain belongs to the test problems: one in sixteen, by its numbers and operations alone, so
// that no wording of a test problem is ever trained on.
func (c chain) heldOut() bool {
	k := rng.New(0x7e57).Sub(uint64(c.start))
	for _, o := range c.ops {
		k = k.Sub(uint64(o.sign), uint64(o.n))
	}
	return k.Uint64n(0, 16) == 0
}

// shortcut says whether leaving out one step gives the answer all the same, when what would fall below 1 counts as 1: the
// mistake of a model that knows shorter problems only.
func (c chain) shortcut() bool {
	for out := range c.ops {
		x := c.start
		for i, o := range c.ops {
			if i != out {
				x = max(1, o.apply(x))
			}
		}
		if x == c.answer() {
			return true
		}
	}
	return false
}

// draws takes numbers from a stream in order.
type draws struct {
	key  rng.Key
	next uint64
}

// below draws a number in [0, n).
func (d *draws) below(n int) int {
	d.next++
	return int(d.key.Uint64n(d.next-1, uint64(n)))
}

// between draws a number in [lo, hi].
func (d *draws) between(lo, hi int) int { return lo + d.below(hi-lo+1) }

func pick[T any](d *draws, list []T) T { return list[d.below(len(list))] }
