package control

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
	"github.com/torctrain/torc/sharding"
)

// report is what is known of one node that works for a run.
type report struct {
	Node  view.NodeID
	Addr  string
	Host  string // labels: what fails together with it
	Zone  string
	Phase pb.Phase
	Since time.Time // when it entered Phase
	Alive time.Time // the last proof of life: a beat, or a step that no view makes without all its members
	Gone  bool      // its session broke and it has not come back
	Dead  bool      // gossip finds it dead

	Entered  uint64    // number of the view it is in
	Worked   time.Time // when it last was busy, made a step, changed its phase or was in the view at work; not before that began
	Step     uint64    // the last one of which it has State
	Lane     float64   // seconds that one lane takes it; 0: not known
	Draining bool      // it wants to leave
	NotYet   time.Time // it may not enter a view before, since it was lost again and again

	Problem string    // with PHASE_FAILED: why
	Fatal   bool      // with PHASE_FAILED: any other member would fail as well
	Tie     *pb.Tie   // with PHASE_FAILED: of the members; with PHASE_JOINING: of their copies; nil: none was found
	TieAt   time.Time // when it first said so
	Lost    string    // the member to which it lost its link
	Why     pb.Loss   // how
	LostAt  time.Time // when it first said so
}

// policy is what decide goes by.
type policy struct {
	Lanes    int
	Min, Max int // members; Max 0 is no limit
	Expect   int // wait for so many ready nodes before the first view; 0: Min, then Settle

	Incarnation uint64 // of the coordinator that decides

	Apart    []pair
	Front    uint64    // the last step that is known to be made
	Lag      uint64    // how many steps before that a node may be that says it is level: so many may be made until it is heard
	Uneven   time.Time // since when lanes dealt by speed would make steps much shorter; zero: they would not
	Regained time.Time // when a node of the run was heard again after none had been; zero: never
	Timing
}

// pair are two members, by name, that could not talk to each other once.
type pair struct{ A, B string }

func pairOf(a, b string) pair {
	if a > b {
		a, b = b, a
	}
	return pair{a, b}
}

// decision is what decide found.
type decision struct {
	Next  *view.View    // the view to enter; nil: none new
	Now   bool          // the present view is left at once, not at the end of a step
	Lost  []string      // members that are lost, by name
	Died  []view.NodeID // those of Lost that may have died of a lane they had to compute
	Apart []pair        // that Next seats apart
	Done  bool          // every member that is left has the last State
	Fail  bool          // the run cannot go on
	Again []view.NodeID // members that are to begin their part anew, whether Next has a seat for them or not
	Empty bool          // all members are lost
	Tie   *report       // who found that members have different States and nobody can tell which is right; Why says it
	Free  []report      // members to let go although State goes with them
	Quiet bool          // Why is no news for people
	Why   string        // in words: what is waited for, why this view, or why the run ended
}

// decide is the whole membership policy. cur is the view at work, without members before the first; reports are of all
// nodes that work for the run, in any order.
func decide(now time.Time, cur *view.View, reports []report, p policy) decision {
	reports = slices.SortedFunc(slices.Values(reports), compareReports)
	if len(cur.Members) == 0 {
		return first(now, cur, reports, p)
	}
	return keep(now, cur, reports, p)
}

// first decides about the first view: all ready nodes, once there are enough and no further one is about to come.
func first(now time.Time, cur *view.View, reports []report, p policy) decision {
	var ready, preparing []report
	var failed *report
	for i, r := range reports {
		switch {
		case r.Phase == pb.Phase_PHASE_FAILED:
			failed = &reports[i]
		case r.Gone || r.Dead || r.Draining || r.Phase == pb.Phase_PHASE_LEAVING:
		case r.Phase == pb.Phase_PHASE_READY:
			ready = append(ready, r)
		default:
			preparing = append(preparing, r)
		}
	}
	need := max(p.Min, p.Expect, 1)
	if failed != nil && len(ready)+len(preparing) < need {
		return decision{Fail: true, Why: fmt.Sprintf("member %s cannot take part: %s", failed.Node.Name, failed.Problem)}
	}
	if len(ready) < need {
		return decision{Why: waiting(need, ready, preparing)}
	}
	if p.Expect == 0 {
		last := ready[0].Since
		for _, r := range ready {
			if r.Since.After(last) {
				last = r.Since
			}
		}
		if len(preparing) > 0 && now.Sub(last) < p.Patience {
			return decision{Why: "waits for " + names(preparing) + ", preparing"}
		}
		if now.Sub(last) < p.Settle {
			return decision{Why: "waits a moment for further nodes"}
		}
	}
	seated := ready[:min(len(ready), p.seats())]
	why := fmt.Sprintf("%s with %s: %s", count(len(seated), "member"), count(p.Lanes, "lane"), names(seated))
	if spare := ready[len(seated):]; len(spare) > 0 {
		why += "; without a lane: " + names(spare)
	}
	return decision{Next: seat(cur, seated, p), Why: why}
}

