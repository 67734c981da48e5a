package control

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/internal/view"
)

// core is what the coordinator knows and decides, without clock, network or disk: events go in with the time at which they
// happened, effects come out and are carried out in order by Server. The same events make the same effects.
type core struct {
	timing      Timing
	incarnation uint64
	known       int  // see Config.Nodes
	founded     bool // it is known which cluster this is

	nodes   map[view.NodeID]*node
	runs    []*run           // in the order of launch
	uploads map[spec.Sum]int // files on their way from launch
	began   time.Time        // when it ticked first
	ticked  time.Time
	out     []effect
}

// effect is what core wants done: a record, an order, a line or a collection.
type effect any

type (
	// record makes a command durable before any later effect.
	record struct{ command command }
	// order goes to the node behind a session.
	order struct {
		session uint64
		order   *pb.Order
	}
	// line is for people who watch a run.
	line struct {
		run  string
		line *pb.LogLine
	}
	// collection fetches the State of a finished run from one of its members; the answer comes as collected.
	collection struct {
		run     *run
		holders []view.Member
		digest  []byte
	}
)

func newCore(t Timing, b *book) *core {
	c := &core{timing: t, incarnation: b.incarnation, founded: b.cluster != "", nodes: map[view.NodeID]*node{}, uploads: map[spec.Sum]int{}}
	for _, e := range b.runs {
		c.runs = append(c.runs, newRun(e))
	}
	return c
}

// take returns the effects since the last call.
func (c *core) take() []effect {
	out := c.out
	c.out = nil
	return out
}

// asleep is a gap between ticks that says that the coordinator itself stood still.
const asleep = 500 * time.Millisecond

// tick lets time pass: runs that wait for it go on, and silence becomes evidence.
func (c *core) tick(now time.Time) {
	if !c.ticked.IsZero() && now.Sub(c.ticked) > asleep {
		// Whoever slept cannot say that others were silent.
		for _, n := range c.nodes {
			n.alive = now
		}
		for _, r := range c.runs {
			for _, m := range r.members {
				m.alive, m.worked = now, now
			}
		}
	}
	if c.ticked.IsZero() {
		c.awaken(now)
	}
	c.ticked = now
	c.schedule(now)
	for _, r := range c.runs {
		c.advance(now, r)
	}
	c.forget(now)
}

// awaken counts the members of runs that were at work before this coordinator began as alive: they need time to come back.
func (c *core) awaken(now time.Time) {
	c.began = now
	for _, r := range c.runs {
		for _, m := range r.members {
			m.alive = now
		}
		r.rouse(now)
	}
}

// expects says whether members of runs at work may be on their way back to a coordinator that has just begun. Until then it
// is not known how many nodes these runs need.
func (c *core) expects(now time.Time) bool {
	if now.Sub(c.began) >= c.timing.Silence {
		return false
	}
	return slices.ContainsFunc(c.runs, func(r *run) bool {
		return r.state == pb.RunState_RUN_TRAINING && slices.ContainsFunc(r.view.Members, func(m view.Member) bool {
			return c.nodes[m.Node] == nil && r.members[m.Node] != nil
		})
	})
}

// find returns the run with this id, or nil.
func (c *core) find(id string) *run {
	for _, r := range c.runs {
		if r.id == id {
			return r
		}
	}
	return nil
}

// sorted are the nodes by name and boot.
func (c *core) sorted() []*node {
	return slices.SortedFunc(maps.Values(c.nodes), func(a, b *node) int { return a.id.Compare(b.id) })
}

// send orders a node, if it attends.
func (c *core) send(n *node, o *pb.Order) {
	if n.session != 0 {
		c.out = append(c.out, order{n.session, o})
	}
}

// record makes a command durable and part of the history.
func (c *core) record(now time.Time, cmd command) {
	cmd.At = now.UnixNano()
	c.out = append(c.out, record{cmd})
}

// self is the name under which the coordinator's own lines stand in a run's log.
const self = "coordinator"

// say tells those who watch run r.
func (c *core) say(now time.Time, r *run, level slog.Level, format string, args ...any) {
	c.tell(r, &pb.LogLine{UnixNano: now.UnixNano(), Node: self, Level: level.String(), Text: fmt.Sprintf(format, args...)})
}

func (c *core) tell(r *run, l *pb.LogLine) {
	r.lines.add(l)
	r.version++
	c.out = append(c.out, line{r.id, l})
}
