package checkpoints

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// MaxPieces bounds the indices of pieces: index is below it. The code's field has as many elements.
const MaxPieces = 256

// Holder is a member that keeps pieces.
type Holder struct {
	Name string `json:"name"`
	Host string `json:"host,omitempty"` // what fails together with it; empty: nothing known
	Zone string `json:"zone,omitempty"` // and what that stands in
	Has  []int  `json:"has"`            // indices of the pieces it keeps, ascending
}

// Endurance is how many losses a placement survives, whichever they are: the pieces left are still enough.
type Endurance struct {
	Members int // any so many members; −1: the pieces are not enough even without a loss
	Hosts   int // any so many hosts, as far as labelled
	Zones   int // any so many zones, as far as labelled
}

// DefaultParity is how many of members may be lost when nobody says.
func DefaultParity(members int) int {
	switch {
	case members < 2:
		return 0
	case members < 4:
		return 1
	case members < 6:
		return 2
	case members < 8:
		return 3
	}
	return 4
}

// Place spreads pieces over holders so that any data distinct pieces are left after the loss of any parity of them, with
// as few pieces as it finds. No holder loses a piece that it has, no index is given to two, and equal arguments give equal
// placements. It returns the holders with their pieces, those they have and those they are to get.
//
// Where hosts or zones are labelled it also aims at surviving the loss of as many hosts and zones as DefaultParity says of
// their number, and no more than parity. weak says in words what cannot be survived of that; nothing when all can. An
// error says why even the members' parity is out of reach.
func Place(holders []Holder, data, parity int) (placed []Holder, weak []string, err error) {
	if parity < 0 || parity >= len(holders) {
		return nil, nil, fmt.Errorf("place pieces: %d of %d members cannot be lost without losing all: lower checkpoint.parity or add members", parity, len(holders))
	}
	if data < 1 || data > maxData {
		return nil, nil, fmt.Errorf("place pieces: checkpoint.data is %d: use 1 to %d", data, maxData)
	}
	for _, h := range holders {
		if slices.ContainsFunc(h.Has, func(i int) bool { return i < 0 || i >= MaxPieces }) {
			return nil, nil, fmt.Errorf("place pieces: %s says that it has %v: there are pieces 0 to %d", h.Name, h.Has, MaxPieces-1)
		}
	}
	p := newPlacing(holders, data)
	want := Endurance{Members: parity, Hosts: wanted(p.hosts, parity), Zones: wanted(p.zones, parity)}
	var enough []Holder // the first placement that serves the members
	for {
		got := Endure(p.holders, data)
		if got.Members >= parity {
			if got.Hosts >= want.Hosts && got.Zones >= want.Zones {
				return p.holders, weakness(p, got, want), nil
			}
			if enough == nil {
				enough = cloneHolders(p.holders)
			}
		}
		if !p.add() {
			break
		}
	}
	if enough == nil {
		return nil, nil, fmt.Errorf("place pieces: %d members that may lose any %d need more than the %d pieces there can be: lower checkpoint.parity or checkpoint.data", len(holders), parity, MaxPieces)
	}
	return enough, weakness(p, Endure(enough, data), want), nil
}

// wanted is how many of the domains are to be lost without loss.
func wanted(domains []int, parity int) int {
	if domains == nil {
		return 0
	}
	return min(parity, DefaultParity(count(domains)))
}

func weakness(p *placing, got, want Endurance) []string {
	if want.Members == 0 { // nothing was to be survived
		return nil
	}
	var weak []string
	say := func(domains []int, noun string, got, want int) {
		switch {
		case domains == nil || got >= max(want, 1):
		case count(domains) == 1:
			weak = append(weak, "all members are in one "+noun+": its loss is the loss of the checkpoint")
		case got < want:
			weak = append(weak, fmt.Sprintf("the loss of %d of %d %ss is the loss of the checkpoint: spread members more evenly", got+1, count(domains), noun))
		}
	}
	say(p.hosts, "host", got.Hosts, want.Hosts)
	say(p.zones, "zone", got.Zones, want.Zones)
	return weak
}

// placing is a placement on its way: which holder is in which domain, and what each has.
type placing struct {
	data         int
	holders      []Holder
	hosts, zones []int // by holder: the number of its domain, nil when nobody is labelled
	used         [MaxPieces]bool
	next         int
}

func newPlacing(holders []Holder, data int) *placing {
	p := &placing{data: data, holders: cloneHolders(holders)}
	p.hosts, p.zones = domains(holders)
	for _, h := range holders {
		for _, i := range h.Has {
			p.used[i] = true
		}
	}
	return p
}

// add gives the lowest free index to the holder whose zone, then host, then self has the fewest; one with data pieces has
// all it can use.
func (p *placing) add() bool {
	for p.next < MaxPieces && p.used[p.next] {
		p.next++
	}
	if p.next == MaxPieces {
		return false
	}
	best := -1
	var least [3]int
	for i, h := range p.holders {
		if len(h.Has) >= p.data {
			continue
		}
		load := [3]int{p.load(p.zones, i), p.load(p.hosts, i), len(h.Has)}
		if best < 0 || slices.Compare(load[:], least[:]) < 0 {
			best, least = i, load
		}
	}
	if best < 0 {
		return false
	}
	has := append(p.holders[best].Has, p.next)
	slices.Sort(has)
	p.holders[best].Has, p.used[p.next] = has, true
	return true
}

