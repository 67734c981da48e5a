package view

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// some is a sound view of three members and four lanes.
func some() *View {
	return &View{
		Run: "r", Incarnation: 1, Number: 1, Owner: []int{0, 1, 2, 0}, Ring: []int{0, 2, 1},
		Members: []Member{{Node: NodeID{"ada", 7}}, {Node: NodeID{"bob", 3}}, {Node: NodeID{"bob", 9}}},
	}
}

func TestViewsThatCannotBeAreNamed(t *testing.T) {
	for says, change := range map[string]func(v *View){
		"":                        func(*View) {},
		`of run "other"`:          func(v *View) { v.Run = "other" },
		"0 members":               func(v *View) { v.Members, v.Ring = nil, nil },
		"4097 members":            func(v *View) { v.Members = make([]Member, 4097) },
		"3 lanes, the run has 4":  func(v *View) { v.Owner = v.Owner[:3] },
		"lane 1 to rank 3 of 3":   func(v *View) { v.Owner[1] = 3 },
		"lane 0 to rank -1 of 3":  func(v *View) { v.Owner[0] = -1 },
		"3 members and a ring of": func(v *View) { v.Ring = v.Ring[1:] },
		"each of 3 members once":  func(v *View) { v.Ring[1] = 1 },
		"must be sorted":          func(v *View) { slices.Reverse(v.Members) },
		"and differ":              func(v *View) { v.Members[2] = v.Members[1] },
	} {
		v := some()
		change(v)
		if err := v.Check("r", 4); (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("want %q, got %v", says, err)
		}
	}
}

func TestRankIsTheIndexOfAMember(t *testing.T) {
	v := &View{}
	for i := range 40 {
		v.Members = append(v.Members, Member{Node: NodeID{fmt.Sprintf("n%02d", i/3), uint64(i % 3)}})
	}
	for i, m := range v.Members {
		if r := v.Rank(m.Node); r != i {
			t.Errorf("%v has rank %d, is member %d", m.Node, r, i)
		}
	}
	for _, other := range []NodeID{{}, {"n05", 3}, {"n5", 0}, {"z", 0}} {
		if r := v.Rank(other); r != -1 {
			t.Errorf("%v, no member, has rank %d", other, r)
		}
	}
}
