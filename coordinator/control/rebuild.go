package control

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
)

// A coordinator that has lost its journal, or has an old one, takes up runs from the nodes that work for them: a beat that
// names what the book does not have leads to an inquiry, and the answer to a command of the kind rebuilt. Members go on
// meanwhile, and obey from then on, since the coordinator's incarnation is raised above that of their view.

// inquiry asks a node by Peer.Describe what it works for; the answer comes as described.
type inquiry struct{ node view.Member }

// inquire asks n, but not all the time.
func (c *core) inquire(now time.Time, n *node) {
	if now.Sub(n.asked) < again {
		return
	}
	if n.strangeSince.IsZero() {
		n.strangeSince = now
	}
	n.asked = now
	c.out = append(c.out, inquiry{view.Member{Node: n.id, Addr: n.addr}})
}

// described takes a node's answer and returns the run that it made known, or nil.
func (c *core) described(now time.Time, id view.NodeID, d *pb.Description) *run {
	n, a := c.nodes[id], d.GetAssignment()
	if n == nil || n.session == 0 || a.GetRun() == "" {
		return nil
	}
	v := d.View.Plain()
	known := c.find(a.Run)
	switch {
	case known != nil && known.state != pb.RunState_RUN_TRAINING:
		return nil // its next beat is answered
	case known != nil && v != nil && laterView(v, known.view):
		if err := v.Check(a.Run, known.spec.Batch.Lanes); err != nil {
			c.suspend(n, a.Run, err)
			return nil
		}
		c.rebuild(now, command{Run: a.Run, View: v}, known)
	case known != nil: // another one's answer was enough
	case v == nil && now.Sub(n.strangeSince) < c.unseatedFor(a):
		return nil // others may know a view
	default:
		cmd := command{Run: a.Run, Spec: a.Spec, View: v}
		e, err := newEntry(cmd)
		if err == nil {
			err = checkRun(a.Run)
		}
		if err == nil && v != nil {
			err = v.Check(a.Run, e.spec.Batch.Lanes)
		}
		if err != nil {
			c.suspend(n, a.Run, err)
			return nil
		}
		cmd.At = now.UnixNano()
		e.At = cmd.At
		known = newRun(e)
		c.runs = append(c.runs, known)
		c.rebuild(now, cmd, known)
		c.find(a.Run).recollect(now, c)
	}
	c.reclaim(now, known)
	return known
}

// unseatedFor is how long an answer without a view is held back: other members may have entered one. Whoever was to join a
// run under way knows that somebody had.
func (c *core) unseatedFor(a *pb.Assignment) time.Duration {
	if a.Join {
		return max(c.timing.Hope, c.timing.Silence)
	}
	return c.timing.Silence
}

// suspend notes that a run cannot be taken up. Its members are left alone: they have its State.
func (c *core) suspend(n *node, run string, err error) {
	n.note = fmt.Sprintf("run %s cannot be taken up: %v", run, err)
}

// rebuild makes r, and the view of cmd if it has one, part of the history.
func (c *core) rebuild(now time.Time, cmd command, r *run) {
	cmd.Kind, cmd.Why = rebuilt, "taken up from its members"
	c.record(now, cmd)
	r.rebuilt, r.restock = true, true
	if cmd.View == nil {
		c.say(now, r, slog.LevelWarn, "taken up from its members: it has no view yet and begins again")
		return
	}
	c.incarnation = max(c.incarnation, cmd.View.Incarnation+1)
	r.state, r.why, r.view, r.number = pb.RunState_RUN_TRAINING, "waits for its members to come back", cmd.View, cmd.View.Number
	for _, s := range cmd.View.Members {
		if r.members[s.Node] == nil {
			r.members[s.Node] = &member{id: s.Node, addr: s.Addr, phase: pb.Phase_PHASE_TRAINING}
		}
		r.members[s.Node].alive, r.members[s.Node].worked = now, now // they need time to come back
	}
	c.say(now, r, slog.LevelWarn, "taken up from its members, in view %d with %s", cmd.View.Number, count(len(cmd.View.Members), "member"))
}

// reclaim takes in the nodes that say they work for r.
func (c *core) reclaim(now time.Time, r *run) {
	for _, n := range c.sorted() {
		if n.strange != r.id || n.session == 0 || n.run != nil {
			continue
		}
		n.strange, n.strangeSince, n.note = "", time.Time{}, ""
		if r.view == nil || n.class != r.spec.Class {
			c.disown(n, r.id)
			continue
		}
		c.adopt(now, r, n)
		c.again(now, n, r, &pb.Beat{Run: r.id})
	}
}

// laterView says whether v was decided after u.
func laterView(v, u *view.View) bool {
	return u == nil || v.Incarnation > u.Incarnation || v.Incarnation == u.Incarnation && v.Number > u.Number
}

// checkRun refuses the name of a run that runID does not make: directories here and on all nodes bear it.
func checkRun(id string) error {
	if id == "" || len(id) > maxRunName || strings.Trim(id, runLetters) != "" {
		return fmt.Errorf("no run is named %.70q", id)
	}
	return nil
}

// recollect takes up the checkpoints that nodes have manifests of.
func (r *run) recollect(now time.Time, c *core) {
	for _, n := range c.sorted() {
		c.recommit(now, r, n.manifests[r.id])
	}
}

// recommit makes checkpoints of r that a node has manifests of part of the history again. Only a run that was taken up from
// its members lacks any.
func (c *core) recommit(now time.Time, r *run, manifests [][]byte) {
	for _, text := range manifests {
		m, err := checkpoints.ParseManifest(text)
		if err != nil || m.Run != r.id || m.Spec != r.spec.Hash() || slices.Contains(r.dropped, m.Step) {
			continue
		}
		if slices.ContainsFunc(r.committed, func(k *kept) bool { return k.manifest.Step == m.Step }) {
			continue
		}
		k := &kept{manifest: m, text: text, at: now}
		if r.retain(k); slices.Contains(r.committed, k) {
			c.record(now, command{Kind: committed, Run: r.id, Step: m.Step, Manifest: text})
		}
	}
}
