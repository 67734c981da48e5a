package control

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/torctrain/torc/internal/pb"
)

// A run whose State is lost, or that has two of which nobody can tell which is right, is made again from its newest
// checkpoint. Since a State is a function of the spec, that ends with the same bits.

// hope waits for a member to come back when all are lost. In the end the run begins again, which ends with the same bits. While
// no node attends at all, nothing would be won by that, and the members may be at work: the coordinator may be cut off.
func (c *core) hope(now time.Time, r *run) {
	attended := func(n *node) bool { return n.session != 0 && now.Sub(n.alive) < c.timing.Silence }
	if r.empty.IsZero() || !r.stopping && !slices.ContainsFunc(c.sorted(), attended) {
		r.empty = now
	}
	if now.Sub(r.empty) >= c.timing.Hope {
		c.startOver(now, r, fmt.Sprintf("no member came back in %v", c.timing.Hope))
	}
}

// startOver lets r begin again, or go on from its last checkpoint, with whatever nodes there are. It ends with the same bits.
// A run that is to stop ends where it is.
func (c *core) startOver(now time.Time, r *run, why string) {
	if r.stopping {
		c.end(now, r, pb.RunState_RUN_STOPPED, fmt.Sprintf("after step %d of %d, without its State: %s", r.progress.step, r.spec.Steps, why))
		return
	}
	again := "the run begins again"
	if len(r.committed) > 0 {
		again = "the run goes on from a checkpoint"
	}
	c.say(now, r, slog.LevelWarn, "%s: %s", why, again)
	for _, n := range c.sorted() {
		c.release(now, r, n, again)
	}
	r.from, r.waits = nil, now
	r.view, r.empty, r.state, r.why, r.expect = nil, time.Time{}, pb.RunState_RUN_QUEUED, "", 0
	r.holders, r.digest, r.retry = nil, nil, time.Time{}
	if len(r.committed) == 0 {
		r.progress = newProgress(r.spec, r.progress.steps)
	}
	clear(r.members)
}

// reload lets r go on from its newest checkpoint when its members have different States after a step, and nobody can tell
// which is right; why says so. The second time that the same step cannot be made for it, or an earlier one, the run ends: the
// checkpoint is wrong, or one of the members computes wrongly, and it would happen again and again.
func (c *core) reload(now time.Time, r *run, after uint64, why string) {
	const blame = "one of them computes wrongly, or its memory does"
	next := after + 1
	switch {
	case len(r.committed) == 0:
		c.end(now, r, pb.RunState_RUN_FAILED, fmt.Sprintf("%s; there is no checkpoint to go on from: %s", why, blame))
		return
	case next <= r.stuck:
		c.end(now, r, pb.RunState_RUN_FAILED, fmt.Sprintf("%s; they did before step %d already, and the steps since a checkpoint were made again: %s", why, r.stuck, blame))
		return
	case !r.stopping:
		r.stuck = next
		c.record(now, command{Kind: reloaded, Run: r.id, Step: next, Why: why})
	}
	c.startOver(now, r, why)
}
