package control

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/internal/view"
)

// run is one run from launch to its end.
//
//	queued → preparing → training → finishing → finished
//	   └─────────┴───────────┴──────────┴─────→ stopped, failed
type run struct {
	id, name string
	spec     *spec.Resolved
	expect   int
	created  time.Time
	ended    time.Time

	state    pb.RunState
	why      string
	stopping bool   // somebody asked
	stuck    uint64 // the step that was not made when members had different States last; 0: never

	missing map[spec.Sum]int64 // files that the coordinator lacks, with their sizes
	offered time.Time          // when an upload of one of them began or ended last

	pinned  bool // the class is the coordinator's choice
	members map[view.NodeID]*member
	left    map[view.NodeID]string // nodes that cannot take part, and why
	view    *view.View             // at work; nil before the first
	number  uint64                 // of the last view
	entered uint64                 // number of the last view that made a step
	empty   time.Time              // since when all members are lost though some node attends; zero: they are not
	heard   time.Time              // when one of its nodes was heard last
	regain  time.Time              // see policy.Regained
	uneven  time.Time              // see policy
	still   bool                   // it stands still, and has been said to
	apart   []pair
	falls   map[string]*fall // by name of node
	losses  losses
	digest  []byte
	stopped bool // the members ended early by agreement

	holders []view.Member // of the last State
	unkept  bool          // State could not be written so far
	retry   time.Time     // when it is fetched again; zero: not waiting for that

	rebuilt bool // it was learnt from its members
	restock bool // and its files have not been looked for yet

	keeping
	progress progress
	lines    tail[*pb.LogLine]
	version  uint64      // counts what those who follow want to see, but for state and why
	written  written     // of progress, to the run's history
	result   *pb.RunInfo // of a run that ended before the coordinator started
}

// member is one node's part in a run.
type member struct {
	id       view.NodeID
	addr     string
	assigned time.Time // when it was last told

	phase       pb.Phase
	since       time.Time
	alive       time.Time // until a session is known: when it counted as alive last
	entered     uint64    // number of the view it is in
	worked      time.Time // see report.Worked
	told        time.Time // when it was told of the view at work last
	draining    bool
	fatal       bool
	tie         *pb.Tie
	tieAt       time.Time
	step        uint64
	laneSeconds float64
	bytesSent   uint64
	trained     int64
	problem     string
	lost        string
	lostWhy     pb.Loss
	lostAt      time.Time
	digest      []byte
	stopped     bool
}

func newRun(e *entry) *run {
	r := &run{
		id: e.Run, name: e.spec.Name, spec: e.spec, expect: e.Expect, created: time.Unix(0, e.At), offered: time.Unix(0, e.At), result: e.info, pinned: e.pinned,
		missing: map[spec.Sum]int64{}, members: map[view.NodeID]*member{}, left: map[view.NodeID]string{}, falls: map[string]*fall{},
		lines: tail[*pb.LogLine]{max: tailLines}, progress: newProgress(e.spec, tail[*pb.StepReport]{max: tailSteps}),
	}
	r.rebuilt, r.dropped = e.rebuilt, slices.Clone(e.dropped)
	r.recall(e.kept)
	switch n := len(e.views); {
	case e.info != nil:
		r.state, r.why = e.info.State, e.info.Why
	case n > 0:
		r.resume(e.views[n-1], e.steps)
		r.stopping, r.stuck = e.halting, e.stuck
		r.remember(e.views, e.fresh)
		if e.waits {
			r.state, r.why, r.view, r.expect = pb.RunState_RUN_QUEUED, "", nil, 0
			clear(r.members)
		}
	}
	return r
}

// resume takes up a run that was at work when the last coordinator ended. Its members go on meanwhile, and come back.
func (r *run) resume(last command, steps []command) {
	r.state, r.why = pb.RunState_RUN_TRAINING, "waits for its members to come back"
	r.view, r.number = last.View, last.View.Number
	if n := len(steps); n > 0 {
		r.entered = steps[n-1].Number
	}
	for _, m := range r.view.Members {
		r.members[m.Node] = &member{id: m.Node, addr: m.Addr, phase: pb.Phase_PHASE_TRAINING}
	}
}

// waiting says whether r has neither a view nor ended.
func (r *run) waiting() bool {
	return r.state == pb.RunState_RUN_QUEUED || r.state == pb.RunState_RUN_PREPARING
}

// over says whether r has ended.
func (r *run) over() bool {
	return r.state == pb.RunState_RUN_FINISHED || r.state == pb.RunState_RUN_STOPPED || r.state == pb.RunState_RUN_FAILED
}

