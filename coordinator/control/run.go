package control

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
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
	stopping bool // somebody asked

	missing map[spec.Sum]int64 // files that the coordinator lacks, with their sizes
	offers  int                // uploads under way
	offered time.Time          // when the last one ended

	pinned  bool // the class is the coordinator's choice
	members map[view.NodeID]*member
	left    map[view.NodeID]string // nodes that cannot take part, and why
	view    *view.View
	digest  []byte
	stopped bool // the members ended early by agreement

	holders []view.Member // of the last State
	unkept  bool          // State could not be written so far
	retry   time.Time     // when it is fetched again; zero: not waiting for that

	progress progress
	lines    tail[*pb.LogLine]
	version  uint64      // counts what those who follow want to see, but for state and why
	result   *pb.RunInfo // of a run that ended before the coordinator started
}

// member is one node's part in a run.
type member struct {
	id       view.NodeID
	addr     string
	assigned time.Time // when it was last told

	phase       pb.Phase
	since       time.Time
	step        uint64
	laneSeconds float64
	bytesSent   uint64
	trained     int64
	problem     string
	lost        string
	lostAt      time.Time
	digest      []byte
	stopped     bool
}

func newRun(e *entry) *run {
	r := &run{
		id: e.Run, name: e.spec.Name, spec: e.spec, expect: e.Expect, created: time.Unix(0, e.At), offered: time.Unix(0, e.At), result: e.info, pinned: e.pinned,
		missing: map[spec.Sum]int64{}, members: map[view.NodeID]*member{}, left: map[view.NodeID]string{},
		lines: tail[*pb.LogLine]{max: tailLines}, progress: progress{steps: tail[*pb.StepReport]{max: tailSteps}},
	}
	if e.info != nil {
		r.state, r.why = e.info.State, e.info.Why
	}
	return r
}

// waiting says whether r has neither a view nor ended.
func (r *run) waiting() bool {
	return r.state == pb.RunState_RUN_QUEUED || r.state == pb.RunState_RUN_PREPARING
}

// over says whether r has ended.
func (r *run) over() bool {
	return r.state == pb.RunState_RUN_FINISHED || r.state == pb.RunState_RUN_STOPPED || r.state == pb.RunState_RUN_FAILED
}

// assigned is the number of nodes that prepare for r or are ready.
func (r *run) assigned() int {
	n := 0
	for _, m := range r.members {
		if m.phase != pb.Phase_PHASE_FAILED {
			n++
		}
	}
	return n
}