func waiting(need int, ready, preparing []report) string {
	why := fmt.Sprintf("waits for %s to be ready, has %d", count(need, "node"), len(ready))
	if len(preparing) > 0 {
		why += "; preparing: " + names(preparing)
	}
	return why
}

// seats is how many members may take part. Who finds no lane is a spare.
func (p policy) seats() int {
	if p.Max > 0 {
		return min(p.Max, p.Lanes)
	}
	return p.Lanes
}

// seat makes the view of these members: lanes stay where they are as far as speeds allow, and pairs are kept apart.
func seat(cur *view.View, members []report, p policy) *view.View {
	next := &view.View{Run: cur.Run, Incarnation: max(cur.Incarnation, p.Incarnation), Number: cur.Number + 1}
	for _, r := range members {
		next.Members = append(next.Members, view.Member{Node: r.Node, Addr: r.Addr, Host: r.Host, Zone: r.Zone})
	}
	next.Owner = deal(cur, members, p)
	var all []string
	for _, r := range members {
		all = append(all, r.Node.Name)
	}
	next.Ring, _ = circle(all, p.Apart)
	next.Relay = slices.ContainsFunc(p.Apart, func(a pair) bool { return slices.Contains(all, a.A) && slices.Contains(all, a.B) })
	return next
}

// deal gives each lane to one of members, by index.
func deal(cur *view.View, members []report, p policy) []int {
	prev := make([]int, p.Lanes)
	for l := range prev {
		prev[l] = -1
		if len(cur.Owner) == p.Lanes {
			prev[l] = slices.IndexFunc(members, func(r report) bool { return r.Node == cur.Members[cur.Owner[l]].Node })
		}
	}
	speeds := make([]float64, len(members))
	for i, r := range members {
		if r.Lane > 0 {
			speeds[i] = 1 / r.Lane
		}
	}
	return sharding.Assign(prev, speeds, p.Lanes)
}

// uneven says whether the steps of cur would be at least a fifth faster if lanes were dealt by the speeds of its members.
func uneven(cur *view.View, members []report, p policy) bool {
	for _, r := range members {
		if r.Lane <= 0 {
			return false
		}
	}
	length := func(owner []int) (longest float64) {
		held := make([]int, len(members))
		for _, r := range owner {
			held[r]++
			longest = max(longest, float64(held[r])*members[r].Lane)
		}
		return longest
	}
	return length(cur.Owner) > 1.2*length(deal(cur, members, p))
}

// keep decides about a view at work. Its members make the last step together or not at all, so once one of them has the
// last State the others' loss cannot change the result.
func keep(now time.Time, cur *view.View, reports []report, p policy) decision {
	s := take(now, cur, reports, p)
	s.putOff(p)
	switch {
	case s.tie != nil:
		return decision{Tie: s.tie, Why: fmt.Sprintf("member %s says: %s", s.tie.Node.Name, s.tie.Problem)}
	case s.fatal != "":
		return decision{Fail: true, Why: s.fatal}
	case s.finished > 0 && len(s.unfinished) == 0:
		why := "all members have the last State"
		if len(s.missed) > 0 {
			why = "the last State is that of the others; lost before they reported it: " + strings.Join(s.missed, ", ")
		}
		return decision{Done: true, Why: why}
	case len(s.stay)+len(s.leave)+len(s.come) == 0: // nobody has State
		if s.failed != "" && len(s.onTheWay) == 0 {
			return decision{Fail: true, Why: s.failed}
		}
		return decision{
			Empty: true, Lost: s.names(), Died: s.died(cur),
			Why: "all members are lost (" + s.lostText() + "): waits for one of them to come back",
		}
	case len(s.lost) > 0 && s.deaf: // who hears nobody cannot tell whether others are gone or itself is cut off
		return decision{Why: "no member is heard: waits for one of them (are all of them gone, or is the coordinator's machine cut off?)"}
	}
	return s.next(now, cur, p)
}

// scene is what keep sees.
type scene struct {
	stay, leave, come []report // members that go on and that want to leave; nodes that may enter
	onTheWay          []report // nodes that fetch State
	done              []report // nodes that have the last State, though they were not there
	lost              []loss
	apart             []pair // members that cannot talk to each other, for the first time
	finished          int
	unfinished        []string
	missed            []string // members that are lost and did not report the last State
	entered           bool     // all members that are left are in the view
	deaf              bool     // nobody was heard within Grace
	fatal, failed     string
	tie               *report // a member that found one
	doubt             *report // a node that cannot join for one
}

