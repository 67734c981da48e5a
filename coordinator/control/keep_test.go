package control

import (
	"cmp"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
)

// training are members that entered view 1 and beat at second 9.
func training(names ...string) []report {
	all := ready(names...)
	for i := range all {
		all[i].Phase, all[i].Entered, all[i].Worked = pb.Phase_PHASE_TRAINING, 1, at(9)
	}
	return all
}

// atWork is the first view of these members.
func atWork(lanes int, names ...string) *view.View {
	return decide(at(9), &view.View{Run: "r", Incarnation: 3}, ready(names...), policy{Lanes: lanes, Timing: DefaultTiming()}).Next
}

func TestViewAtWorkByTable(t *testing.T) {
	type do = func(*report)
	abcd := training("a", "b", "c", "d")
	change := func(pairs ...any) []report {
		all := slices.Clone(abcd)
		for i := 0; i < len(pairs); i += 2 {
			all = with(all, pairs[i].(string), pairs[i+1].(do))
		}
		return all
	}
	both := func(all ...do) do {
		return func(r *report) {
			for _, f := range all {
				f(r)
			}
		}
	}
	gone, dead, drain := func(r *report) { r.Gone = true }, func(r *report) { r.Dead = true }, func(r *report) { r.Draining = true }
	fresh := func(r *report) { r.Alive = at(100) }
	out := func(r *report) { r.Entered = 0 }
	made := func(step uint64) do { return func(r *report) { r.Step = step } }
	late := policy{Min: 1, Front: 20, Lag: 3}
	worked := func(last float64) do { return func(r *report) { r.Alive, r.Worked = at(100), at(last) } }
	why := func(l pb.Loss) do { return func(r *report) { r.Why = l } }
	lost := func(peer string, why pb.Loss, when float64) do {
		return func(r *report) { r.Lost, r.Why, r.LostAt = peer, why, at(when) }
	}
	broke := func(peer string, when float64) do { return lost(peer, pb.Loss_LOSS_BROKEN, when) }
	silent := func(peer string, when float64) do { return lost(peer, pb.Loss_LOSS_SILENT, when) }
	refused := func(peer string, when float64) do { return lost(peer, pb.Loss_LOSS_REFUSED, when) }
	failed := func(problem string) do {
		return func(r *report) { r.Phase, r.Problem = pb.Phase_PHASE_FAILED, problem }
	}
	fatal := func(r *report) { r.Phase, r.Problem, r.Fatal = pb.Phase_PHASE_FAILED, "lane 3 is not finite", true }
	differ := func(since float64) do { // as a member, or as a joiner since then
		return func(r *report) {
			r.Problem, r.Fatal, r.Tie, r.TieAt = "hashes x and y", true, &pb.Tie{Step: 4}, at(since)
		}
	}
	starts, done, level := phase(pb.Phase_PHASE_JOINING), phase(pb.Phase_PHASE_FINISHED), phase(pb.Phase_PHASE_READY)
	node := func(name string, f do) report {
		r := report{Node: view.NodeID{Name: name, Boot: 2}, Addr: name + ":1", Alive: at(9)}
		f(&r)
		return r
	}
	and := func(all []report, more ...report) []report { return slices.Concat(all, more) }
	all4 := func(f do) []report { return change("a", f, "b", f, "c", f, "d", f) }
	three := change("a", fresh, "b", gone, "c", fresh, "d", fresh) // of four
	p := policy{Min: 1}
	back := policy{Min: 1, Regained: at(18)} // it hears somebody again
	least := func(n int) policy { return policy{Min: n} }
	apart := policy{Min: 1, Apart: []pair{{"a", "b"}}}

	for _, c := range []struct {
		name    string
		reports []report
		p       policy
		now     float64
		members string // of the next view; "" is none
		soft    bool   // it waits for the end of a step
		end     string // "done", "fail", "empty", "free", "tie"
		why     string // "" is none
	}{
		{"all well", abcd, p, 9.5, "", false, "", ""},
		// A single piece of evidence, and when it suffices.
		{"session broke a moment ago", change("b", gone), p, 9.9, "", false, "", ""},
		{"session broke", change("b", gone), p, 10, "a c d", false, "", "lost member b: its session broke, silent for 1.0 s"},
		{"session broke, but steps prove it alive", change("b", both(gone, func(r *report) { r.Alive = at(11.5) })), p, 11.9, "", false, "", ""},
		{"session and link broke", change("b", gone, "a", broke("b", 9)), p, 9, "a c d", false, "", "lost member b: its session broke, and a lost its link to it"},
		{"nobody at its address", change("b", gone, "a", refused("b", 9)), p, 9, "a c d", false, "", "its session broke, and a finds nobody at its address"},
		{"the better witness is named", change("b", gone, "a", broke("b", 9), "c", refused("b", 9)), p, 9, "a c d", false, "", "its session broke, and c finds nobody at its address"},
		{"refused, but its session is there", change("a", refused("b", 9)), p, 9.9, "", false, "", ""},
		{"gossip alone", change("b", dead), p, 10.9, "", false, "", ""},
		{"gossip and silence", change("a", fresh, "b", dead), p, 11, "a c d", false, "", "lost member b: gossip finds it dead, silent for 2.0 s"},
		{"gossip and silence of all", change("b", dead, "c", dead), p, 11, "", false, "", "no member is heard: waits for one of them"},
		{"one is heard again, others may come back", change("a", fresh, "b", both(gone, dead)), back, 21.9, "", false, "", ""},
		{"they do not", change("a", fresh, "b", both(gone, dead), "c", fresh, "d", fresh), back, 22, "a c d", false, "", "lost member b: its session broke, silent for 13.0 s"},
		{"one is heard again, and lost a link meanwhile", change("a", both(fresh, broke("b", 9)), "b", gone, "c", fresh, "d", fresh), back, 18, "a c d", false, "", "a lost its link to it"},
		{"silence on a link", change("a", silent("b", 9)), p, 9.9, "", false, "", ""},
		{"silence on a link and towards the coordinator", change("a", silent("b", 8)), p, 10, "a c d", false, "", "lost member b: a lost its link to it, silent for 1.0 s"},
		{"silence", change("a", fresh, "c", fresh, "d", fresh), p, 12.9, "", false, "", ""},
		{"long silence", change("a", fresh, "c", fresh, "d", fresh), p, 13, "a c d", false, "", "lost member b: silent for 4.0 s"},
		{"goodbye", change("c", phase(pb.Phase_PHASE_LEAVING)), p, 9, "a b d", false, "", "lost member c: it left"},
		{"has not come to the view yet", and(change("a", fresh, "b", both(out, worked(80.1)), "c", fresh, "d", fresh)), p, 100, "", false, "", ""},
		{"does not come to the view", change("a", fresh, "b", both(out, worked(80)), "c", fresh, "d", fresh), p, 100, "a c d", false, "", "lost member b: it does not come to view 1, where others wait for it, and was not busy for 20 s"},
		{"nobody has come to the view", all4(both(out, worked(80))), p, 100, "", false, "", ""},
		{"does not come to the view, and too few would be left", change("a", fresh, "b", both(out, worked(80)), "c", fresh, "d", fresh), least(4), 100, "", false, "", "waits for members: members.min is 4, has a, c, d; lost: b: it does not come to view 1, where others wait for it"},
		{"comes late, and is accused", change("a", broke("b", 7), "b", out), p, 9, "", false, "", ""},
		{"failure", change("c", failed("disk full")), p, 9, "a b d", false, "", "lost member c: it failed: disk full"},
		{"failure of all that fails everybody", change("c", fatal), p, 9, "", false, "fail", "member c failed: lane 3 is not finite"},
		{"starts over from a State of others", change("c", starts), p, 9, "a b d", false, "", "lost member c: it has no State of its own any more"},
		{"starts over, since its State is another one", change("c", both(starts, why(pb.Loss_LOSS_DIVERGED))), p, 9, "a b d", false, "", "lost member c: its State is not that of most members, and it starts over"},
		{"starts over, since it is far behind", change("c", both(starts, why(pb.Loss_LOSS_BEHIND))), p, 9, "a b d", false, "", "lost member c: it lacks steps that nobody has any more, and starts over"},
		{"forgot its part", change("c", phase(pb.Phase_PHASE_IDLE)), p, 9, "a b d", false, "", "lost member c: it has no State of its own any more"},
		{"two at once", change("a", gone, "c", gone), p, 10, "b d", false, "", "lost member a: its session broke, silent for 1.0 s; lost member c: its session broke"},
		{"not all entered the view, but one is lost", change("a", gone, "c", func(r *report) { r.Entered = 0 }), p, 10, "b c d", false, "", "lost member a"},

		// Both ends of a link answer.
		{"a link broke a moment ago", change("a", broke("b", 8)), p, 9.4, "", false, "", ""},
		{"a link broke for long", change("a", broke("b", 8), "b", broke("a", 8.1)), p, 9.5, "a b c d", false, "", "a and b cannot talk to each other and are seated apart"},
		{"the first to accuse counts", change("a", broke("b", 8), "d", broke("c", 7.9)), p, 9.5, "a b c d", false, "", "c and d cannot talk"},
		{"for a second time", change("a", broke("b", 8)), apart, 9.5, "a c d", false, "", "lost member b: it and a cannot talk to each other, though both answer"},
		{"what was said in an earlier view", change("a", both(broke("b", 8), func(r *report) { r.Entered = 0 })), p, 9.5, "", false, "", ""},
		{"of somebody who is no member", change("a", broke("x", 8)), p, 9.5, "", false, "", ""},
		{"somebody else is lost", change("a", broke("b", 8), "b", fresh, "c", gone), p, 10, "a b d", false, "", "lost member c: its session broke"},
		{"one of them wants to leave and must stay", change("a", both(broke("b", 8), drain)), least(4), 9.5, "a b c d", false, "", "seated apart"},

		// Leaving.
		{"one wants to leave", change("b", drain), p, 9, "a c d", true, "", "3 members: a, c, d; leaves: b"},
		{"two want to leave", change("b", drain, "c", drain), p, 9, "a d", true, "", "leaves: b, c"},
		{"too few would be left", change("b", drain), least(4), 9, "", false, "", "b wants to leave, but members.min is 4: waits for another node"},
		{"too few would be left by two", change("b", drain, "c", drain), least(3), 9, "", false, "", "b, c want to leave, but members.min is 3"},
		{"another is on its way", and(change("b", drain), node("e", starts)), least(4), 9, "", false, "", "b wants to leave: waits until e has State"},
		{"another has come", and(change("b", drain), node("e", level)), least(4), 9, "a c d e", true, "", "leaves: b; joins: e"},
		{"all want to leave, another is on its way", and(all4(drain), node("e", starts)), p, 9, "", false, "", "a, b, c, d want to leave: waits until e has State"},
		{"all want to leave", all4(drain), p, 9, "", false, "free", "a, b, c, d leave; no other member has State"},
		{"one wants to leave that must stay when another is lost", change("b", drain, "c", gone), least(3), 10, "a b d", false, "", "lost member c: its session broke"},
		{"one wants to leave and another is lost", change("b", drain, "c", gone), least(2), 10, "a d", false, "", "lost member c: its session broke, silent for 1.0 s; leaves: b"},
		{"not all entered the view", change("b", drain, "c", func(r *report) { r.Entered = 0 }), p, 9, "", false, "", ""},

		// Coming.
		{"one is level", and(abcd, node("e", level)), p, 9, "a b c d e", true, "", "5 members: a, b, c, d, e; joins: e"},
		{"one is level at a step that others have just left", and(abcd, node("e", both(level, made(17)))), late, 9, "a b c d e", true, "", "joins: e"},
		{"one is level at an old step", and(abcd, node("e", both(level, made(16)))), late, 9, "", false, "", ""},
		{"one is level at an old step, and awaited", and(change("b", drain), node("e", both(level, made(16)))), policy{Min: 4, Front: 20, Lag: 3}, 9, "", false, "", "b wants to leave: waits until e has State"},
		{"one is level at an old step, and all others are lost", and(all4(gone), node("e", both(level, made(16)))), late, 10, "e", false, "", "1 member: e"},
		{"several are level", and(abcd, node("e", level), node("f", level)), p, 9, "a b c d e f", true, "", "joins: e, f"},
		{"one is on its way", and(abcd, node("e", starts)), p, 9, "", false, "", ""},
		{"it died", and(abcd, node("e", both(level, gone)), node("f", both(level, dead)), node("g", both(level, drain)), node("h", both(level, failed("x")))), p, 9, "", false, "", ""},
		{"let in later", and(abcd, node("e", both(level, func(r *report) { r.NotYet = at(9.1) }))), p, 9, "", false, "", ""},
		{"let in now", and(abcd, node("e", both(level, func(r *report) { r.NotYet = at(9) }))), p, 9, "a b c d e", true, "", "joins: e"},
		{"members.max", and(abcd, node("e", level)), policy{Min: 1, Max: 4}, 9, "", false, "", ""},
		{"no more lanes", and(abcd, node("e", level)), policy{Min: 1, Lanes: 4}, 9, "", false, "", ""},
		{"a spare replaces who is lost", and(change("b", gone), node("e", level)), policy{Min: 1, Max: 4}, 10, "a c d e", false, "", "lost member b: its session broke, silent for 1.0 s; joins: e"},
		{"back under its old name", and(change("b", gone), node("b", level)), p, 10, "a b c d", false, "", "lost member b: its session broke, silent for 1.0 s; joins: b"},

		// Too few.
		{"members.min", change("b", gone), least(4), 10, "", false, "", "waits for members: members.min is 4, has a, c, d; lost: b: its session broke"},
		{"members.min, the same later", change("a", fresh, "b", gone, "c", fresh, "d", fresh), least(4), 20, "", false, "", "waits for members: members.min is 4, has a, c, d; lost: b: its session broke"},
		{"members.min, another has come", and(change("b", gone), node("e", level)), least(4), 10, "a c d e", false, "", "joins: e"},
		{"all lost", all4(gone), p, 10, "", false, "empty", "all members are lost (a: its session broke; b: its session broke; c: its session broke; d: its session broke): waits for one of them to come back"},
		{"all lost, another is on its way", and(all4(gone), node("e", starts)), p, 10, "", false, "empty", "all members are lost"},
		{"all lost, another has State", and(all4(gone), node("e", level)), p, 10, "e", false, "", "1 member: e; lost member a"},
		{"all lost, another has State but is not enough", and(all4(gone), node("e", level)), least(2), 10, "", false, "", "waits for members: members.min is 2, has e; lost: a"},
		{"all failed", all4(failed("disk full")), p, 9, "", false, "fail", "member a failed: disk full"},
		{"all failed, another is on its way", and(all4(failed("disk full")), node("e", starts)), p, 9, "", false, "empty", "a: it failed: disk full"},

		// Different States.
		{"a tie", change("c", both(failed(""), differ(9))), p, 9, "", false, "tie", "member c says: hashes x and y"},
		{"a tie, and somebody is lost", change("c", both(failed(""), differ(9)), "b", gone), p, 10, "", false, "tie", "member c says"},
		{"a tie, of those who are left", change("a", gone, "b", gone, "c", both(failed(""), differ(9)), "d", gone), p, 10, "", false, "tie", "member c says"},
		{"a joiner sees a tie", and(all4(fresh), node("e", both(starts, differ(9)))), p, 100, "", false, "", ""},
		{"a joiner sees a tie while others are awaited", and(three, node("e", both(starts, differ(70.1)))), least(4), 100, "", false, "", "waits for members"},
		{"a joiner sees a tie for long", and(three, node("e", both(starts, differ(70)))), least(4), 100, "", false, "tie", "node e cannot join: hashes x and y"},
		{"a joiner sees a tie, and another one has come", and(three, node("e", both(starts, differ(70))), node("f", both(level, fresh))), least(4), 100, "a c d f", false, "", "joins: f"},

		// The last State.
		{"some have it", change("a", done, "b", done), p, 9.5, "", false, "", "waits for the last digests"},
		{"some have it, another is level", and(change("a", done), node("e", level)), p, 9.5, "", false, "", "waits for the last digests"},
		{"all have it", all4(done), p, 9, "", false, "done", "all members have the last State"},
		{"all have it, one went", change("a", done, "b", done, "c", done, "d", both(done, gone)), p, 10, "", false, "done", "all members have the last State"},
		{"one was lost before it had it", change("a", done, "b", done, "c", done, "d", gone), p, 10, "", false, "done", "the last State is that of the others; lost before they reported it: d"},
		{"one lacks it and lost its link", change("a", done, "b", both(broke("a", 8)), "c", done, "d", done), p, 9.5, "a b c d", false, "", "a and b cannot talk to each other"},
		{"one has it, one is lost", change("a", done, "b", gone), p, 10, "a c d", false, "", "lost member b"},
	} {
		c.p.Lanes = cmp.Or(c.p.Lanes, 8)
		c.p.Timing = DefaultTiming()
		v := atWork(c.p.Lanes, "a", "b", "c", "d")
		d := decide(at(c.now), v, c.reports, c.p)
		got := ""
		if d.Next != nil {
			got = strings.ReplaceAll(memberNames(d.Next.Members), ",", "")
		}
		end := map[bool]string{d.Done: "done", d.Fail: "fail", d.Empty: "empty", d.Free != nil: "free", d.Tie != nil: "tie"}[true]
		if got != c.members || d.Now == c.soft && got != "" || end != c.end || !strings.Contains(d.Why, c.why) || c.why == "" && d.Why != "" {
			t.Errorf("%s: members %q, now %v, %s, why %q; want %q, %v, %s, %q", c.name, got, d.Now, end, d.Why, c.members, !c.soft, c.end, c.why)
		}
	}
}

