package control

import (
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
)

// node is one incarnation of a node that attends, or did a moment ago.
type node struct {
	id      view.NodeID
	addr    string
	labels  map[string]string
	version string
	class   string

	session uint64 // 0: its session broke
	gone    time.Time
	alive   time.Time // last proof of life
	dead    bool      // gossip says so

	phase    pb.Phase
	since    time.Time // when it entered phase
	draining bool      // it wants to leave
	leaves   bool      // somebody asked that it leave
	run      *run      // it is assigned to; nil while free
	drops    string    // the run it was told to drop and has not dropped yet
	strange  string    // the run that it says it works for, and of which the book has nothing
	note     string    // why it cannot take part, for people

	strangeSince time.Time // zero: nothing strange
	asked        time.Time // when it was last asked what it works for

	kept      map[pieceKey][]int  // the pieces it keeps, of whatever run
	manifests map[string][][]byte // by run: of the checkpoints it has heard of when its session began
}

// free says whether n can be assigned to a run.
func (n *node) free() bool {
	return n.session != 0 && !n.dead && !n.draining && n.run == nil && n.drops == "" && n.strange == "" && n.phase == pb.Phase_PHASE_IDLE
}

// refusal is an error that the other side is to blame for, with what to do.
type refusal struct{ text string }

func (r refusal) Error() string { return r.text }

// admit says whether a node may join: its name must not be that of another that attends. One that has fallen silent gives
// its name up, so that a machine that lost power can come back.
func (c *core) admit(now time.Time, id view.NodeID) error {
	if err := cluster.CheckName(id.Name); err != nil {
		return refusal{err.Error()}
	}
	if id.Name == self {
		return refusal{fmt.Sprintf("node name %q is the coordinator's own: choose another --name", self)}
	}
	for other, n := range c.nodes {
		if other.Name == id.Name && other.Boot != id.Boot && n.session != 0 && now.Sub(n.alive) < c.timing.Silence {
			return refusal{fmt.Sprintf("a node named %s attends already, from %s: choose another --name, or wait a moment if it is this one's former self", id.Name, n.addr)}
		}
	}
	return nil
}

// attend begins a session with the node that sent b. It returns the sessions it replaces: the node's own and those of its
// former selves.
func (c *core) attend(now time.Time, session uint64, b *pb.Beat) (replaced []uint64, err error) {
	id := b.Node.ID()
	if err := c.admit(now, id); err != nil {
		return nil, err
	}
	for _, former := range c.sorted() {
		if former.id.Name == id.Name && former.session != 0 {
			replaced = append(replaced, former.session)
			former.session, former.gone = 0, now
		}
	}
	n := c.nodes[id]
	if n == nil {
		n = &node{id: id, since: now}
		c.nodes[id] = n
	}
	n.session, n.gone = session, time.Time{}
	n.addr, n.labels, n.version, n.class = b.Addr, maps.Clone(b.Labels), b.Version, b.Class
	n.drops = "" // said again if it still applies
	c.offered(now, n, b.Kept)
	if r := c.find(b.Run); r != nil && n.run == nil && r.state == pb.RunState_RUN_TRAINING && b.Class == r.spec.Class {
		c.adopt(now, r, n)
	}
	if r := n.run; r != nil {
		c.again(now, n, r, b)
	}
	if n.leaves && !b.Draining {
		c.send(n, leaveOrder)
	}
	c.beat(now, session, b)
	return replaced, nil
}

// adopt takes a node in that works for r although this coordinator has not assigned it: an earlier one had, or the node was
// lost and has come back.
func (c *core) adopt(now time.Time, r *run, n *node) {
	n.run = r
	if r.members[n.id] == nil {
		r.members[n.id] = &member{id: n.id, addr: n.addr, assigned: now}
	}
}

// again repeats orders that may have been lost with a node's former session; a node ignores what it knows.
func (c *core) again(now time.Time, n *node, r *run, b *pb.Beat) {
	if b.Run == "" {
		c.send(n, r.assignment())
	}
	if r.view != nil { // who knows it already ignores it
		if m := r.members[n.id]; m != nil {
			m.told = now
		}
		c.send(n, &pb.Order{Kind: &pb.Order_View{View: pb.OfView(r.view)}})
	}
	if r.stopping {
		c.send(n, &pb.Order{Kind: &pb.Order_Stop{Stop: &pb.StopRun{Run: r.id}}})
	}
}