// loss is a member that is lost.
type loss struct {
	report
	proof        // of it
	outcast bool // it answers, but cannot talk to another
}

// proof is what proves that a member is lost: what it is, and for how long it has been, which changes all the time.
type proof struct {
	what, since string
	again       bool // it may be of use if it begins its part anew
}

func (s *scene) names() []string {
	var all []string
	for _, l := range s.lost {
		all = append(all, l.Node.Name)
	}
	return all
}

// lostText says who is lost and why, the same as long as that is so.
func (s *scene) lostText() string {
	var all []string
	for _, l := range s.lost {
		all = append(all, l.Node.Name+": "+l.what)
	}
	return strings.Join(all, "; ")
}

// died are the members that may have died of a lane: those that had begun to work in the view and did not go by themselves.
func (s *scene) died(cur *view.View) []view.NodeID {
	var all []view.NodeID
	for _, l := range s.lost {
		if l.Entered == cur.Number && !l.outcast && l.Phase != pb.Phase_PHASE_LEAVING {
			all = append(all, l.Node)
		}
	}
	return all
}

// again are the members that are to begin their part anew.
func (s *scene) again() []view.NodeID {
	var all []view.NodeID
	for _, l := range s.lost {
		if l.again {
			all = append(all, l.Node)
		}
	}
	return all
}

// take sorts the reports.
func take(now time.Time, cur *view.View, reports []report, p policy) *scene {
	s := &scene{entered: true, deaf: true}
	var members []report
	for _, r := range reports {
		s.deaf = s.deaf && now.Sub(r.Alive) > p.Grace
		switch {
		case cur.Rank(r.Node) >= 0:
			members = append(members, r)
		case r.Gone || r.Dead || r.Draining:
		case r.Phase == pb.Phase_PHASE_READY && !now.Before(r.NotYet):
			s.come = append(s.come, r)
		case r.Phase == pb.Phase_PHASE_FINISHED && !now.Before(r.NotYet):
			s.done = append(s.done, r)
		case r.Phase == pb.Phase_PHASE_IDLE, r.Phase == pb.Phase_PHASE_PREPARING, r.Phase == pb.Phase_PHASE_JOINING, r.Phase == pb.Phase_PHASE_READY:
			s.onTheWay = append(s.onTheWay, r) // idle: it has just been told
			if r.Tie != nil && s.doubt == nil {
				s.doubt = &r
			}
		}
	}
	if len(members) < len(cur.Members) {
		panic("control: decide: members of the view are not reported")
	}
	by := accusers(members)
	awaited := slices.ContainsFunc(members, func(r report) bool { return r.Entered == cur.Number })
	for _, m := range members {
		proof := against(now, m, by[m.Node.Name], p)
		if proof.what == "" && awaited && !m.Gone && m.Entered != cur.Number && now.Sub(m.Worked) >= p.Entry {
			proof = absent(now, cur, m)
		}
		isLost := proof.what != ""
		switch {
		case m.Phase == pb.Phase_PHASE_FINISHED:
			s.finished++
		case isLost:
			s.missed = append(s.missed, m.Node.Name)
		default:
			s.unfinished = append(s.unfinished, m.Node.Name)
		}
		switch {
		case m.Phase == pb.Phase_PHASE_FAILED && m.Tie != nil && s.tie == nil:
			s.tie = &m
		case m.Phase == pb.Phase_PHASE_FAILED && m.Fatal:
			s.fatal = cmp.Or(s.fatal, fmt.Sprintf("member %s failed: %s", m.Node.Name, m.Problem))
		case m.Phase == pb.Phase_PHASE_FAILED:
			s.failed = cmp.Or(s.failed, fmt.Sprintf("member %s failed: %s", m.Node.Name, m.Problem))
		}
		switch {
		case isLost:
			s.lost = append(s.lost, loss{report: m, proof: proof})
		case m.Draining:
			s.leave = append(s.leave, m)
		default:
			s.stay = append(s.stay, m)
		}
		s.entered = s.entered && (isLost || m.Entered == cur.Number)
	}
	if len(s.lost) == 0 {
		s.quarrel(now, cur, p)
	}
	return s
}