// assigned is the number of nodes that work for r. Whoever failed or is lost makes room for another.
func (c *core) assigned(now time.Time, r *run) int {
	all := 0
	for _, m := range r.members {
		alive := m.alive
		if n := c.nodes[m.id]; n != nil && n.run == r {
			alive = n.alive
			if n.session == 0 && now.Sub(n.gone) >= c.timing.Grace {
				continue
			}
		}
		if m.phase != pb.Phase_PHASE_FAILED && m.phase != pb.Phase_PHASE_LEAVING && now.Sub(alive) < c.timing.Silence {
			all++
		}
	}
	return all
}

// assignment orders a node to work for r: from the beginning, or by joining those who do already.
func (r *run) assignment() *pb.Order {
	text, err := r.spec.JSON()
	if err != nil {
		panic("control: spec of run " + r.id + " was read from JSON and has none: " + err.Error())
	}
	a := &pb.Assignment{Run: r.id, Spec: text, Join: r.view != nil, From: r.resumption()}
	if r.view != nil {
		for _, m := range r.view.Members {
			a.Peers = append(a.Peers, m.Addr)
		}
	}
	for _, f := range r.spec.Files {
		a.Files = append(a.Files, &pb.File{Sha256: f.SHA256[:], Size: f.Size, Path: f.Path, Role: f.Role})
	}
	return &pb.Order{Kind: &pb.Order_Assign{Assign: a}}
}

// launch queues a run, which waits for the files that are missing. It is part of the history from now on.
func (c *core) launch(now time.Time, cmd command, missing map[spec.Sum]int64) error {
	cmd.Kind, cmd.At = launched, now.UnixNano()
	e, err := newEntry(cmd)
	if err != nil {
		return err
	}
	r := newRun(e)
	r.missing = missing
	c.runs = append(c.runs, r)
	c.record(now, cmd)
	c.say(now, r, slog.LevelInfo, "launched: %s with %s, %s", count(r.spec.Steps, "step"), count(r.spec.Batch.Lanes, "lane"), count(r.spec.Samples, "sample"))
	return nil
}

// needs says whether a run waits for this file, and its size.
func (c *core) needs(sum spec.Sum) (size int64, ok bool) {
	for _, r := range c.runs {
		if size, ok = r.missing[sum]; ok && r.waiting() {
			return size, true
		}
	}
	return 0, false
}

// offering counts the uploads of a file that begin (+1) and end (-1).
func (c *core) offering(now time.Time, sum spec.Sum, change int) {
	if c.uploads[sum] += change; c.uploads[sum] == 0 {
		delete(c.uploads, sum)
	}
	for _, r := range c.runs {
		if _, ok := r.missing[sum]; ok {
			r.offered = now
		}
	}
}

// delivered says whether a file that r waits for is on its way, for whichever run.
func (c *core) delivered(r *run) bool {
	for sum := range r.missing {
		if c.uploads[sum] > 0 {
			return true
		}
	}
	return false
}

// arrived notes that the coordinator has a file now.
func (c *core) arrived(now time.Time, sum spec.Sum) {
	for _, r := range c.runs {
		if _, ok := r.missing[sum]; ok {
			delete(r.missing, sum)
			r.offered = now
		}
	}
}

// stop ends r: at once when it has not begun or its State cannot be kept, else at the next step on which its members agree.
func (c *core) stop(now time.Time, r *run) error {
	switch {
	case r.over():
		return refusal{fmt.Sprintf("run %s has ended already: %s", r.id, strings.TrimSuffix(stateName(r.state)+" "+r.why, " "))}
	case r.waiting() && len(r.committed) > 0:
		c.end(now, r, pb.RunState_RUN_STOPPED, fmt.Sprintf("before it went on from the checkpoint of step %d", r.committed[0].manifest.Step))
	case r.waiting():
		c.end(now, r, pb.RunState_RUN_STOPPED, "before its first step")
	case r.unkept:
		c.end(now, r, pb.RunState_RUN_FAILED, "asked to stop: "+r.why)
	case !r.stopping:
		r.stopping = true
		c.record(now, command{Kind: halting, Run: r.id})
		c.say(now, r, slog.LevelInfo, "stopping at the next step")
		c.toMembers(r, &pb.Order{Kind: &pb.Order_Stop{Stop: &pb.StopRun{Run: r.id}}})
	}
	return nil
}

// toMembers orders all nodes that work for r.
func (c *core) toMembers(r *run, o *pb.Order) {
	for _, n := range c.sorted() {
		if n.run == r {
			c.send(n, o)
		}
	}
}

