package control

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/internal/view"
)

func TestThoseWhoFlapWaitLongerEachTime(t *testing.T) {
	r := &run{falls: map[string]*fall{}}
	if !r.notYet("a").IsZero() {
		t.Error("who was never lost waits")
	}
	now := 0.0
	for i, want := range []time.Duration{0, 1, 2, 4, 8, 10, 10, 10} {
		r.fell(at(now), "a")
		delay := max(0, r.notYet("a").Sub(at(now)))
		if delay != want*time.Second {
			t.Errorf("after loss %d it waits %v, want %v s", i+1, delay, want)
		}
		now += steady.Seconds() // just short enough to be remembered
	}
	for range 100 {
		r.fell(at(now), "a")
	}
	if delay := r.notYet("a").Sub(at(now)); delay != longestDelay {
		t.Errorf("after a hundred losses it waits %v", delay)
	}
	if !r.notYet("b").IsZero() {
		t.Error("another waits with it")
	}
	r.fell(at(now).Add(steady+1), "a")
	if !r.notYet("a").IsZero() {
		t.Error("losses are not forgotten")
	}
}

func TestThreeInTurnMakeALanePoison(t *testing.T) {
	s := &spec.Resolved{Spec: spec.Default("lift"), Samples: 64}
	s.Batch.Lanes, s.Batch.Micro = 4, 2
	// dies lets these members of a view die that has so many members and gives lane l to rank owner[l].
	dies := func(r *run, owner []int, ids ...view.NodeID) string {
		v := &view.View{Owner: owner}
		for i := range 4 {
			v.Members = append(v.Members, view.Member{Node: node1(string(rune('a' + i)))})
		}
		for i, id := range ids {
			v.Members[int(id.Name[0]-'a')].Node = ids[i]
		}
		r.view = v
		return r.losses.poison(r, decision{Next: &view.View{}, Died: ids})
	}
	a, b, c, d := node1("a"), node1("b"), node1("c"), node1("d")
	again := view.NodeID{Name: "d", Boot: 2}
	type death struct {
		owner []int
		who   []view.NodeID
		step  uint64
	}
	of := func(step uint64, owner []int, who ...view.NodeID) death { return death{owner, who, step} }
	for _, tt := range []struct {
		name   string
		deaths []death
		want   string // of the last; "" is none
	}{
		{"two", []death{of(4, []int{0, 1, 2, 3}, d), of(4, []int{0, 1, 2, 2}, c)}, ""},
		{"three", []death{of(4, []int{0, 1, 2, 3}, d), of(4, []int{0, 1, 2, 2}, c), of(4, []int{0, 0, 1, 1}, b)}, "members d, c, b were lost in turn at step 5, each with lane 3 to compute (samples "},
		{"three with two lanes", []death{of(4, []int{0, 1, 3, 3}, d), of(4, []int{0, 1, 2, 2}, c), of(4, []int{0, 0, 1, 1}, b)}, "each with lanes 2, 3 to compute"},
		{"three with different lanes", []death{of(4, []int{0, 1, 2, 3}, d), of(4, []int{3, 1, 2, 0}, c), of(4, []int{0, 1, 2, 0}, b)}, ""},
		{"at once", []death{of(4, []int{0, 1, 2, 3}, b, c, d), of(4, []int{0, 0, 0, 0}, a)}, ""},
		{"at different steps", []death{of(4, []int{0, 1, 2, 3}, d), of(4, []int{0, 1, 2, 2}, c), of(5, []int{0, 0, 1, 1}, b)}, ""},
		{"the same node started again", []death{of(4, []int{0, 1, 2, 3}, d), of(4, []int{0, 1, 2, 3}, again), of(4, []int{0, 1, 2, 2}, c)}, "members d, d, c were lost"},
		{"the same one, told twice", []death{of(4, []int{0, 1, 2, 3}, d), of(4, []int{0, 1, 2, 3}, d), of(4, []int{0, 1, 2, 2}, c)}, ""},
	} {
		r, got := &run{spec: s}, ""
		for i, x := range tt.deaths {
			if got != "" {
				t.Errorf("%s: stops after %d: %s", tt.name, i, got)
			}
			r.progress.step = x.step
			got = dies(r, x.owner, x.who...)
		}
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	r := &run{spec: s}
	for range 5 {
		if why := r.losses.poison(r, decision{Died: []view.NodeID{d}}); why != "" {
			t.Errorf("a wait counts as a loss: %s", why)
		}
	}
}

// A coordinator that starts again holds against members what the one before did.
func TestLossesOutlastTheCoordinator(t *testing.T) {
	text, err := resolve("r", map[string]string{"lanes": "2"}).JSON()
	if err != nil {
		t.Fatal(err)
	}
	a, b, c, d := view.NodeID{Name: "a", Boot: 1}, view.NodeID{Name: "b", Boot: 1}, view.NodeID{Name: "c", Boot: 1}, view.NodeID{Name: "d", Boot: 1}
	at := time.Unix(1e9, 0)
	seated := func(number uint64, first view.NodeID) command {
		at = at.Add(time.Second)
		v := &view.View{Run: "r", Incarnation: 1, Number: number, Members: []view.Member{{Node: first}, {Node: d}}, Owner: []int{0, 1}, Ring: []int{0, 1}}
		return command{Kind: viewed, At: at.UnixNano(), Run: "r", View: v, Step: 5}
	}
	without := func(cmd command, lost view.NodeID) command {
		cmd.Lost, cmd.Died = []string{lost.Name}, []view.NodeID{lost}
		return cmd
	}
	cmds := []command{
		{Kind: started},
		{Kind: launched, Run: "r", Spec: text},
		seated(1, a), without(seated(2, b), a), without(seated(3, a), b), without(seated(4, c), a),
	}
	cmds[5].Apart = []pair{{"a", "d"}}
	open := func(cmds []command) *run {
		book := &book{}
		for _, cmd := range cmds {
			if err := book.apply(cmd); err != nil {
				t.Fatal(err)
			}
		}
		return newRun(book.find("r"))
	}
	r := open(cmds)
	if want := at.Add(firstDelay); !r.notYet("a").Equal(want) || !r.notYet("b").IsZero() || len(r.apart) != 1 {
		t.Errorf("a may come back at %v, want %v; b at %v; apart: %v", r.notYet("a"), want, r.notYet("b"), r.apart)
	}
	if got := r.losses.lanes[0]; r.losses.step != 4 || len(got) != 2 || got[0] != a || got[1] != b {
		t.Errorf("over lane 0 of step %d were lost %v", r.losses.step+1, got)
	}
	if r.view.Number != 4 || r.progress.step != 0 {
		t.Errorf("the run is in view %d after step %d", r.view.Number, r.progress.step)
	}
	r.progress.step = 4
	if why := r.losses.poison(r, decision{Next: r.view, Died: []view.NodeID{c}}); !strings.Contains(why, "a, b, c were lost in turn at step 5") {
		t.Errorf("a third loss over the lane: %q", why)
	}

	// Whoever resumes a run that was stopped begins anew.
	r = open(append(slices.Clone(cmds), command{Kind: halting, Run: "r"}, command{Kind: ended, Run: "r"}, command{Kind: resumed, Run: "r"}))
	if !r.notYet("a").IsZero() || r.losses.lanes != nil || r.stopping {
		t.Errorf("after resume a may come back at %v; losses %v; stopping %v", r.notYet("a"), r.losses, r.stopping)
	}
	if r = open(append(slices.Clone(cmds), command{Kind: halting, Run: "r"})); !r.stopping {
		t.Error("that the run was to stop is forgotten")
	}
}