// putOff lets nodes wait that say they are level, but were so at an old step: one that was cut off, for example, and has not
// heard since of those who have State of later steps. Where nobody has, they are welcome.
func (s *scene) putOff(p policy) {
	if len(s.stay)+len(s.leave) == 0 {
		return
	}
	s.come = slices.DeleteFunc(s.come, func(r report) bool {
		old := p.Front > r.Step && p.Front-r.Step > p.Lag
		if old {
			s.onTheWay = append(s.onTheWay, r)
		}
		return old
	})
}

// next decides which view comes, if any.
func (s *scene) next(now time.Time, cur *view.View, p policy) decision {
	broken := len(s.lost)+len(s.apart) > 0 // no step is made in cur any more
	switch {
	case !broken && !s.entered:
		return decision{} // its members are about to enter it
	case !broken && s.finished > 0:
		return decision{Why: "waits for the last digests", Quiet: true}
	}
	need := max(1, p.Min)
	stay, leave := s.stay, s.leave
	come := s.seated(len(stay), p)
	if broken && len(stay)+len(come) < need { // who has followed to the end can help the others there
		s.come = slices.Concat(s.come, s.done)
		come = s.seated(len(stay), p)
	}
	if broken && len(stay)+len(come) < need { // who wants to leave must stay for now
		stay, leave = slices.Concat(stay, leave), nil
		come = s.seated(len(stay), p)
	}
	switch {
	case len(stay)+len(come) >= need:
	case len(leave) > 0 && len(s.onTheWay) > 0:
		return decision{Why: fmt.Sprintf("%s %s to leave: waits until %s State", names(leave), verb(leave, "wants", "want"), names(s.onTheWay)+verb(s.onTheWay, " has", " have"))}
	case len(leave) > 0 && len(stay)+len(come) == 0:
		return decision{Free: leave, Why: fmt.Sprintf("%s %s; no other member has State", names(leave), verb(leave, "leaves", "leave"))}
	case len(leave) > 0 && len(stay)+len(come)+len(leave) >= p.Min:
		return decision{Why: fmt.Sprintf("%s %s to leave, but members.min is %d: waits for another node", names(leave), verb(leave, "wants", "want"), p.Min)}
	case s.doubt != nil && now.Sub(s.doubt.TieAt) >= p.Hope: // they do not come together, and so cannot find out
		return decision{Tie: s.doubt, Why: fmt.Sprintf("node %s cannot join: %s", s.doubt.Node.Name, s.doubt.Problem)}
	default:
		why := fmt.Sprintf("waits for members: members.min is %d, has %s", p.Min, names(slices.Concat(stay, come, leave)))
		if len(s.lost) > 0 {
			why += "; lost: " + s.lostText()
		}
		return decision{Why: why, Again: s.again()}
	}
	whys := s.reasons(leave, come)
	switch {
	case len(whys) > 0:
	case p.Uneven.IsZero() || now.Sub(p.Uneven) < p.Balance:
		return decision{}
	default:
		whys = []string{"lanes follow speed"}
	}
	p.Apart = slices.Concat(p.Apart, s.apart)
	members := slices.SortedFunc(slices.Values(slices.Concat(stay, come)), compareReports)
	return decision{
		Next: seat(cur, members, p), Now: broken, Lost: s.names(), Died: s.died(cur), Apart: s.apart, Again: s.again(),
		Why: fmt.Sprintf("%s: %s; %s", count(len(members), "member"), names(members), strings.Join(whys, "; ")),
	}
}

// seated are those of come for whom there are seats beside others.
func (s *scene) seated(others int, p policy) []report {
	return s.come[:max(0, min(len(s.come), p.seats()-others))]
}

// reasons says why a view comes.
func (s *scene) reasons(leave, come []report) []string {
	var whys []string
	for _, l := range s.lost {
		whys = append(whys, "lost member "+l.Node.Name+": "+l.what+l.since)
	}
	for _, a := range s.apart {
		whys = append(whys, fmt.Sprintf("%s and %s cannot talk to each other and are seated apart", a.A, a.B))
	}
	if len(leave) > 0 {
		whys = append(whys, "leaves: "+names(leave))
	}
	if len(come) > 0 {
		whys = append(whys, "joins: "+names(come))
	}
	return whys
}

