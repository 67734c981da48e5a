package allreduce

import (
	"context"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"sync"

	"github.com/torctrain/torc/internal/view"
)

// Ring sums vectors over the members of one view. Make it with NewRing, end it with Close.
//
// All members call Sum and Gather in the same order. Calls on one Ring do not overlap. After an error other than
// ErrOverlap the ring has ended on this member, its peers have been told, and every later call returns that error:
// what was broken goes on in a new Ring.
type Ring struct {
	id   Identity
	pos  int // of this member on the ring
	mesh Mesh
	cfg  Config
	pool pool

	running turn // held by the call in progress

	mu    sync.Mutex // guards the fields below
	peers map[int]*peer
	err   error // why the ring has ended
	past  int64 // bytes sent over links that are closed

	once *once
	life context.Context // over when the ring begins to end
	end  context.CancelFunc
	hard context.Context // over when it has ended: a Send that still blocks breaks its link
	kill context.CancelFunc
}

// NewRing returns the ring of one member. It opens nothing: links are made when they are first needed.
// It panics if id or c is not valid.
func NewRing(id Identity, mesh Mesh, c Config) *Ring {
	if err := c.Validate(); err != nil {
		panic("allreduce: NewRing: " + err.Error())
	}
	sorted := slices.Sorted(slices.Values(id.Order))
	for i, r := range sorted {
		if i != r {
			panic(fmt.Sprintf("allreduce: NewRing: order %v is no permutation", id.Order))
		}
	}
	if len(sorted) != id.Members || id.Rank < 0 || id.Rank >= id.Members {
		panic(fmt.Sprintf("allreduce: NewRing: rank %d of %d members in order %v", id.Rank, id.Members, id.Order))
	}
	r := &Ring{id: id, pos: slices.Index(id.Order, id.Rank), mesh: mesh, cfg: c, peers: make(map[int]*peer), running: newTurn(), once: newOnce()}
	r.life, r.end = context.WithCancel(context.Background())
	r.hard, r.kill = context.WithCancel(context.Background())
	return r
}

// Sum adds own over all members, wrapping around, and leaves the same totals in total and side on each of them.
//
// own is only read; total must be another slice as long and is scratch until Sum returns without error. side comes in
// with this member's values, its shape at once and its content when the watermark reaches len(own); it goes out with the
// totals, is unchanged on error, and may be nil. ready lets parts of own travel while the rest is still computed; nil means that all of own is final.
// at and f must be equal on all members: the frame of a member elsewhere ends the ring with ErrFenced, its values
// are not added. ErrOverlap, on all members alike, says that a lane was counted twice.
//
// A neighbour that is lost, or silent for HopTimeout and as long as its Pace allows, is a PeerError, here and on the members
// it is reported to.
func (r *Ring) Sum(ctx context.Context, at view.Position, f Fence, own, total []int32, side *Side, ready *Watermark) error {
	if len(own) != len(total) {
		panic(fmt.Sprintf("allreduce: Sum: len(total)=%d, want %d", len(total), len(own)))
	}
	if side == nil {
		side = NewSide(0, 0)
	}
	totals := NewSide(0, 0)
	err := r.run(ctx, at, func(c *call) error {
		s := &sum{call: c, head: r.id.fenced(at, f), own: own, total: total, mine: side, side: totals, ready: ready}
		s.head.total = uint64(len(own))
		switch n := r.id.Members; {
		case n == 1:
			return s.alone()
		case direct(n, 4*len(own)+side.size(), r.cfg.DirectBytes):
			return s.exchange()
		default:
			return s.round()
		}
	})
	if err != nil {
		return fmt.Errorf("sum at %v: %w", at, err)
	}
	side.CopyFrom(totals)
	return side.overlap()
}

// Gather gives each member's bytes to all, by rank. The result may share memory with own.
func (r *Ring) Gather(ctx context.Context, at view.Position, f Fence, own []byte) ([][]byte, error) {
	var blobs [][]byte
	err := r.run(ctx, at, func(c *call) error {
		g := &gathering{call: c, head: r.id.fenced(at, f), blobs: make([][]byte, r.id.Members)}
		g.blobs[r.id.Rank] = own
		blobs = g.blobs
		return g.round()
	})
	if err != nil {
		return nil, fmt.Errorf("gather at %v: %w", at, err)
	}
	return blobs, nil
}

// BytesSent counts what this member wrote to its links so far, framing included.
func (r *Ring) BytesSent() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.past
	for _, p := range r.peers {
		n += p.link.Sent()
	}
	return n
}

// Close ends the ring: a call in progress returns an error, peers are told, and nothing of the ring runs any more when
// it returns. Values that peers still read from this member reach them first. It is idempotent.
func (r *Ring) Close() {
	r.finish(nil)
	r.running.take() // a call that was in progress has returned
	defer r.running.give()
}

// run executes one Sum or Gather.
func (r *Ring) run(ctx context.Context, at view.Position, do func(*call) error) error {
	if at.View != r.id.View {
		panic(fmt.Sprintf("allreduce: position in view %016x on a ring of view %016x", at.View, r.id.View))
	}
	r.running.take()
	defer r.running.give()
	if err := r.over(); err != nil {
		return err
	}
	c := newCall(ctx, r)
	err := do(c)
	c.close()
	if err != nil {
		r.finish(err)
		c.repaidInGrace()
		return r.over()
	}
	return nil
}

// over returns why the ring has ended, or nil.
func (r *Ring) over() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// finish ends the ring, once; why is nil in peace. It returns when everything of the ring has ended.
func (r *Ring) finish(why error) {
	r.once.do(func() {
		r.mu.Lock()
		r.err = why
		if why == nil {
			r.err = ErrOver
		}
		peers := r.peers
		r.peers = nil
		r.end()
		r.mu.Unlock()

		var wg sync.WaitGroup
		for _, p := range peers {
			wg.Go(func() { p.part(why) })
		}
		wg.Wait()
		r.kill()

		r.mu.Lock()
		for _, p := range peers {
			r.past += p.link.Sent()
		}
		r.mu.Unlock()
	})
}

func (r *Ring) peer(rank int) *peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.peers[rank]
}

// linked are the peers to which there is a link.
func (r *Ring) linked() []*peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.peers))
}

// next and prev are the ranks of the neighbours on the ring.
func (r *Ring) next() int { return r.id.Order[mod(r.pos+1, r.id.Members)] }
func (r *Ring) prev() int { return r.id.Order[mod(r.pos-1, r.id.Members)] }

// overlap returns ErrOverlap when the totals count a lane more than once.
func (s *Side) overlap() error {
	lanes := 0
	for _, w := range s.Lanes {
		lanes += bits.OnesCount64(w)
	}
	if s.Lanes != nil && uint32(lanes) < s.Count {
		return fmt.Errorf("%w: %d lanes were added %d times", ErrOverlap, lanes, s.Count)
	}
	return nil
}