// load is the number of pieces in the domain of holder i, and 0 when nobody is labelled.
func (p *placing) load(domains []int, i int) int {
	n := 0
	for j, d := range domains {
		if d == domains[i] {
			n += len(p.holders[j].Has)
		}
	}
	return n
}

func cloneHolders(holders []Holder) []Holder {
	c := slices.Clone(holders)
	for i := range c {
		c[i].Has = slices.Clone(c[i].Has)
	}
	return c
}

// domains numbers hosts and zones by holder. A holder without a label is a domain of its own; without any labels there are
// no domains. Hosts of one name in two zones are two hosts.
func domains(holders []Holder) (hosts, zones []int) {
	number := func(label func(Holder) string, key func(Holder) string) []int {
		of, labelled := make([]int, len(holders)), false
		for i, h := range holders {
			of[i] = i
			if label(h) == "" {
				continue
			}
			labelled = true
			if j := slices.IndexFunc(holders[:i], func(o Holder) bool { return label(o) != "" && key(o) == key(h) }); j >= 0 {
				of[i] = of[j]
			}
		}
		if !labelled {
			return nil
		}
		return of
	}
	host, zone := func(h Holder) string { return h.Host }, func(h Holder) string { return h.Zone }
	return number(host, func(h Holder) string { return h.Zone + "\x00" + h.Host }), number(zone, zone)
}

// count is the number of domains.
func count(domains []int) int {
	n := 0
	for i, d := range domains {
		if d == i {
			n++
		}
	}
	return n
}

// Endure says how many losses leave data distinct pieces, whichever they are. Indices must be below MaxPieces. Where there are
// too many combinations to look at, it says a number that is safe, and may be too low when holders keep the same indices.
func Endure(holders []Holder, data int) Endurance {
	hosts, zones := domains(holders)
	each := make([]int, len(holders))
	for i := range each {
		each[i] = i
	}
	e := Endurance{Members: losses(holders, each, data)}
	if hosts != nil {
		e.Hosts = max(0, losses(holders, hosts, data))
	}
	if zones != nil {
		e.Zones = max(0, losses(holders, zones, data))
	}
	return e
}

// pieceSet has a bit for each index.
type pieceSet [MaxPieces / 64]uint64

func (s pieceSet) or(o pieceSet) pieceSet {
	for i := range s {
		s[i] |= o[i]
	}
	return s
}

func (s pieceSet) len() int {
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// losses is the greatest number of domains whose loss, whichever they are, leaves data distinct pieces; −1 if there are
// too few without a loss. domain numbers the domain of each holder by its first holder.
func losses(holders []Holder, domain []int, data int) int {
	var sets []pieceSet
	at := make([]int, len(holders))
	for i, h := range holders {
		if domain[i] == i {
			at[i] = len(sets)
			sets = append(sets, pieceSet{})
		}
		for _, p := range h.Has {
			sets[at[domain[i]]][p/64] |= 1 << (p % 64)
		}
	}
	distinct, held := pieceSet{}, 0
	for _, s := range sets {
		distinct = distinct.or(s)
		held += s.len()
	}
	all := distinct.len()
	for k := 0; ; k++ {
		if k > len(sets) || least(sets, k, all, held == all) < data {
			return k - 1
		}
	}
}

// maxCombinations is how many combinations of losses are looked at one by one.
const maxCombinations = 1 << 16

// least is a lower bound of the number of distinct pieces that the loss of any k sets leaves, of all that there are. It is
// the exact number when no piece is in two sets, and when there are few combinations.
func least(sets []pieceSet, k, all int, disjoint bool) int {
	if disjoint || combinations(len(sets), k) > maxCombinations {
		sizes := make([]int, len(sets))
		for i, s := range sets {
			sizes[i] = s.len()
		}
		slices.Sort(sizes)
		for _, n := range sizes[len(sizes)-k:] {
			all -= n
		}
		return all
	}
	worst := all
	var lose func(from, k int, kept pieceSet)
	lose = func(from, k int, kept pieceSet) { // the k to lose are among sets[from:]
		if len(sets)-from == k {
			worst = min(worst, kept.len())
			return
		}
		if k > 0 {
			lose(from+1, k-1, kept)
		}
		lose(from+1, k, kept.or(sets[from]))
	}
	lose(0, k, pieceSet{})
	return worst
}

// combinations is n over k, or some number above maxCombinations.
func combinations(n, k int) int {
	c := 1
	for i := 1; i <= min(k, n-k); i++ {
		c = c * (n - min(k, n-k) + i) / i
		if c > maxCombinations {
			return c
		}
	}
	return c
}

// Describe names holders and their pieces for people: "a: 0 4, b: 1 5".
func Describe(holders []Holder) string {
	var parts []string
	for _, h := range holders {
		if len(h.Has) > 0 {
			parts = append(parts, h.Name+": "+strings.Trim(fmt.Sprint(h.Has), "[]"))
		}
	}
	return strings.Join(parts, ", ")
}