// attending returns the node behind a session, or nil if the session was replaced or ended.
func (c *core) attending(session uint64) *node {
	for _, n := range c.nodes {
		if n.session == session {
			return n
		}
	}
	return nil
}

// beat takes a node's report.
func (c *core) beat(now time.Time, session uint64, b *pb.Beat) {
	n := c.attending(session)
	if n == nil {
		return
	}
	n.alive, n.dead, n.draining = now, false, b.Draining
	if n.drops != "" && b.Run != n.drops {
		n.drops = ""
	}
	if !c.founded && b.Cluster != "" {
		c.inquire(now, n)
	}
	phase := b.Phase
	if n.strange != b.Run {
		n.strange, n.strangeSince = "", time.Time{}
	}
	if b.Run != "" && (n.run == nil || b.Run != n.run.id) {
		if c.find(b.Run) == nil {
			n.strange = b.Run
			c.inquire(now, n)
		} else {
			c.disown(n, b.Run)
		}
		phase = n.phase // it speaks of something else than what it is here for
	}
	if phase != n.phase {
		n.phase, n.since = phase, now
	}
	if n.run != nil && n.run.id == b.Run {
		c.saved(now, n.run, n, b.Saved)
	}
	if n.run != nil && (b.Run == n.run.id || b.Run == "") {
		c.report(now, n.run, n, b)
	}
}

// disown tells a node to drop a run that it is not assigned to, once.
func (c *core) disown(n *node, id string) {
	if n.drops == id {
		return
	}
	why := "the run goes on without it"
	if r := c.find(id); r != nil && r.over() {
		why = "the run is over"
	}
	n.drops = id
	c.send(n, &pb.Order{Kind: &pb.Order_Release{Release: &pb.Release{Run: id, Why: why}}})
}

// left ends a session that the node closed or that broke.
func (c *core) left(now time.Time, session uint64) {
	if n := c.attending(session); n != nil {
		n.session, n.gone = 0, now
	}
}

// named returns the node of this name that attends, or nil.
func (c *core) named(name string) *node {
	for _, n := range c.nodes {
		if n.id.Name == name && n.session != 0 {
			return n
		}
	}
	return nil
}

// leaveOrder asks a node to leave. Nobody changes it.
var leaveOrder = &pb.Order{Kind: &pb.Order_Leave{Leave: &pb.Leave{}}}

// drain asks the node of this name to leave: it finishes its step, and the run goes on without it.
func (c *core) drain(name string) error {
	if n := c.named(name); n != nil {
		n.leaves = true
		c.send(n, leaveOrder)
		return nil
	}
	return refusal{fmt.Sprintf("no node named %q attends: `coordinator nodes` lists them", name)}
}

// heard takes news from gossip: evidence, no more.
func (c *core) heard(e cluster.Event) {
	n := c.nodes[e.Peer.Node]
	if n == nil {
		return
	}
	switch e.Kind {
	case cluster.Lost, cluster.Left:
		n.dead = true
	case cluster.Joined, cluster.Changed:
		n.dead = false
	}
}

// remember is how long a node without a session and without a run is shown.
const remember = 30 * time.Second

// forget drops nodes that are long gone.
func (c *core) forget(now time.Time) {
	for _, n := range c.sorted() {
		if n.session != 0 || now.Sub(n.gone) < c.timing.Grace {
			continue
		}
		if r := n.run; r != nil && (r.view == nil || r.view.Rank(n.id) < 0) {
			c.release(now, r, n, "it is gone") // whoever is not in a view is not missed
			delete(r.members, n.id)
			if c.named(n.id.Name) == nil { // it has not been started again
				c.say(now, r, slog.LevelWarn, "node %s is gone", n.id.Name)
			}
		}
		if n.run == nil && now.Sub(n.gone) >= remember {
			delete(c.nodes, n.id)
		}
	}
}

// release takes n out of run r and tells it.
func (c *core) release(now time.Time, r *run, n *node, why string) {
	if n == nil || n.run != r {
		return
	}
	n.run, n.phase, n.since = nil, pb.Phase_PHASE_IDLE, now
	if n.session != 0 {
		n.drops = r.id
		c.send(n, &pb.Order{Kind: &pb.Order_Release{Release: &pb.Release{Run: r.id, Why: why}}})
	}
}
