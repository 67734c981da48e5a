package train

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"
)

// A ring starts with a greeting: each member says how far it has come, and all conclude the same from it (agree).

// stage is a part of the way from one committed step to the next.
type stage uint8

const (
	validating stage = iota // the step is committed, its validation is due
	selecting               // the next step's sets are due
	computing               // the next step's gradient is due
)

// place is how far a member has come: stage and try belong to the step after Step, which is committed.
type place struct {
	Step  uint64
	Stage stage
	Try   uint32
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.Step, q.Step), cmp.Compare(p.Stage, q.Stage), cmp.Compare(p.Try, q.Try))
}

// hello is what a member says when a ring starts.
type hello struct {
	place
	State     uint64   // hash of State at this place
	Oldest    uint64   // the first step whose record it has
	NonFinite bool     // the try before this one had lanes that were not finite
	Copied    bool     // State was fetched from other members, and those of a view have not all been found to have it since
	Lanes     []uint64 // bitmap of the lanes it has computed for this try
}

// Flags of a hello.
const (
	flagNonFinite = 1 << iota
	flagCopied
)

func (h *hello) encode() []byte {
	le := binary.LittleEndian
	b := le.AppendUint64(nil, h.Step)
	b = append(b, byte(h.Stage), 0)
	if h.NonFinite {
		b[9] |= flagNonFinite
	}
	if h.Copied {
		b[9] |= flagCopied
	}
	b = le.AppendUint32(b, h.Try)
	b = le.AppendUint64(b, h.State)
	b = le.AppendUint64(b, h.Oldest)
	for _, w := range h.Lanes {
		b = le.AppendUint64(b, w)
	}
	return b
}

// helloBytes is the length of a hello without lanes.
const helloBytes = 30

// decodeHello reads the hello of a run with so many lanes.
func decodeHello(b []byte, lanes int) (hello, error) {
	words := (lanes + 63) / 64
	if len(b) != helloBytes+8*words || b[8] > byte(computing) || b[9] > flagNonFinite|flagCopied {
		return hello{}, fmt.Errorf("read hello: %d bytes for %d lanes are malformed: the members run different versions", len(b), lanes)
	}
	le := binary.LittleEndian
	h := hello{
		place:     place{Step: le.Uint64(b), Stage: stage(b[8]), Try: le.Uint32(b[10:])},
		NonFinite: b[9]&flagNonFinite != 0, Copied: b[9]&flagCopied != 0,
		State: le.Uint64(b[14:]), Oldest: le.Uint64(b[22:]), Lanes: make([]uint64, words),
	}
	for i := range h.Lanes {
		h.Lanes[i] = le.Uint64(b[helloBytes+8*i:])
	}
	return h, nil
}

// ErrTie is returned when members at one place have different States and no majority tells which of them is right.
var ErrTie = errors.New("members disagree about State, and no majority tells who is right")

// TieError is an ErrTie: who found it has seen two States after one step. Another member may have seen further ones.
type TieError struct {
	Step   uint64
	States [2]string // hashes, in hexadecimal
}

func (e *TieError) Error() string {
	return fmt.Sprintf("after step %d: %v: hashes %s and %s", e.Step, ErrTie, e.States[0], e.States[1])
}

func (e *TieError) Unwrap() error { return ErrTie }

// agreement is what all members conclude from their hellos.
type agreement struct {
	front    place
	giver    int    // rank that brings the others level; −1 when all are
	from     uint64 // the first step whose record it gives
	behind   []int  // ranks whom nobody can bring level any more
	diverged []int  // ranks whose State is not the majority's
	alike    bool   // all members are at the front, with one State
	keeps    []bool // by rank: the lanes it has computed still count
	todo     []int  // lane → rank that computes it for this try; −1 when it is computed
}

// agree is pure: every member calls it with the same hellos and the lanes' owners of the view.
func agree(hellos []hello, owner []int) (*agreement, error) {
	a := &agreement{giver: -1, keeps: make([]bool, len(hellos)), todo: slices.Clone(owner)}
	a.front = slices.MaxFunc(hellos, func(x, y hello) int { return x.place.compare(y.place) }).place
	state, err := a.majority(hellos)
	if err != nil {
		return nil, err
	}
	giver, least := -1, a.front.Step
	for rank, h := range hellos {
		switch {
		case h.place != a.front:
			least = min(least, h.Step)
		case h.State != state:
			a.diverged = append(a.diverged, rank)
		case giver < 0 || h.Oldest < hellos[giver].Oldest:
			giver = rank
		}
	}
	for rank, h := range hellos {
		if h.place == a.front {
			continue
		}
		if h.Step < a.front.Step && h.Step+1 < hellos[giver].Oldest {
			a.behind = append(a.behind, rank)
			continue
		}
		a.giver, a.from = giver, max(least+1, hellos[giver].Oldest)
	}
	a.alike = !slices.ContainsFunc(hellos, func(h hello) bool { return h.place != a.front || h.State != state })
	a.keep(hellos, state)
	return a, nil
}

// majority finds the State that most of the foremost members have. A copy is no witness of its own: it says what the member
// had from whom it came, right or wrong. So copies do not make a majority unless there is nothing else, but one member alone
// does not prevail against them either.
func (a *agreement) majority(hellos []hello) (uint64, error) {
	type votes struct{ own, all int }
	count, own := map[uint64]votes{}, 0
	for _, h := range hellos {
		if h.place != a.front {
			continue
		}
		v := count[h.State]
		v.all++
		if !h.Copied {
			v.own++
			own++
		}
		count[h.State] = v
	}
	votesOf := func(s uint64) int {
		if own == 0 {
			return count[s].all
		}
		return count[s].own
	}
	states := slices.SortedFunc(maps.Keys(count), func(x, y uint64) int {
		return cmp.Or(cmp.Compare(votesOf(y), votesOf(x)), cmp.Compare(count[y].all, count[x].all), cmp.Compare(x, y))
	})
	if len(states) > 1 && (votesOf(states[0]) < 2 || votesOf(states[0]) == votesOf(states[1])) {
		return 0, &TieError{a.front.Step, [2]string{fmt.Sprintf("%016x", states[0]), fmt.Sprintf("%016x", states[1])}}
	}
	return states[0], nil
}

// keep decides whose computed lanes count: those of the members that have most, as long as none is counted twice.
func (a *agreement) keep(hellos []hello, state uint64) {
	var ranks []int
	for rank, h := range hellos {
		if h.place == a.front && h.State == state {
			ranks = append(ranks, rank)
		}
	}
	count := func(rank int) (n int) {
		for _, w := range hellos[rank].Lanes {
			n += bits.OnesCount64(w)
		}
		return n
	}
	slices.SortStableFunc(ranks, func(x, y int) int { return cmp.Compare(count(y), count(x)) })
	taken := make([]uint64, (len(a.todo)+63)/64)
	for _, rank := range ranks {
		a.keeps[rank] = true
		for i, w := range hellos[rank].Lanes {
			a.keeps[rank] = a.keeps[rank] && taken[i]&w == 0
		}
		if !a.keeps[rank] {
			continue
		}
		for i, w := range hellos[rank].Lanes {
			taken[i] |= w
		}
	}
	for lane := range a.todo {
		if taken[lane/64]>>(lane%64)&1 != 0 {
			a.todo[lane] = -1
		}
	}
}

// lanes are those that rank is to compute, ascending.
func (a *agreement) lanes(rank int) []int {
	var list []int
	for lane, r := range a.todo {
		if r == rank {
			list = append(list, lane)
		}
	}
	return list
}
