package allreduce

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// call is one Sum or Gather with its goroutines. The first error ends them all.
type call struct {
	*Ring

	soft context.Context // over when the call is: loops end
	fail context.CancelCauseFunc
	hard context.Context // over a grace later: a Send that still blocks breaks its link
	kill context.CancelFunc

	workers  sync.WaitGroup
	watcher  sync.WaitGroup
	lent     atomic.Int64  // frames under way whose memory is the caller's
	returned chan struct{} // room for one: a token means that lent may have become 0
	detached []func() bool // take back what was attached to the contexts
}

var errDone = errors.New("done")

func newCall(ctx context.Context, r *Ring) *call {
	c := &call{Ring: r, returned: make(chan struct{}, 1)}
	c.soft, c.fail = context.WithCancelCause(ctx)
	c.hard, c.kill = context.WithCancel(r.hard)
	timer := time.AfterFunc(time.Hour, c.kill)
	timer.Stop()
	c.detached = []func() bool{
		context.AfterFunc(r.life, func() { c.fail(ErrOver) }),
		context.AfterFunc(c.soft, func() { timer.Reset(grace) }),
		timer.Stop,
	}
	return c
}

// run starts a goroutine of the call.
func (c *call) run(f func() error) {
	c.workers.Go(func() {
		if err := f(); err != nil {
			c.fail(err)
		}
	})
}

// wait waits for all goroutines that run started and returns the first error.
func (c *call) wait() error {
	c.workers.Wait()
	return context.Cause(c.soft)
}

// link makes sure of a link to each of the ranks, connecting to those not yet linked, all at the same time. Nobody makes the
// call without this member; so if one that is linked leaves the ring meanwhile, or falls silent, there is nobody to wait for.
func (c *call) link(ranks ...int) error {
	linked := c.linked()
	ranks = slices.Sorted(slices.Values(ranks))
	ranks = slices.Compact(ranks) // of two members, each is the other's both neighbours
	ranks = slices.DeleteFunc(ranks, func(rank int) bool { return c.peer(rank) != nil })
	if len(ranks) == 0 {
		return c.wait()
	}
	var left atomic.Int64 // to be linked
	left.Store(int64(len(ranks)))
	all := make(chan struct{}) // closed when they are
	stays := func(p *peer) error {
		select {
		case <-p.ended:
			return p.reason()
		case <-all:
			return nil
		case <-c.soft.Done():
			return context.Cause(c.soft)
		}
	}
	for _, p := range linked {
		c.run(func() error { return stays(p) })
	}
	for _, rank := range ranks {
		c.run(func() error {
			p, err := c.open(rank)
			if err != nil {
				return err
			}
			if left.Add(-1) == 0 {
				close(all)
			}
			return stays(p)
		})
	}
	c.watch(func(now, since time.Time) error {
		for _, p := range c.linked() {
			if left.Load() > 0 {
				if err := p.silent(now, since); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return c.wait()
}

// open opens the link to a rank.
func (c *call) open(rank int) (*peer, error) {
	l, err := c.mesh.Link(c.soft, rank)
	if err != nil {
		if c.soft.Err() != nil {
			return nil, context.Cause(c.soft)
		}
		if errors.Is(err, ErrOver) {
			return nil, err // the members have gone on to another ring
		}
		return nil, &PeerError{rank, fmt.Errorf("open link: %w", err)}
	}
	c.mu.Lock()
	if c.Ring.err != nil {
		c.mu.Unlock()
		_ = l.Close(c.hard)
		return nil, ErrOver
	}
	defer c.mu.Unlock()
	p := newPeer(c.Ring, rank, l)
	c.peers[rank] = p
	return p, nil
}

// watch looks for silent peers until the call is over: silent is asked now and then, and told since when to count at the
// earliest. When this process itself did not run for a while, silence before does not count: it was ours.
func (c *call) watch(silent func(now, since time.Time) error) {
	since := time.Now()
	c.watcher.Go(func() {
		tick := time.NewTicker(c.cfg.HopTimeout / 8)
		defer tick.Stop()
		for last := since; ; {
			select {
			case <-tick.C:
			case <-c.soft.Done():
				return
			}
			now := time.Now()
			if now.Sub(last) > c.cfg.HopTimeout/2 {
				since = now
			}
			last = now
			if err := silent(now, since); err != nil {
				c.fail(err)
				return
			}
		}
	})
}

// lend makes a frame of the caller's own memory, which must not change until the frame is freed.
func (c *call) lend(b []byte) Frame {
	c.lent.Add(1)
	m := &counted{lent: true, free: func() {
		if c.lent.Add(-1) == 0 {
			select {
			case c.returned <- struct{}{}:
			default:
			}
		}
	}}
	m.refs.Store(1)
	return Frame{make([]byte, headerBytes), [][]byte{b}, m}
}

// repaid waits until all that was lent for frames to p is free again. When p is gone, the transport drops what it still
// has, but need not say so: a grace later it no longer reads.
func (c *call) repaid(p *peer) error {
	for c.lent.Load() > 0 {
		select {
		case <-c.returned:
		case <-c.soft.Done():
			return context.Cause(c.soft)
		case <-p.ended:
			c.repaidInGrace()
			return nil
		}
	}
	return nil
}

func (c *call) repaidInGrace() {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	for c.lent.Load() > 0 {
		select {
		case <-c.returned:
		case <-timer.C:
			return
		}
	}
}

// close ends what is left of the call.
func (c *call) close() {
	c.detached[0]()
	c.detached[1]()
	c.fail(errDone)
	c.watcher.Wait()
	c.detached[2]()
	c.kill()
}