func (r *run) assignment() *pb.Order {
	text, err := r.spec.JSON()
	if err != nil {
		panic("control: spec of run " + r.id + " was read from JSON and has none: " + err.Error())
	}
	a := &pb.Assignment{Run: r.id, Spec: text}
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
	for _, r := range c.runs {
		if _, ok := r.missing[sum]; ok {
			r.offers, r.offered = r.offers+change, now
		}
	}
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
	case r.waiting():
		c.end(now, r, pb.RunState_RUN_STOPPED, "before its first step")
	case r.unkept:
		c.end(now, r, pb.RunState_RUN_FAILED, "asked to stop: "+r.why)
	case !r.stopping:
		r.stopping = true
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
	if b.Run == "" {
		if now.Sub(m.assigned) >= again {
			m.assigned = now
			c.send(n, r.assignment())
		}
		return
	}
	if b.Phase != m.phase {
		m.phase, m.since = b.Phase, now
	}
	r.version++
	m.addr, m.step, m.laneSeconds, m.bytesSent = n.addr, b.Step, b.LaneSeconds, b.BytesSent
	m.problem, m.stopped = b.Error, b.Stopped
	if b.Trained > 0 {
		m.trained = b.Trained
	}
	if b.Phase == pb.Phase_PHASE_FINISHED {
		m.digest = b.Digest
	}
	if b.LostPeer != "" && m.lost == "" {
		m.lost, m.lostAt = b.LostPeer, now
		c.say(now, r, slog.LevelWarn, "%s lost its link to %s", n.id.Name, b.LostPeer)
	}
	for _, l := range b.Logs {
		c.tell(r, &pb.LogLine{UnixNano: l.UnixNano, Node: n.id.Name, Level: l.Level, Text: l.Text})
	}
	if r.view == nil || r.view.Rank(n.id) != 0 {
		return
	}
	if r.progress.add(now, b) {
		for _, s := range r.view.Members { // no step is made without every member of the view
			if other := c.nodes[s.Node]; other != nil {
				other.alive = now
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
	cur := &view.View{Run: r.id, Incarnation: c.incarnation}
	reports := c.reports(r)
	d := decide(now, cur, reports, r.policy(c.timing))
	r.why = d.Why
	if d.Next == nil && !d.Fail {
		r.why += notes(r)
	}
	for _, p := range reports {
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
		r.view, r.state, r.why = d.Next, pb.RunState_RUN_TRAINING, ""
		r.progress.begin(now)
		c.record(now, command{Kind: viewed, Run: r.id, View: r.view, Step: 1})
		c.say(now, r, slog.LevelInfo, "view %d: %s", r.view.Number, d.Why)
		c.toMembers(r, &pb.Order{Kind: &pb.Order_View{View: viewToPB(r.view)}})
		for _, p := range reports {
			if p.Phase != pb.Phase_PHASE_READY {
				c.release(now, r, c.nodes[p.Node], "the run has begun without it")
			}
		}
	}
}

// watch looks after a view at work.
func (c *core) watch(now time.Time, r *run) {
	d := decide(now, r.view, c.reports(r), r.policy(c.timing))
	r.why = d.Why
	switch {
	case d.Fail:
		c.end(now, r, pb.RunState_RUN_FAILED, fmt.Sprintf("%s (after step %d)", d.Why, r.progress.step))
	case d.Done:
		c.finish(now, r, d.Why)
	}
}

func (r *run) policy(t Timing) policy {
	return policy{Lanes: r.spec.Batch.Lanes, Min: r.spec.Members.Min, Max: r.spec.Members.Max, Expect: r.expect, Timing: t}
}

// reports are what decide is told about the members of r.
func (c *core) reports(r *run) []report {
	var all []report
	for _, m := range r.members {
		p := report{
			Node: m.id, Addr: m.addr, Phase: m.phase, Since: m.since,
			Problem: m.problem, Lost: m.lost, LostAt: m.lostAt, Gone: true,
		}
		if n := c.nodes[m.id]; n != nil && (n.run == r || r.view == nil) {
			p.Gone, p.Dead, p.Alive = n.session == 0, n.dead, n.alive
		}
		all = append(all, p)
	}
	return all
}

// finish compares the digests of the members and has State fetched.
func (c *core) finish(now time.Time, r *run, why string) {
	for _, s := range r.view.Members {
		m := r.members[s.Node]
		if m.phase != pb.Phase_PHASE_FINISHED {
			continue
		}
		if len(r.holders) > 0 && !bytes.Equal(m.digest, r.digest) {
			c.end(now, r, pb.RunState_RUN_FAILED, fmt.Sprintf("members disagree about the last State: %s has %.6x, %s has %.6x: one of them computes wrongly; please report", r.holders[0].Node.Name, r.digest, s.Node.Name, m.digest))
			return
		}
		r.digest, r.stopped = m.digest, r.stopped || m.stopped
		r.progress.step = max(r.progress.step, m.step) // reports may have been lost with a session
		r.holders = append(r.holders, view.Member{Node: s.Node, Addr: m.addr})
	}
	r.state, r.why = pb.RunState_RUN_FINISHING, "fetching State"
	c.say(now, r, slog.LevelInfo, "digest %x, %s", r.digest, why)
	c.out = append(c.out, collection{r, r.holders, r.digest})
}

// errUnkept marks what is wrong with the coordinator's own disk, not with a State or its holders.
var errUnkept = errors.New("cannot keep State")

// collected ends a run whose State was stored, or that no member has. While the coordinator lacks the means to store it, the
// members keep it and the collection is repeated: it may be worth days of training.
func (c *core) collected(now time.Time, r *run, err error) {
	switch {
	case r.state != pb.RunState_RUN_FINISHING:
	case errors.Is(err, errUnkept):
		r.retry, r.why = now.Add(c.timing.Keep), err.Error()
		if !r.unkept {
			r.unkept = true
			c.say(now, r, slog.LevelWarn, "%v; trying again every %v until it works or the run is stopped", err, c.timing.Keep)
		}
	case err != nil:
		c.end(now, r, pb.RunState_RUN_FAILED, fmt.Sprintf("keep the last State: %v", err))
	case r.stopped:
		c.end(now, r, pb.RunState_RUN_STOPPED, fmt.Sprintf("after step %d of %d", r.progress.step, r.spec.Steps))
	default:
		c.end(now, r, pb.RunState_RUN_FINISHED, "")
	}
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