// again is how often a node that does not react to its assignment is told again.
const again = time.Second

// report takes what a node says about its part in r.
func (c *core) report(now time.Time, r *run, n *node, b *pb.Beat) {
	m := r.members[n.id]
	if m == nil {
		return
	}
	if !r.heard.IsZero() && now.Sub(r.heard) >= 2*c.timing.Grace {
		r.regain = now
	}
	r.heard = now
	if b.Run == "" {
		if r.view != nil && r.view.Rank(n.id) >= 0 && m.phase != pb.Phase_PHASE_IDLE {
			m.phase, m.since, m.lost = pb.Phase_PHASE_IDLE, now, "" // it has forgotten its part
		}
		if now.Sub(m.assigned) >= again {
			m.assigned = now
			c.send(n, r.assignment())
			if r.view != nil {
				c.send(n, &pb.Order{Kind: &pb.Order_View{View: pb.OfView(r.view)}})
			}
		}
		return
	}
	if b.Busy || b.Step != m.step || b.Phase != m.phase || r.view != nil && b.ViewNumber == r.view.Number {
		m.worked = now
	}
	if b.Phase != m.phase {
		m.phase, m.since = b.Phase, now
	}
	r.version++
	m.addr, m.step, m.laneSeconds, m.bytesSent = n.addr, b.Step, b.LaneSeconds, b.BytesSent
	m.problem, m.fatal, m.stopped, m.draining = b.Error, b.Fatal, b.Stopped, b.Draining
	if m.entered = b.ViewNumber; m.tie == nil && b.Tie != nil {
		m.tieAt = now
	}
	m.tie = b.Tie
	if v := r.view; v != nil && (b.ViewIncarnation > c.incarnation || b.ViewIncarnation == v.Incarnation && b.ViewNumber > v.Number) {
		c.inquire(now, n) // the journal is older than what this node does
	}
	m.trained = max(m.trained, b.Trained)
	if b.Phase == pb.Phase_PHASE_FINISHED {
		m.digest = b.Digest
	}
	if b.LostPeer != m.lost {
		m.lost, m.lostAt = b.LostPeer, now
		if m.lost != "" {
			c.say(now, r, slog.LevelWarn, "%s lost its link to %s", n.id.Name, b.LostPeer)
		}
	}
	m.lostWhy = b.LostWhy
	for _, l := range b.Logs {
		c.tell(r, &pb.LogLine{UnixNano: l.UnixNano, Node: n.id.Name, Level: l.Level, Text: l.Text})
	}
	if r.view == nil {
		return
	}
	for _, v := range b.Made {
		if v.View > r.entered && v.View <= r.number {
			r.entered = v.View
			c.record(now, command{Kind: stepped, Run: r.id, Number: v.View, Step: v.Step})
		}
	}
	moved := r.progress.add(now, b)
	c.chronicle(r)
	if moved && m.entered == r.view.Number && r.view.Rank(n.id) >= 0 {
		for _, s := range r.view.Members { // no step is made without every member of the view
			if other := c.nodes[s.Node]; other != nil {
				other.alive = now
			}
			if other := r.members[s.Node]; other != nil {
				other.alive = now // who has not come back to this coordinator yet
			}
		}
	}
}

// advance lets r go on where it can.
func (c *core) advance(now time.Time, r *run) {
	switch r.state {
	case pb.RunState_RUN_PREPARING:
		c.prepare(now, r)
	case pb.RunState_RUN_TRAINING:
		c.tend(now, r)
		c.watch(now, r)
	case pb.RunState_RUN_FINISHING:
		if !r.retry.IsZero() && !now.Before(r.retry) {
			r.retry = time.Time{}
			c.out = append(c.out, collection{r, r.holders, r.digest})
		}
	}
}

// prepare waits for the first view.
func (c *core) prepare(now time.Time, r *run) {
	cur := &view.View{Run: r.id, Incarnation: c.incarnation, Number: r.number}
	reports := c.reports(now, r)
	d := decide(now, cur, reports, c.policy(r))
	r.why = d.Why
	if d.Next == nil && !d.Fail {
		r.why += notes(r)
	}
	for _, p := range reports {
		if p.Draining {
			c.release(now, r, c.nodes[p.Node], "it wants to leave")
			delete(r.members, p.Node)
		}
		if p.Phase == pb.Phase_PHASE_FAILED && r.left[p.Node] == "" {
			r.left[p.Node] = p.Problem
			c.say(now, r, slog.LevelError, "node %s cannot take part: %s", p.Node.Name, p.Problem)
			c.release(now, r, c.nodes[p.Node], "left out: "+p.Problem)
		}
	}
	switch {
	case d.Fail:
		c.end(now, r, pb.RunState_RUN_FAILED, d.Why)
	case d.Next != nil:
		r.state = pb.RunState_RUN_TRAINING
		r.progress.begin(now)
		c.change(now, r, d)
	}
}

