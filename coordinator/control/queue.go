package control

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/torctrain/torc/internal/pb"
)

// schedule gives free nodes to runs: first to one at work that has lost too many members, then to the oldest that has its
// files and no view yet, then to the one at work. A node works for one run at a time, so the runs behind wait.
func (c *core) schedule(now time.Time) {
	var head *run
	for _, r := range c.runs {
		if !r.waiting() || r.stopping {
			continue
		}
		switch {
		case len(r.missing) > 0:
			c.awaitFiles(now, r)
		case !c.ready(now, r):
		case head == nil:
			head = r
		default:
			r.why = "waits behind run " + head.id
		}
	}
	for _, r := range c.runs {
		if r.state == pb.RunState_RUN_TRAINING && !r.stopping && (head == nil || c.assigned(now, r) < max(1, r.spec.Members.Min)) {
			c.recruit(now, r)
		}
	}
	switch {
	case head == nil:
	case c.expects(now):
		head.why = "waits until members of runs at work are back"
	default:
		c.gather(now, head)
	}
}

// delivery is how long a run waits for the next file from launch.
const delivery = 2 * time.Minute

func (c *core) awaitFiles(now time.Time, r *run) {
	r.why = fmt.Sprintf("waits for %s from launch", count(len(r.missing), "file"))
	if !c.delivered(r) && now.Sub(r.offered) >= delivery {
		c.end(now, r, pb.RunState_RUN_FAILED, fmt.Sprintf("launch has not delivered %s: launch again", count(len(r.missing), "file")))
	}
}

// gather assigns free nodes to r.
func (c *core) gather(now time.Time, r *run) {
	if r.spec.Class == "" || r.pinned && len(r.members) == 0 && len(r.committed) == 0 {
		c.pin(now, r)
	}
	c.recruit(now, r)
	if r.state == pb.RunState_RUN_QUEUED && len(r.members) > 0 {
		r.state = pb.RunState_RUN_PREPARING
	}
	if c.known > 0 && len(r.left) >= c.known {
		c.end(now, r, pb.RunState_RUN_FAILED, "no node can take part"+notes(r))
		return
	}
	if len(r.members) == 0 {
		r.state = pb.RunState_RUN_QUEUED
		r.why = fmt.Sprintf("waits for %s, none is free%s", count(max(r.spec.Members.Min, r.expect), "node"), notes(r))
	}
}

// recruit assigns free nodes to r, whether it has begun or not.
func (c *core) recruit(now time.Time, r *run) {
	for _, n := range c.sorted() {
		if !n.free() || r.left[n.id] != "" || r.spec.Members.Max > 0 && c.assigned(now, r) >= r.spec.Members.Max {
			continue
		}
		if n.class != r.spec.Class {
			r.left[n.id] = fmt.Sprintf("its arithmetic class is %s, the run's is %s", n.class, r.spec.Class)
			n.note = "run " + r.id + ": " + r.left[n.id]
			c.say(now, r, slog.LevelWarn, "node %s cannot take part: %s", n.id.Name, r.left[n.id])
			continue
		}
		n.run, n.since, n.note = r, now, ""
		r.members[n.id] = &member{id: n.id, addr: n.addr, assigned: now}
		c.send(n, r.assignment())
		if r.view != nil {
			c.send(n, &pb.Order{Kind: &pb.Order_View{View: pb.OfView(r.view)}})
		}
		c.say(now, r, slog.LevelInfo, "node %s prepares", n.id.Name)
	}
}

// pin settles the arithmetic class of r: the commonest among the free nodes.
func (c *core) pin(now time.Time, r *run) {
	count := map[string]int{}
	for _, n := range c.nodes {
		if n.free() && n.class != "" {
			count[n.class]++
		}
	}
	best := r.spec.Class
	for _, class := range slices.Sorted(maps.Keys(count)) {
		if count[class] > count[best] {
			best = class
		}
	}
	if best == r.spec.Class {
		return
	}
	r.spec.Class, r.pinned = best, true
	clear(r.left)
	c.record(now, command{Kind: pinned, Run: r.id, Class: best})
	c.say(now, r, slog.LevelInfo, "arithmetic class is %s", best)
}

// notes says which nodes were left out, for the reason of a wait.
func notes(r *run) string {
	var all []string
	for id, why := range r.left {
		all = append(all, id.Name+": "+why)
	}
	if len(all) == 0 {
		return ""
	}
	slices.Sort(all)
	return " (left out: " + strings.Join(all, "; ") + ")"
}
