package control

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/pb"
)

// holders are the nodes that attend and keep pieces of a checkpoint.
func (c *core) holders(m *checkpoints.Manifest) []*pb.Holding {
	var all []*pb.Holding
	for _, n := range c.sorted() {
		if has := n.kept[keyOf(m)]; n.session != 0 && len(has) > 0 {
			h := &pb.Holding{Node: n.id.Name, Addr: n.addr}
			for _, i := range has {
				h.Pieces = append(h.Pieces, int32(i))
			}
			all = append(all, h)
		}
	}
	return all
}

// distinct counts the pieces that holders have together.
func distinct(holders []*pb.Holding) int {
	seen := map[int32]bool{}
	for _, h := range holders {
		for _, i := range h.Pieces {
			seen[i] = true
		}
	}
	return len(seen)
}

// ready says whether r, which has no view, can be given to nodes: it has no checkpoint to go on from, or nodes attend that have
// enough of one. The newest is waited for, an older one serves when that takes long: the result is the same.
func (c *core) ready(now time.Time, r *run) bool {
	if r.view != nil || len(r.committed) == 0 || len(r.members) > 0 {
		return true
	}
	if r.waits.IsZero() {
		r.waits = now
	}
	for i, k := range r.committed {
		if i > 0 && now.Sub(r.waits) < c.timing.Hope {
			break
		}
		if holders := c.holders(k.manifest); distinct(holders) >= k.manifest.Data {
			c.goOn(now, r, k)
			return true
		}
	}
	if r.spec.Checkpoint.Mirror != "" && now.Sub(r.waits) >= c.timing.Hope {
		c.goOn(now, r, r.committed[0]) // members read the rest from the mirror, or say what is missing there
		return true
	}
	m := r.committed[0].manifest
	var gone []checkpoints.Holder
	for _, h := range m.Holders {
		if !slices.ContainsFunc(c.sorted(), func(n *node) bool { return n.id.Name == h.Name && n.session != 0 && len(n.kept[keyOf(m)]) > 0 }) {
			gone = append(gone, h)
		}
	}
	r.why = fmt.Sprintf("waits for pieces of the checkpoint of step %d: %d distinct ones are needed, nodes that attend have %d", m.Step, m.Data, distinct(c.holders(m)))
	if len(gone) > 0 {
		r.why += "; others were kept by " + checkpoints.Describe(gone) + ": bring these nodes back with their disks"
	}
	if r.why != r.said && now.Sub(r.waits) >= c.timing.Settle {
		r.said = r.why
		c.say(now, r, slog.LevelWarn, "%s", r.why)
	}
	return false
}

// goOn lets r go on from a checkpoint.
func (c *core) goOn(now time.Time, r *run, k *kept) {
	if r.from != k {
		c.say(now, r, slog.LevelInfo, "goes on from the checkpoint of step %d", k.manifest.Step)
	}
	r.from, r.said = k, ""
	r.sources = c.holders(k.manifest)
	p := progress{
		steps: r.progress.steps, step: k.manifest.Step, reported: k.manifest.Step,
		lossFirst: k.totals.LossFirst, lossLast: k.totals.LossLast, tokens: k.totals.Tokens, seconds: k.totals.Seconds,
	}
	for _, v := range r.progress.validations {
		if v.Step <= p.step {
			p.validations = append(p.validations, v)
		}
	}
	for _, f := range r.progress.refreshes {
		if f.Step <= p.step {
			p.refreshes = append(p.refreshes, f)
		}
	}
	r.progress = p
	r.takings = nil
}

// reroute tells those who prepare where pieces are by now.
func (c *core) reroute(r *run) {
	r.sources = c.holders(r.from.manifest)
	for _, n := range c.sorted() {
		if n.run == r {
			c.send(n, r.assignment())
		}
	}
}

// resumption is where the members of a run that has no view begin; nil: at the beginning.
func (r *run) resumption() *pb.Resumption {
	if r.from == nil || r.view != nil {
		return nil
	}
	t := r.from.totals
	return &pb.Resumption{Manifest: r.from.text, Holders: r.sources, LossFirst: t.LossFirst, LossLast: t.LossLast, Tokens: t.Tokens, Seconds: t.Seconds}
}

// resume lets a run go on that was stopped or has failed.
func (c *core) resume(now time.Time, r *run) (step uint64, err error) {
	if r.state != pb.RunState_RUN_STOPPED && r.state != pb.RunState_RUN_FAILED {
		return 0, refusal{fmt.Sprintf("run %s is %s: only a run that was stopped or has failed can be resumed", r.id, stateName(r.state))}
	}
	if len(r.committed) == 0 {
		return 0, refusal{fmt.Sprintf("run %s has no checkpoint to go on from: launch its spec again", r.id)}
	}
	c.record(now, command{Kind: resumed, Run: r.id})
	r.reopen(now)
	c.say(now, r, slog.LevelInfo, "resumed")
	return r.committed[0].manifest.Step, nil
}

// reopen makes a run that has ended one that waits for nodes.
func (r *run) reopen(now time.Time) {
	r.state, r.why, r.ended, r.result = pb.RunState_RUN_QUEUED, "", time.Time{}, nil
	r.stopping, r.stopped, r.unkept, r.digest, r.holders = false, false, false, nil, nil
	r.stuck = 0
	r.view, r.from, r.retry, r.empty = nil, nil, time.Time{}, time.Time{}
	r.waits = now
	clear(r.members)
	clear(r.left)
	clear(r.falls)
	r.losses = losses{}
}