// change makes the next view the one at work.
func (c *core) change(now time.Time, r *run, d decision) {
	r.view, r.number, r.why, r.empty, r.uneven = d.Next, d.Next.Number, "", time.Time{}, time.Time{}
	r.apart = append(r.apart, d.Apart...)
	r.progress.wait(now)
	r.rouse(now)
	c.record(now, command{
		Kind: viewed, Run: r.id, View: r.view, Step: r.progress.step + 1, Why: d.Why, Lost: d.Lost, Died: d.Died, Apart: d.Apart,
	})
	c.say(now, r, slog.LevelInfo, "view %d: %s", r.view.Number, d.Why)
	order := pb.OfView(r.view)
	order.Now = d.Now
	c.toMembers(r, &pb.Order{Kind: &pb.Order_View{View: order}})
	c.replace(now, r)
}

// remindEvery is how often a member that does not come to its view is told of it.
const remindEvery = 5 * time.Second

// remind tells members that have not come to the view at work of it once more: they may not have heard.
func (c *core) remind(now time.Time, r *run) {
	for _, s := range r.view.Members {
		m, n := r.members[s.Node], c.nodes[s.Node]
		if m.entered != r.view.Number && n != nil && n.run == r && now.Sub(m.told) >= remindEvery {
			m.told = now
			c.send(n, &pb.Order{Kind: &pb.Order_View{View: pb.OfView(r.view)}})
		}
	}
}

// watch looks after a view at work.
func (c *core) watch(now time.Time, r *run) {
	p := c.policy(r)
	reports := c.reports(now, r)
	r.balance(now, reports, p)
	p.Uneven = r.uneven
	d := decide(now, r.view, reports, p)
	if d.Why != r.why && d.Next == nil && !d.Fail && !d.Done && d.Tie == nil && !d.Quiet && d.Why != "" {
		c.say(now, r, slog.LevelInfo, "%s", d.Why)
	}
	still := ""
	if d.Why == "" && d.Next == nil {
		still = r.standstill(now)
	}
	if still != "" && !r.still {
		c.say(now, r, slog.LevelWarn, "%s", still)
	}
	r.why, r.still = cmp.Or(d.Why, still), still != ""
	if why := r.losses.poison(r, d); why != "" {
		d = decision{Fail: true, Why: why}
	}
	if !d.Empty {
		r.empty = time.Time{}
	}
	switch {
	case d.Fail:
		c.end(now, r, pb.RunState_RUN_FAILED, fmt.Sprintf("%s (after step %d)", d.Why, r.progress.step))
		return
	case d.Tie != nil:
		c.reload(now, r, d.Tie.Tie.Step, d.Why)
		return
	case d.Done && c.awaitsLast(now, r):
	case d.Done:
		c.finish(now, r, d.Why)
	case d.Empty:
		c.hope(now, r)
	case d.Next != nil:
		for _, name := range d.Lost {
			r.fell(now, name)
		}
		c.change(now, r, d)
	}
	for _, id := range d.Again {
		c.anew(now, r, id)
	}
	for _, m := range d.Free {
		r.members[m.Node].phase = pb.Phase_PHASE_LEAVING
		c.release(now, r, c.nodes[m.Node], "it wants to leave")
	}
	if r.view != nil && !r.over() {
		c.clear(now, r)
		c.remind(now, r)
	}
}

// rouse lets the time begin anew in which members are to come to the view at work, of which they have just been told.
func (r *run) rouse(now time.Time) {
	for _, m := range r.members {
		m.worked, m.told = now, now
	}
}

// anew lets a node drop its part in r, so that it can join again. Without it, r.view needs it back.
func (c *core) anew(now time.Time, r *run, id view.NodeID) {
	addr := r.members[id].addr
	if delete(r.members, id); r.view.Rank(id) >= 0 {
		r.members[id] = &member{id: id, addr: addr, since: now, alive: now, assigned: now}
	}
	c.release(now, r, c.nodes[id], "it did not come to its view, and is to join again")
}

