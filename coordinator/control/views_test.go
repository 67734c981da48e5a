package control

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
)

// at is a moment of a table, in seconds.
func at(seconds float64) time.Time {
	return time.Unix(1e9, 0).Add(time.Duration(seconds * float64(time.Second)))
}

func node1(name string) view.NodeID { return view.NodeID{Name: name, Boot: 1} }

// ready are nodes that became ready at second 0 and beat at second 9.
func ready(names ...string) []report {
	var all []report
	for _, name := range names {
		all = append(all, report{Node: node1(name), Addr: name + ":1", Phase: pb.Phase_PHASE_READY, Since: at(0), Alive: at(9)})
	}
	return all
}

func with(r []report, name string, change func(*report)) []report {
	r = slices.Clone(r)
	for i := range r {
		if r[i].Node.Name == name {
			change(&r[i])
		}
	}
	return r
}

func phase(p pb.Phase) func(*report) { return func(r *report) { r.Phase = p } }

func TestFirstViewByTable(t *testing.T) {
	abc := ready("c", "a", "b")
	p := policy{Lanes: 6, Min: 1, Timing: DefaultTiming()}
	expect := func(n int) policy { q := p; q.Expect = n; return q }
	bounds := func(least, most, lanes int) policy { q := p; q.Min, q.Max, q.Lanes = least, most, lanes; return q }
	for _, c := range []struct {
		name    string
		reports []report
		p       policy
		now     float64
		members string // of the view; "" is none
		fail    bool
		why     string
	}{
		{"nobody", nil, p, 10, "", false, "waits for 1 node to be ready, has 0"},
		{"all that are ready", abc, p, 10, "a b c", false, "3 members with 6 lanes: a, b, c"},
		{"too few", abc, bounds(4, 0, 6), 10, "", false, "waits for 4 nodes to be ready, has 3"},
		{"settling", abc, p, 0.9, "", false, "waits a moment"},
		{"settled", abc, p, 1, "a b c", false, ""},
		{"the last to be ready counts", with(abc, "b", func(r *report) { r.Since = at(9.5) }), p, 10, "", false, "waits a moment"},
		{"somebody prepares", with(abc, "b", phase(pb.Phase_PHASE_PREPARING)), p, 29, "", false, "waits for b, preparing"},
		{"somebody prepares for too long", with(abc, "b", phase(pb.Phase_PHASE_PREPARING)), p, 30, "a c", false, ""},
		{"as many as launch expects, at once", abc, expect(3), 0, "a b c", false, ""},
		{"more than launch expects", abc, expect(2), 0, "a b c", false, ""},
		{"fewer than launch expects", abc, expect(4), 1000, "", false, "waits for 4 nodes to be ready, has 3"},
		{"no more than members.max", abc, bounds(1, 2, 6), 10, "a b", false, "without a lane: c"},
		{"no more than lanes", abc, bounds(1, 0, 2), 10, "a b", false, "2 members with 2 lanes: a, b; without a lane: c"},
		{"gone", with(abc, "a", func(r *report) { r.Gone = true }), p, 10, "b c", false, ""},
		{"dead", with(abc, "a", func(r *report) { r.Dead = true }), p, 10, "b c", false, ""},
		{"leaving", with(abc, "a", phase(pb.Phase_PHASE_LEAVING)), p, 10, "b c", false, ""},
		{"failed, others suffice", with(abc, "a", phase(pb.Phase_PHASE_FAILED)), p, 10, "b c", false, ""},
		{"failed, too few others", with(abc, "a", func(r *report) { r.Phase, r.Problem = pb.Phase_PHASE_FAILED, "disk full" }), expect(3), 10, "", true, "member a cannot take part: disk full"},
	} {
		d := decide(at(c.now), &view.View{Run: "r", Incarnation: 3}, c.reports, c.p)
		got := ""
		if d.Next != nil {
			got = strings.ReplaceAll(memberNames(d.Next.Members), ",", "")
			if d.Next.Number != 1 || d.Next.Incarnation != 3 || d.Next.Run != "r" {
				t.Errorf("%s: the view is %+v", c.name, d.Next)
			}
		}
		if got != c.members || d.Fail != c.fail || !strings.Contains(d.Why, c.why) || d.Done {
			t.Errorf("%s: members %q, fail %v, why %q; want %q, %v, %q", c.name, got, d.Fail, d.Why, c.members, c.fail, c.why)
		}
	}
}