// Two and three members are too few to be seated apart, and the one with fewer lanes goes; of equals the later one.
func TestTheOneWithFewerLanesGoesWhereTheRingIsTooSmall(t *testing.T) {
	for _, c := range []struct {
		members      string
		accuser, who string
		owner        []int
		left         string
	}{
		{"a b", "a", "b", []int{0, 0, 1}, "a"},
		{"a b", "b", "a", []int{0, 0, 1}, "a"},
		{"a b", "a", "b", []int{0, 1, 1}, "b"},
		{"a b", "a", "b", []int{0, 0, 1, 1}, "a"},
		{"a b c", "a", "b", []int{0, 1, 2, 0, 1, 1}, "b c"},
		{"a b c", "c", "a", []int{0, 1, 2, 0, 1, 2}, "a b"},
	} {
		v := atWork(len(c.owner), strings.Fields(c.members)...)
		v.Owner = c.owner
		reports := with(training(strings.Fields(c.members)...), c.accuser, func(r *report) { r.Lost, r.Why, r.LostAt = c.who, pb.Loss_LOSS_BROKEN, at(8) })
		d := decide(at(9.5), v, reports, policy{Lanes: len(c.owner), Min: 1, Timing: DefaultTiming()})
		if d.Next == nil || strings.ReplaceAll(memberNames(d.Next.Members), ",", "") != c.left || len(d.Died) != 0 || len(d.Lost) != 1 {
			t.Errorf("%s lost %s, lanes %v: %+v, want %s", c.accuser, c.who, c.owner, d, c.left)
		}
	}
}

