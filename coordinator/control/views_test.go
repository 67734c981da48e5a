package control

import (
	"math/rand/v2"
	"reflect"
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

func TestViewAtWorkByTable(t *testing.T) {
	v := seat(&view.View{Run: "r"}, ready("a", "b", "c"), policy{Lanes: 6, Timing: DefaultTiming()}).Next
	abc := ready("a", "b", "c")
	for i := range abc {
		abc[i].Phase = pb.Phase_PHASE_TRAINING
	}
	done := with(with(abc, "a", phase(pb.Phase_PHASE_FINISHED)), "b", phase(pb.Phase_PHASE_FINISHED))
	gone := func(r *report) { r.Gone = true }
	lost := func(peer string, when float64) func(*report) {
		return func(r *report) { r.Phase, r.Problem, r.Lost, r.LostAt = pb.Phase_PHASE_FAILED, "ring", peer, at(when) }
	}
	for _, c := range []struct {
		name       string
		reports    []report
		now        float64
		fail, done bool
		why        string
	}{
		{"all well", abc, 9.5, false, false, ""},
		{"session broke a moment ago", with(abc, "b", gone), 9.9, false, false, ""},
		{"session broke", with(abc, "b", gone), 10, true, false, "lost member b: its session broke, silent for 1.0 s"},
		{"session broke, but it proves alive", with(with(abc, "b", gone), "b", func(r *report) { r.Alive = at(11.5) }), 11.9, false, false, ""},
		{"gossip alone", with(abc, "b", func(r *report) { r.Dead = true }), 10.9, false, false, ""},
		{"gossip and silence", with(abc, "b", func(r *report) { r.Dead = true }), 11, true, false, "lost member b: gossip finds it dead"},
		{"silence", abc, 12.9, false, false, ""},
		{"long silence", with(abc, "a", func(r *report) { r.Alive = at(13) }), 13, true, false, "lost member b: silent for 4.0 s"},
		{"accused and silent", with(abc, "a", lost("c", 9.5)), 10, true, false, "lost member c: a lost its link to it, silent for 1.0 s"},
		{"leaving", with(abc, "c", phase(pb.Phase_PHASE_LEAVING)), 9, true, false, "lost member c: it left"},
		{"failed by itself", with(with(abc, "a", lost("c", 8)), "c", func(r *report) { r.Phase, r.Problem = pb.Phase_PHASE_FAILED, "disk full" }), 9, true, false, "member c failed: disk full"},
		{"failed a moment ago", with(abc, "c", func(r *report) { r.Phase, r.Since = pb.Phase_PHASE_FAILED, at(8.9) }), 9, false, false, ""},
		{"failed because another may be gone", with(with(abc, "a", func(r *report) { r.Phase, r.Since = pb.Phase_PHASE_FAILED, at(9.1) }), "b", gone), 9.9, false, false, ""},
		{"failed because another is gone", with(with(abc, "a", func(r *report) { r.Phase, r.Since = pb.Phase_PHASE_FAILED, at(9.1) }), "b", gone), 10, true, false, "lost member b: its session broke"},
		{"failed, and the other came back", with(abc, "a", func(r *report) { r.Phase, r.Since, r.Problem = pb.Phase_PHASE_FAILED, at(9.1), "why" }), 10.1, true, false, "member a failed: why"},
		{"link broke, both live", with(abc, "a", lost("c", 8)), 9.4, false, false, ""},
		{"link broke for long, both live", with(with(abc, "a", lost("c", 8)), "c", lost("a", 8.1)), 9.5, true, false, "lost member c: a lost its link to it, and both still answer"},
		{"the first to accuse counts", with(with(abc, "a", lost("c", 8)), "c", lost("a", 7)), 9.5, true, false, "lost member a: c lost"},
		{"the strongest evidence counts", with(with(abc, "a", lost("b", 8.9)), "c", gone), 10, true, false, "lost member b: a lost its link to it"},
		{"some have the last State", done, 9.5, false, false, "waits for the last digests"},
		{"all have it", with(done, "c", phase(pb.Phase_PHASE_FINISHED)), 9, false, true, "all members"},
		{"one was lost before it had it", with(done, "c", gone), 10, false, true, "lost before they reported it: c"},
		{"one failed because the others were done", with(done, "c", lost("a", 9)), 9.1, false, true, "lost before they reported it: c"},
	} {
		d := decide(at(c.now), v, c.reports, policy{Lanes: 6, Min: 1, Timing: DefaultTiming()})
		if d.Fail != c.fail || d.Done != c.done || !strings.Contains(d.Why, c.why) || c.why == "" && d.Why != "" || d.Next != nil {
			t.Errorf("%s: fail %v, done %v, why %q; want %v, %v, %q", c.name, d.Fail, d.Done, d.Why, c.fail, c.done, c.why)
		}
	}
}

// protocol.md I11, and: whatever happens to a member, the run goes on or ends with a reason within 5 s of its last word.
func TestDecideIsPureAndNeverHangsOnALostMember(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	names := []string{"a", "b", "c", "d", "e"}
	for range 2000 {
		n := 1 + r.IntN(len(names))
		reports := ready(names[:n]...)
		v := seat(&view.View{Run: "r"}, reports, policy{Lanes: 8, Timing: DefaultTiming()}).Next
		for i := range reports {
			reports[i].Phase = pb.Phase_PHASE_TRAINING
			reports[i].Alive = at(100)
		}
		victim := r.IntN(n)
		reports[victim].Alive = at(95) // nothing of it for 5 s
		reports[victim].Gone, reports[victim].Dead = r.IntN(2) == 0, r.IntN(2) == 0
		if other := r.IntN(n); other != victim && r.IntN(2) == 0 {
			reports[other].Phase, reports[other].Lost, reports[other].LostAt = pb.Phase_PHASE_FAILED, names[r.IntN(n)], at(95+5*r.Float64())
		}
		p := policy{Lanes: 8, Min: 1, Timing: DefaultTiming()}
		d := decide(at(100), v, reports, p)
		if !d.Fail || !strings.Contains(d.Why, "lost member "+names[victim]) {
			t.Fatalf("%s is lost, but %+v of %+v", names[victim], d, reports)
		}
		r.Shuffle(n, func(i, j int) { reports[i], reports[j] = reports[j], reports[i] })
		if again := decide(at(100), v, reports, p); !reflect.DeepEqual(again, d) {
			t.Fatalf("decide says %+v, then %+v of the same reports in another order", d, again)
		}
	}
}
