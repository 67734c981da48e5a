package view

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
)

// NodeID names one incarnation of a node: its name and a number drawn when its process started.
// A restarted node is another NodeID under the same Name.
type NodeID struct {
	Name string
	Boot uint64
}

func (n NodeID) String() string { return fmt.Sprintf("%s#%08x", n.Name, uint32(n.Boot)) }

// Compare orders nodes by name, and by boot those of one name.
func (n NodeID) Compare(other NodeID) int {
	return cmp.Or(cmp.Compare(n.Name, other.Name), cmp.Compare(n.Boot, other.Boot))
}

// Member is one seat of a view.
type Member struct {
	Node NodeID
	Addr string // host:port of the node's gRPC server, where its ring links and peer calls arrive
	// Host and Zone are labels of the node: what fails together with it. Empty: nothing known.
	Host, Zone string `json:",omitempty"`
}

// View is an immutable list of members with their lanes. Members are sorted by (name, boot); a member's index is its
// rank. Owner[l] is the rank that computes lane l. The ring visits the ranks in the order Ring.
type View struct {
	Run         string
	Incarnation uint64 // of the coordinator that decided it; the highest wins
	Number      uint64 // counts from 1 within a run
	Members     []Member
	Owner       []int // (L) lane → rank
	Ring        []int // (n) position on the ring → rank
	Relay       bool  // short sums go around the ring too: some members cannot talk to each other
}

// Rank returns the index of node in the view, or -1.
func (v *View) Rank(node NodeID) int {
	i, found := slices.BinarySearchFunc(v.Members, node, func(m Member, n NodeID) int { return m.Node.Compare(n) })
	if !found {
		return -1
	}
	return i
}

// Lanes returns the lanes that rank computes, ascending.
func (v *View) Lanes(rank int) []int {
	var lanes []int
	for l, r := range v.Owner {
		if r == rank {
			lanes = append(lanes, l)
		}
	}
	return lanes
}

// Hash is the first eight bytes of SHA-256 over every field: two views with one hash are the same view.
func (v *View) Hash() uint64 {
	h := sha256.New()
	str := func(s string) {
		var n [4]byte
		binary.LittleEndian.PutUint32(n[:], uint32(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	num := func(x uint64) {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], x)
		h.Write(b[:])
	}
	str(v.Run)
	num(v.Incarnation)
	num(v.Number)
	num(uint64(len(v.Members)))
	for _, m := range v.Members {
		str(m.Node.Name)
		num(m.Node.Boot)
		str(m.Addr)
		if m.Host != "" || m.Zone != "" {
			str(m.Host)
			str(m.Zone)
		}
	}
	if v.Relay {
		num(1)
	}
	for _, list := range [][]int{v.Owner, v.Ring} {
		num(uint64(len(list)))
		for _, x := range list {
			num(uint64(x))
		}
	}
	return binary.LittleEndian.Uint64(h.Sum(nil))
}

// Position names one attempt at one step inside one view.
type Position struct {
	View uint64 // View.Hash
	Step uint64 // the step being made, from 1
	Try  uint32 // from 0
}

func (p Position) String() string {
	return fmt.Sprintf("view %016x step %d try %d", p.View, p.Step, p.Try)
}