func TestThoseWhoCannotTalkSitApartAndShortSumsAreRelayed(t *testing.T) {
	v := atWork(8, "a", "b", "c", "d")
	if v.Relay {
		t.Error("short sums are relayed though nobody quarrels")
	}
	for _, other := range []string{"b", "c", "d"} {
		reports := with(training("a", "b", "c", "d"), "a", func(r *report) { r.Lost, r.Why, r.LostAt = other, pb.Loss_LOSS_BROKEN, at(8) })
		d := decide(at(9.5), v, reports, policy{Lanes: 8, Min: 1, Timing: DefaultTiming()})
		want := []pair{{"a", other}}
		if d.Next == nil || !d.Next.Relay || neighbours(d.Next.Ring, []string{"a", "b", "c", "d"}, want) || !slices.Equal(d.Apart, want) || !slices.Equal(d.Next.Owner, v.Owner) {
			t.Errorf("a lost %s: %+v of %+v", other, d, d.Next)
		}
	}
}

func TestLanesFollowSpeedOnceThatPaysForLong(t *testing.T) {
	v := atWork(12, "a", "b", "c")
	speeds := func(seconds ...float64) []report {
		all := training("a", "b", "c")
		for i, s := range seconds {
			all[i].Lane = s
		}
		return all
	}
	p := policy{Lanes: 12, Min: 1, Timing: DefaultTiming()}
	for _, c := range []struct {
		seconds []float64
		want    bool
	}{
		{[]float64{1, 1, 1}, false},
		{[]float64{1, 1, 0}, false},   // not all are known
		{[]float64{1, 1, 1.2}, false}, // a step of 4.8 could become one of 4 at best, and is not by more than a fifth
		{[]float64{1, 1, 1.3}, false}, // 5.2 → 5
		{[]float64{1, 1, 2}, true},    // 8 → 5
		{[]float64{5, 1, 1}, true},
	} {
		if got := uneven(v, speeds(c.seconds...), p); got != c.want {
			t.Errorf("lanes take %v s: uneven is %v", c.seconds, got)
		}
	}
	slow := speeds(1, 1, 2)
	p.Uneven = at(0)
	if d := decide(at(9.9), v, slow, p); d.Next != nil || d.Why != "" {
		t.Errorf("after 9.9 s: %+v", d)
	}
	d := decide(at(10), v, slow, p)
	if d.Next == nil || d.Now || d.Why != "3 members: a, b, c; lanes follow speed" || len(d.Next.Lanes(2)) != 2 {
		t.Fatalf("after 10 s: %+v, %+v", d, d.Next)
	}
	if uneven(d.Next, slow, p) {
		t.Error("lanes dealt by speed are uneven")
	}
	moved := 0
	for l, r := range d.Next.Owner {
		if r != v.Owner[l] {
			moved++
		}
	}
	if moved != 2 {
		t.Errorf("%d lanes moved from %v to %v", moved, v.Owner, d.Next.Owner)
	}
	p.Uneven = time.Time{}
	if d := decide(at(10), v, slow, p); d.Next != nil {
		t.Errorf("without a gain: %+v", d)
	}
}

