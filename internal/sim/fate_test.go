package sim

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/node/train"
)

// reach is called by a process that is in a phase of a step: what is planned for there happens.
func (c *simulation) reach(p *process, what phase, step uint64, lane int) {
	if c.plan.bad != "" && what == computing && c.plan.poisons() && c.plan.at == (place{step, lane}) {
		time.Sleep(3 * train.BeatEvery) // long enough for the coordinator to know the step
		c.note("lane %d of step %d kills %s", lane, step, p.name)
		c.happens(poisoned)
		c.strike(p, 500*time.Millisecond)
	}
	c.mu.Lock()
	var due []int
	for i, f := range c.plan.faults {
		if !f.fired && !f.follow && f.member == p.name && f.phase == what && f.step == step {
			f.fired = true
			due = append(due, i)
		}
	}
	c.mu.Unlock()
	for _, i := range due {
		if f := c.plan.faults[i]; f.delay == 0 {
			c.befall(i)
		} else {
			c.wg.Go(func() { time.Sleep(f.delay); c.befall(i) })
		}
	}
}

func (p *plan) poisons() bool { return p.bad[:len(poisoned)] == string(poisoned) }

// happens counts what has happened.
func (c *simulation) happens(k kind) {
	c.check.strikes(k)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.happened = append(c.happened, k)
}

// befall lets a fault happen, and those that follow it.
func (c *simulation) befall(i int) {
	f := c.plan.faults[i]
	c.mu.Lock()
	over := c.ending
	if next := i + 1; next < len(c.plan.faults) && c.plan.faults[next].follow && !c.plan.faults[next].fired {
		g := c.plan.faults[next]
		g.fired = true
		c.wg.Go(func() { time.Sleep(g.delay); c.befall(next) })
	}
	c.mu.Unlock()
	if over {
		return
	}
	c.note("%s", f)
	switch f.kind {
	case decapit, moved:
		c.happens(f.kind)
		c.wg.Go(func() {
			c.uncoordinate()
			if f.last > 0 {
				time.Sleep(f.last)
				c.recoordinate(f.kind == moved)
			}
		})
		return
	case double:
		c.happens(f.kind)
		c.double(f.member)
		return
	case sleepy:
		c.happens(f.kind)
		c.mu.Lock()
		c.skew += f.last
		c.mu.Unlock()
		return
	case severed:
		c.happens(f.kind)
		c.net.mu.Lock()
		h := c.net.hosts[c.where()]
		c.net.mu.Unlock()
		h.freeze(true)
		c.wg.Go(func() { time.Sleep(f.last); h.freeze(false) })
		return
	case halted:
		c.happens(f.kind)
		c.halt()
		return
	case join:
		c.happens(f.kind)
		c.restart(string(rune('a' + len(c.plan.members) + f.number%3)))
		return
	}
	if p := c.alive(f.member); p != nil {
		c.happens(f.kind)
		c.hit(p, f)
	}
}

// hit lets a fault happen to a process.
func (c *simulation) hit(p *process, f *fault) {
	switch f.kind {
	case crash:
		c.strike(p, f.last)
	case freeze:
		p.host.freeze(true)
		c.wg.Go(func() { time.Sleep(f.last); p.host.freeze(false) })
	case drain:
		c.mu.Lock()
		s := c.server
		c.mu.Unlock()
		if s != nil {
			_, _ = s.Drain(context.Background(), &pb.DrainRequest{Node: p.name}) // a node that has not come back cannot be asked
		}
	case corrupt:
		c.net.change(func() {
			for k := range p.host.conns {
				if k.kind == ringLink {
					k.corrupt = f.number % 4000
				}
			}
		})
	case flip:
		p.flip.Store(true)
	case glitch:
		p.glitch.Store(true)
	case deaf:
		p.deaf.Store(true)
		c.wg.Go(func() { time.Sleep(f.last); p.deaf.Store(false) })
	}
	o := c.alive(f.other)
	if o == nil || o == p {
		return
	}
	switch here, there := (way{p.host.ip, o.host.ip}), (way{o.host.ip, p.host.ip}); f.kind {
	case reset:
		c.net.change(func() {
			for k := range p.host.conns {
				if k.peer.host == o.host {
					k.reset()
				}
			}
		})
	case cut:
		c.net.change(func() { c.net.cuts[here] = true })
		c.wg.Go(func() { time.Sleep(f.last); c.net.change(func() { delete(c.net.cuts, here) }) })
	case slow:
		late := time.Duration(f.number%300) * time.Millisecond
		c.net.change(func() { c.net.slow[here], c.net.slow[there] = late, late })
		c.wg.Go(func() {
			time.Sleep(f.last)
			c.net.change(func() { delete(c.net.slow, here); delete(c.net.slow, there) })
		})
	}
}

// halt stops the run, as a person does.
func (c *simulation) halt() {
	c.mu.Lock()
	s, run := c.server, c.launched
	c.mu.Unlock()
	if s == nil {
		return
	}
	if _, err := s.Stop(context.Background(), &pb.StopRequest{Run: run}); err != nil {
		c.note("stop: %v", err)
	}
}

// strike kills a process, and starts it again after a while if that is above 0.
func (c *simulation) strike(p *process, back time.Duration) {
	p.host.kill()
	p.cancel()
	if back > 0 {
		c.wg.Go(func() { time.Sleep(back); c.restart(p.name) })
	}
}

// restart starts a node unless one of its name is there.
func (c *simulation) restart(name string) {
	if c.alive(name) != nil {
		return
	}
	c.mu.Lock()
	p, over := c.processes[name], c.ending
	c.mu.Unlock()
	if p != nil {
		<-p.done
	}
	if !over {
		c.start(name)
	}
}

// recoordinate starts the coordinator unless there is one, on the machine of the last one or on another.
func (c *simulation) recoordinate(elsewhere bool) {
	c.mu.Lock()
	here := c.server != nil || c.ending
	if elsewhere && !here {
		c.moves++
	}
	c.mu.Unlock()
	if !here {
		c.coordinate()
	}
}

// heal mends everything, so that the run can end.
func (c *simulation) heal() {
	c.note("everything is mended")
	c.net.change(func() {
		clear(c.net.cuts)
		clear(c.net.slow)
		for _, h := range c.net.hosts {
			h.frozen = false
		}
	})
	c.recoordinate(false)
	c.mu.Lock()
	all := slices.Sorted(maps.Keys(c.processes))
	c.mu.Unlock()
	for _, name := range all {
		c.wg.Go(func() { c.restart(name) })
	}
}

// spoils says whether the gradient of a lane is to be spoilt.
func (c *simulation) spoils(p *process, at place) bool {
	if c.plan.bad != "" && !c.plan.poisons() && c.plan.at == at {
		return true
	}
	return p.glitch.CompareAndSwap(true, false)
}

// flips says whether a bit of θ is to flip now.
func (c *simulation) flips(p *process, step uint64) bool {
	if !p.flip.CompareAndSwap(true, false) {
		return false
	}
	c.note("a bit of θ flips on %s after step %d", p.name, step)
	c.check.flips(p, step)
	return true
}
