package allreduce

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/torctrain/torc/internal/view"
)

var (
	// ErrOver is returned by a ring that has ended: it was closed, or an error ended it here or elsewhere.
	ErrOver = errors.New("allreduce: ring is over")
	// ErrSilent is what a PeerError wraps when nothing broke, but nothing was heard either.
	ErrSilent = errors.New("silent")
)

const (
	// grace is how long a failing ring waits for its peers to take its farewell.
	grace = 250 * time.Millisecond
	// linger is how long a ring that ends in peace waits for them to take the last totals.
	linger = 2 * time.Second
)

// peer is a member at the other end of a link, with the two goroutines that serve the link: one reads ahead, so that it
// is known when the peer was last heard; one says that this member is alive when nothing else does.
type peer struct {
	ring *Ring
	rank int
	link Link
	pace *Pace

	in    chan message  // read ahead; room for one, so that decoding and receiving overlap. Closed when no more will come
	token chan struct{} // room for one: whoever put it in may send
	heard atomic.Int64  // when the last frame came, in Unix nanoseconds
	spoke atomic.Int64  // when the last frame was sent

	ended chan struct{} // closed when nothing more comes from the peer, just before in
	err   error         // set before ended is closed: why, or nil when it left in peace
	wg    sync.WaitGroup
}

// message is a received frame that belongs to this ring and is not damaged.
type message struct {
	header
	frame Frame
}

func newPeer(r *Ring, rank int, link Link) *peer {
	p := &peer{
		ring: r, rank: rank, link: link, pace: r.mesh.Pace(rank),
		in:    make(chan message, 1),
		token: make(chan struct{}, 1),
		ended: make(chan struct{}),
	}
	now := time.Now()
	p.pace.meet(r.id.View, now)
	p.heard.Store(now.UnixNano())
	p.spoke.Store(now.UnixNano())
	p.wg.Go(p.read)
	p.wg.Go(p.beacon)
	return p
}

// read takes frames off the link until it ends, and then closes it: a peer that said goodbye takes no more, and waits
// for this end to close. When it is this ring that ends, part closes the link, after its own goodbye.
func (p *peer) read() {
	p.err = p.readAhead()
	close(p.ended)
	close(p.in)
	if p.err == errParting {
		return
	}
	ctx, cancel := context.WithTimeout(p.ring.hard, linger)
	defer cancel()
	_ = p.link.Close(ctx)
}

func (p *peer) readAhead() error {
	want, c := p.ring.id.fenced(view.Position{}, Fence{}), p.ring.cfg
	gaps := lull{from: time.Now(), last: time.Now()}
	for {
		f, err := p.link.Recv()
		if err != nil {
			return &PeerError{p.rank, fmt.Errorf("receive: %w", err)}
		}
		now := time.Now()
		p.heard.Store(now.UnixNano())
		if gap, complete := gaps.heard(now, 4*c.progressEvery()); complete {
			p.pace.learn(gap, c.HopTimeout)
		}
		h, err := parse(f)
		if err == nil && h.kind != kindValues { // of values, the checksum is made when they are added
			err = h.intact(f.checksum())
		}
		if err != nil {
			f.Free()
			return &PeerError{p.rank, err}
		}
		if err = h.sameRing(&want); err == nil && h.from != uint32(p.rank) {
			err = fmt.Errorf("%w: rank is %d, want %d", ErrFenced, h.from, p.rank)
		}
		if err != nil {
			f.Free()
			return err
		}
		switch h.kind {
		case kindProgress:
			f.Free()
		case kindOver:
			f = f.flat(&p.ring.pool)
			err := p.farewell(f.payload())
			f.Free()
			return err
		default:
			select {
			case p.in <- message{h, f}:
				now := time.Now()
				p.heard.Store(now.UnixNano())
				gaps.deaf(now)
			case <-p.ring.life.Done():
				f.Free()
				return errParting
			}
		}
	}
}

// errParting is why reading ends when the ring does, and not the peer.
var errParting = fmt.Errorf("%w: this member leaves it", ErrOver)

// reason says why nothing more comes from the peer. It is called after ended was closed.
func (p *peer) reason() error {
	if p.err != nil {
		return p.err
	}
	return fmt.Errorf("%w: rank %d has left it", ErrOver, p.rank)
}

// beacon sends a progress frame whenever nothing else was sent for a while.
func (p *peer) beacon() {
	every := p.ring.cfg.progressEvery()
	tick := time.NewTicker(every)
	defer tick.Stop()
	h := p.ring.id.fenced(view.Position{}, Fence{})
	h.kind = kindProgress
	for {
		select {
		case <-tick.C:
		case <-p.ended:
			return
		case <-p.ring.life.Done():
			return
		}
		if time.Since(time.Unix(0, p.spoke.Load())) < every/2 {
			continue
		}
		select {
		case p.token <- struct{}{}:
		default:
			continue // somebody is sending
		}
		f := newFrame(0)
		f.finish(&h)
		err := p.link.Send(p.ring.hard, f)
		p.spoke.Store(time.Now().UnixNano())
		<-p.token
		if err != nil {
			return // read finds out why
		}
	}
}