// Whatever is reported of members and nodes (protocol.md I10, I11): decide is pure, does not look at the order of reports,
// goes on without whoever is proven lost, and makes a view in which every lane has one owner, no lane moves without need,
// the ring is a permutation, and nobody sits who is lost, leaves or has no State.
func TestDecideWhateverHappens(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	names := []string{"a", "b", "c", "d", "e", "f", "g"}
	phases := []pb.Phase{pb.Phase_PHASE_TRAINING, pb.Phase_PHASE_TRAINING, pb.Phase_PHASE_TRAINING, pb.Phase_PHASE_FINISHED, pb.Phase_PHASE_FAILED, pb.Phase_PHASE_LEAVING, pb.Phase_PHASE_JOINING, pb.Phase_PHASE_IDLE}
	one := func(n int) bool { return r.IntN(n) == 0 }
	views := 0
	for range 5_000 {
		n, lanes := 1+r.IntN(5), 7+r.IntN(6)
		v := atWork(lanes, names[:n]...)
		p := policy{Lanes: lanes, Min: 1 + r.IntN(3), Timing: DefaultTiming()}
		if one(3) {
			p.Max = p.Min + r.IntN(4)
		}
		reports := training(names[:n]...)
		for i := range reports {
			m := &reports[i]
			m.Alive, m.Lane = at(99.5), float64(r.IntN(3))
			if one(6) {
				m.Alive = at(95) // nothing of it for 5 s
			}
			if one(6) {
				m.Phase, m.Problem = phases[r.IntN(len(phases))], "x"
				if one(8) {
					m.Tie = &pb.Tie{}
				}
			}
			m.Gone, m.Dead, m.Draining = one(6), one(6), one(6)
			if other := r.IntN(n); one(6) && other != i {
				m.Lost, m.Why, m.LostAt = names[other], pb.Loss(1+r.IntN(3)), at(95+5*r.Float64())
			}
			if m.Worked = at(99); one(20) {
				m.Entered = 0
				if one(2) {
					m.Worked = at(79)
				}
			}
		}
		for i := range r.IntN(3) {
			e := report{Node: view.NodeID{Name: names[r.IntN(len(names))], Boot: uint64(2 + i)}, Addr: "x", Phase: pb.Phase_PHASE_READY, Alive: at(99.5)}
			if one(3) {
				e.Phase = pb.Phase_PHASE_JOINING
			}
			e.Gone, e.Draining = one(6), one(6)
			reports = append(reports, e)
		}
		d := decide(at(100), v, reports, p)
		shuffled := slices.Clone(reports)
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if again := decide(at(100), v, shuffled, p); !reflect.DeepEqual(again, d) {
			t.Fatalf("decide says %+v, then %+v of the same reports in another order", d, again)
		}
		sound, lost := 0, 0
		for _, m := range reports {
			accused := slices.ContainsFunc(reports, func(by report) bool { return by.Lost == m.Node.Name })
			switch {
			case v.Rank(m.Node) < 0:
			case m.Worked == at(79): // it depends on the others
			case m.Alive == at(95), m.Phase != pb.Phase_PHASE_TRAINING && m.Phase != pb.Phase_PHASE_FINISHED:
				lost++
			case !m.Gone && !accused:
				sound++
			}
		}
		if lost > 0 && sound >= p.Min && d.Next == nil && !d.Done && d.Tie == nil {
			t.Fatalf("%d members are lost and %d are well, but %+v of %+v", lost, sound, d, reports)
		}
		if d.Next != nil {
			views++
			wantSound(t, v, d, reports, p)
		}
	}
	if views < 1000 {
		t.Errorf("only %d views were decided", views)
	}
}