// standstill says that the run makes no steps though nobody is known to be lost, and who is not in the view; or nothing.
func (r *run) standstill(now time.Time) string {
	usual, yes := r.progress.still(now)
	if !yes {
		return ""
	}
	var away []string
	for _, m := range r.view.Members {
		if r.members[m.Node].entered != r.view.Number {
			away = append(away, m.Node.Name)
		}
	}
	where := fmt.Sprintf("all members are in view %d", r.view.Number)
	if len(away) > 0 {
		where = fmt.Sprintf("not in view %d: %s", r.view.Number, strings.Join(away, ", "))
	}
	return fmt.Sprintf("stands still after step %d, where steps took %.2g s; %s", r.progress.step, usual, where)
}

// clear lets go whoever is not in the view and does not want to be, or cannot.
func (c *core) clear(now time.Time, r *run) {
	maps.DeleteFunc(r.members, func(id view.NodeID, _ *member) bool { // never came back to this coordinator
		return r.view.Rank(id) < 0 && c.nodes[id] == nil
	})
	for _, n := range c.sorted() {
		m := r.members[n.id]
		if n.run != r || m == nil || r.view.Rank(n.id) >= 0 {
			continue
		}
		switch {
		case m.draining && m.entered == 0: // it has finished its step and left its seat
			c.release(now, r, n, "it wanted to leave")
			delete(r.members, n.id)
		case m.phase == pb.Phase_PHASE_FAILED && m.tie != nil: // it was away when the run was made again from a checkpoint
			c.release(now, r, n, "the run went on without its State")
			delete(r.members, n.id)
		case m.phase == pb.Phase_PHASE_FAILED:
			r.left[n.id] = m.problem
			c.say(now, r, slog.LevelError, "node %s cannot take part: %s", n.id.Name, m.problem)
			c.release(now, r, n, "left out: "+m.problem)
			delete(r.members, n.id)
		}
	}
}

// balance notes since when lanes dealt by speed would make much shorter steps.
func (r *run) balance(now time.Time, reports []report, p policy) {
	members := make([]report, len(r.view.Members))
	for _, m := range reports {
		if rank := r.view.Rank(m.Node); rank >= 0 {
			members[rank] = m
		}
	}
	switch {
	case !uneven(r.view, members, p):
		r.uneven = time.Time{}
	case r.uneven.IsZero():
		r.uneven = now
	}
}

// policy is what decide goes by. A run that is to stop makes no more than one step, for which the members that are left do.
func (c *core) policy(r *run) policy {
	p := policy{
		Lanes: r.spec.Batch.Lanes, Min: r.spec.Members.Min, Max: r.spec.Members.Max, Expect: r.expect, Incarnation: c.incarnation,
		Apart: r.apart, Regained: r.regain, Timing: c.timing,
	}
	p.Entry = max(p.Entry, r.progress.patience())
	p.Front, p.Lag = r.progress.step, r.progress.lag()
	if r.stopping {
		p.Min = 1
	}
	return p
}

// reports are what decide is told about the nodes that work for r.
func (c *core) reports(now time.Time, r *run) []report {
	var all []report
	for _, m := range r.members {
		p := report{
			Node: m.id, Addr: m.addr, Phase: m.phase, Since: m.since, Alive: m.alive, Entered: m.entered, Step: m.step, Worked: m.worked, Lane: m.laneSeconds,
			Draining: m.draining, NotYet: r.notYet(m.id.Name),
			Problem: m.problem, Fatal: m.fatal, Tie: m.tie, TieAt: m.tieAt, Lost: m.lost, Why: m.lostWhy, LostAt: m.lostAt, Gone: !m.alive.After(now.Add(-c.timing.Silence)),
		}
		if n := c.nodes[m.id]; n != nil && (n.run == r || r.view == nil) {
			p.Gone, p.Dead, p.Alive = n.session == 0, n.dead, n.alive
			p.Host, p.Zone = n.labels["host"], n.labels["zone"]
		}
		all = append(all, p)
	}
	return all
}

// end makes a state final and lets the nodes go.
func (c *core) end(now time.Time, r *run, state pb.RunState, why string) {
	r.state, r.why, r.ended = state, why, now
	info, err := marshalInfo(c.info(now, r))
	if err != nil {
		panic("control: RunInfo of run " + r.id + " has no encoding: " + err.Error())
	}
	c.record(now, command{Kind: ended, Run: r.id, Step: r.progress.step, Info: info})
	level, text := slog.LevelInfo, stateName(state)
	if state == pb.RunState_RUN_FAILED {
		level = slog.LevelError
	}
	if why != "" {
		text += ": " + why
	}
	c.say(now, r, level, "%s", text)
	for _, n := range c.sorted() {
		c.release(now, r, n, text)
	}
}