// send sends f and takes over the reference. A broken link is explained by what the peer said last, if it did.
func (p *peer) send(soft, hard context.Context, f Frame) error {
	select {
	case p.token <- struct{}{}:
	case <-soft.Done():
		f.Free()
		return context.Cause(soft)
	}
	err := p.link.Send(hard, f)
	p.spoke.Store(time.Now().UnixNano())
	<-p.token
	if err == nil {
		return nil
	}
	if soft.Err() != nil {
		return context.Cause(soft)
	}
	select {
	case <-p.ended:
		return p.reason()
	case <-soft.Done():
		return context.Cause(soft)
	case <-time.After(grace):
		return &PeerError{p.rank, fmt.Errorf("send: %w", err)}
	}
}

// recv returns the next message of the peer.
func (p *peer) recv(ctx context.Context) (message, error) {
	select {
	case m, ok := <-p.in:
		if !ok {
			return message{}, p.reason()
		}
		return m, nil
	case <-ctx.Done():
		return message{}, context.Cause(ctx)
	}
}

// silent returns a PeerError when nothing was heard since the given time or for longer than the timeout that its pace
// allows. A peer whose frames wait to be taken is not silent.
func (p *peer) silent(now, since time.Time) error {
	if heard := time.Unix(0, p.heard.Load()); heard.After(since) {
		since = heard
	}
	hop := p.ring.cfg.HopTimeout
	d := now.Sub(since)
	if d <= hop || len(p.in) > 0 {
		return nil
	}
	limit := p.pace.timeout(now, hop)
	if d <= limit {
		return nil
	}
	p.pace.accuse(p.ring.id.View)
	return &PeerError{p.rank, fmt.Errorf("%w for %v, this link is given %v (hop_timeout is %v)",
		ErrSilent, d.Round(time.Millisecond), limit.Round(time.Millisecond), hop)}
}

// part says goodbye and closes the link; why is nil when the ring ends in peace.
func (p *peer) part(why error) {
	patience := linger
	if why != nil {
		patience = grace
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	h := p.ring.id.fenced(view.Position{}, Fence{})
	h.kind = kindOver
	select {
	case p.token <- struct{}{}:
		f := newFrame(farewellBytes(why))
		putFarewell(f.payload(), p.ring.id.Rank, why)
		f.finish(&h)
		_ = p.link.Send(ctx, f) // a peer that does not take it is lost already
		<-p.token
	case <-ctx.Done():
	}
	_ = p.link.Close(ctx)
	for m := range p.in { // lets read end
		m.frame.Free()
	}
	p.wg.Wait()
}

// A farewell is 0 or 1 (in peace or not), the accused rank and the rank that saw it fail itself, or −1 and −1, as int32,
// and the reason in words.

const (
	farewellHead = 9
	maxReason    = 256
)

// hearsay is what a PeerError wraps when another rank saw the peer fail.
type hearsay struct {
	witness int
	from    int // who told this member
	words   string
}

func (h *hearsay) Error() string {
	return fmt.Sprintf("%v: rank %d says: %s", ErrOver, h.from, h.words)
}
func (h *hearsay) Unwrap() error { return ErrOver }

func farewellBytes(why error) int {
	if why == nil {
		return farewellHead
	}
	return farewellHead + min(maxReason, len(why.Error()))
}

// putFarewell writes the farewell of the member of that rank.
func putFarewell(b []byte, rank int, why error) {
	accused, witness := -1, -1
	b[0] = 0
	if why != nil {
		b[0] = 1
		copy(b[farewellHead:], why.Error())
		if pe := (*PeerError)(nil); errors.As(why, &pe) {
			accused, witness = pe.Rank, rank
		}
		if h := (*hearsay)(nil); errors.As(why, &h) {
			witness = h.witness
		}
	}
	binary.LittleEndian.PutUint32(b[1:], uint32(int32(accused)))
	binary.LittleEndian.PutUint32(b[5:], uint32(int32(witness)))
}

// farewell turns what the peer said into the error that ends this ring, nil when it left in peace. Of two members that
// lost each other both are to be named: who is accused blames the witness.
func (p *peer) farewell(b []byte) error {
	if len(b) < farewellHead || len(b) > farewellHead+maxReason {
		return &PeerError{p.rank, fmt.Errorf("%w: farewell of %d bytes", errCorrupt, len(b))}
	}
	rank := func(b []byte) int { return int(int32(binary.LittleEndian.Uint32(b))) }
	said := &hearsay{witness: rank(b[5:]), from: p.rank, words: string(b[farewellHead:])}
	member := func(rank int) bool { return rank >= 0 && rank < p.ring.id.Members }
	switch accused, me := rank(b[1:]), p.ring.id.Rank; {
	case b[0] == 0:
		return nil
	case accused == me:
		blamed := p.rank
		if member(said.witness) && said.witness != me {
			blamed = said.witness
		}
		said.witness = me
		return &PeerError{blamed, said}
	case member(accused):
		return &PeerError{accused, said}
	}
	return said
}