func wantSound(t *testing.T, v *view.View, d decision, reports []report, p policy) {
	t.Helper()
	n := d.Next
	if n.Number != v.Number+1 || n.Incarnation != v.Incarnation || n.Run != v.Run || len(n.Members) == 0 || len(n.Members) < p.Min || len(n.Members) > max(p.seats(), len(v.Members)) {
		t.Fatalf("view %+v after %+v by %+v", n, v, p)
	}
	held := make([]int, len(n.Members))
	if len(n.Owner) != p.Lanes {
		t.Fatalf("%d lanes of %d have an owner", len(n.Owner), p.Lanes)
	}
	for _, rank := range n.Owner {
		held[rank]++
	}
	if slices.Min(held) == 0 {
		t.Fatalf("lanes %v: a member has none", n.Owner)
	}
	if ring := slices.Sorted(slices.Values(n.Ring)); !slices.Equal(ring, ascending(len(n.Members))) {
		t.Fatalf("ring %v of %d members", n.Ring, len(n.Members))
	}
	if !slices.IsSortedFunc(n.Members, func(a, b view.Member) int {
		return a.Node.Compare(b.Node)
	}) {
		t.Fatalf("members %v are not sorted", n.Members)
	}
	for _, m := range n.Members {
		i := slices.IndexFunc(reports, func(r report) bool { return r.Node == m.Node })
		if i < 0 {
			t.Fatalf("nobody reported %v", m.Node)
		}
		r := reports[i]
		was := v.Rank(m.Node) >= 0
		switch {
		case was && slices.Contains(d.Lost, m.Node.Name):
			t.Fatalf("%v is lost and sits: %+v", m.Node, d)
		case was && (r.Phase != pb.Phase_PHASE_TRAINING && r.Phase != pb.Phase_PHASE_FINISHED || r.Alive == at(95)):
			t.Fatalf("%+v sits", r)
		case !was && (r.Phase != pb.Phase_PHASE_READY || r.Gone || r.Draining):
			t.Fatalf("%+v joins", r)
		}
	}
	// Fewest lanes move: none leaves a member that stays and afterwards holds no more than it could.
	moved, gained := 0, make([]int, len(n.Members))
	for l, rank := range n.Owner {
		if was := n.Rank(v.Members[v.Owner[l]].Node); was >= 0 && was != rank {
			moved++
			gained[was]--
			gained[rank]++
		}
	}
	lossOf := 0
	for _, g := range gained {
		lossOf += max(0, -g)
	}
	if moved != lossOf {
		t.Fatalf("lanes %v became %v: %d moved between members that stay, %d would do", v.Owner, n.Owner, moved, lossOf)
	}
}