// quarrel deals with members that accuse each other though both answer: the first time they are seated apart, where the
// ring is large enough; the second time, or if it is not, the one with fewer lanes goes. What they said in an earlier view
// does not count, nor what is said of one who has not come to the view yet.
func (s *scene) quarrel(now time.Time, cur *view.View, p policy) {
	members := slices.SortedFunc(slices.Values(slices.Concat(s.stay, s.leave)), compareReports)
	find := func(name string) int {
		return slices.IndexFunc(members, func(r report) bool { return r.Node.Name == name })
	}
	var first *report
	came := func(r report) bool { return r.Entered == cur.Number }
	for i, m := range members {
		if m.Lost != "" && came(m) && find(m.Lost) >= 0 && came(members[find(m.Lost)]) && now.Sub(m.LostAt) >= p.Verdict && (first == nil || m.LostAt.Before(first.LostAt)) {
			first = &members[i]
		}
	}
	if first == nil {
		return
	}
	a := pairOf(first.Node.Name, first.Lost)
	var all []string
	for _, m := range members {
		all = append(all, m.Node.Name)
	}
	if !slices.Contains(p.Apart, a) {
		if _, ok := circle(all, append(slices.Clone(p.Apart), a)); ok {
			s.apart = []pair{a}
			return
		}
	}
	goes, other := members[find(a.B)], a.A
	if len(cur.Lanes(cur.Rank(members[find(a.A)].Node))) < len(cur.Lanes(cur.Rank(goes.Node))) {
		goes, other = members[find(a.A)], a.B
	}
	s.lost = append(s.lost, loss{report: goes, proof: proof{what: "it and " + other + " cannot talk to each other, though both answer"}, outcast: true})
	is := func(r report) bool { return r.Node == goes.Node }
	s.stay, s.leave = slices.DeleteFunc(slices.Clone(s.stay), is), slices.DeleteFunc(slices.Clone(s.leave), is)
}

// against says what proves that m is lost, or nothing. by is the member that lost its link to m, or nil.
func against(now time.Time, m report, by *report, p policy) proof {
	quiet := now.Sub(m.Alive)
	silent := func(after string) string { return fmt.Sprintf("%s for %.1f s", after, quiet.Seconds()) }
	back := now.Sub(p.Regained) >= p.Silence // who was not heard when nobody was has had time to come back
	switch {
	case m.Phase == pb.Phase_PHASE_LEAVING:
		return proof{what: "it left"}
	case m.Phase == pb.Phase_PHASE_FAILED:
		return proof{what: "it failed: " + m.Problem}
	case m.Phase == pb.Phase_PHASE_JOINING && m.Why == pb.Loss_LOSS_DIVERGED:
		return proof{what: "its State is not that of most members, and it starts over"}
	case m.Phase == pb.Phase_PHASE_JOINING && m.Why == pb.Loss_LOSS_BEHIND:
		return proof{what: "it lacks steps that nobody has any more, and starts over"}
	case m.Phase == pb.Phase_PHASE_JOINING || m.Phase == pb.Phase_PHASE_PREPARING || m.Phase == pb.Phase_PHASE_IDLE:
		return proof{what: "it has no State of its own any more"}
	case m.Gone && by != nil && by.Why == pb.Loss_LOSS_REFUSED:
		return proof{what: fmt.Sprintf("its session broke, and %s finds nobody at its address", by.Node.Name)}
	case m.Gone && by != nil:
		return proof{what: fmt.Sprintf("its session broke, and %s lost its link to it", by.Node.Name)}
	case back && m.Gone && quiet >= p.Grace:
		return proof{what: "its session broke", since: silent(", silent")}
	case back && m.Dead && quiet >= 2*p.Grace:
		return proof{what: "gossip finds it dead", since: silent(", silent")}
	case by != nil && quiet >= p.Grace:
		return proof{what: by.Node.Name + " lost its link to it", since: silent(", silent")}
	case back && quiet >= p.Silence:
		return proof{what: "silent", since: silent("")}
	}
	return proof{}
}

// absent proves that m lives and answers, but does not come to the view at work, where others wait for it.
func absent(now time.Time, cur *view.View, m report) proof {
	return proof{
		what:  fmt.Sprintf("it does not come to view %d, where others wait for it", cur.Number),
		since: fmt.Sprintf(", and was not busy for %.0f s", now.Sub(m.Worked).Seconds()), again: true,
	}
}

// accusers are, by the name of a member, who lost its link to it: who was refused before others, then the first of members.
func accusers(members []report) map[string]*report {
	by := map[string]*report{}
	for i, r := range members {
		if best := by[r.Lost]; r.Lost != "" && (best == nil || best.Why != pb.Loss_LOSS_REFUSED && r.Why == pb.Loss_LOSS_REFUSED) {
			by[r.Lost] = &members[i]
		}
	}
	return by
}

// verb is the form of a verb that goes with so many.
func verb(who []report, one, many string) string {
	if len(who) == 1 {
		return one
	}
	return many
}

func compareReports(a, b report) int { return a.Node.Compare(b.Node) }

func names(reports []report) string {
	var all []string
	for _, r := range reports {
		all = append(all, r.Node.Name)
	}
	return strings.Join(all, ", ")
}

// count is a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
