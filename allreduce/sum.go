package allreduce

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// sum is one Sum in progress on one member.
type sum struct {
	*call
	head  header // fence and length of every frame
	own   []int32
	total []int32 // partial sums pass through here too
	mine  *Side   // this member's side values, only read
	side  *Side   // merged so far
	ready *Watermark

	plan       schedule
	prev, next *peer
	out        *outbox
	seen       []uint64 // bitmap of (segment, hop) received
	late       chan message
	sent       atomic.Bool // all frames are
	received   atomic.Bool
}

// lateFrames is how many frames may wait for this member's own values before it stops receiving.
const lateFrames = 8

// alone is the sum of a view of one.
func (s *sum) alone() error {
	for done := 0; ; {
		n := s.ready.level(len(s.own))
		copy(s.total[done:n], s.own[done:n])
		if done = n; done == len(s.own) {
			break
		}
		if err := s.ready.wait(s.soft, done+1); err != nil {
			return err
		}
	}
	s.side.CopyFrom(s.mine)
	return nil
}

// round sums over the ring, as planned by schedule.
func (s *sum) round() error {
	if err := s.link(s.Ring.prev(), s.Ring.next()); err != nil {
		return err
	}
	s.prev, s.next = s.peer(s.Ring.prev()), s.peer(s.Ring.next())
	s.plan = newSchedule(s.id.Members, len(s.own), s.cfg.FrameBytes/4)
	s.out = newOutbox()
	defer s.out.drain()
	s.seen = make([]uint64, ceilDiv(s.plan.segments*s.plan.hops(), 64))
	s.late = make(chan message, lateFrames)
	s.watch(s.silent)
	s.run(s.send)
	s.run(s.receive)
	s.run(s.receiveLate)
	if err := s.wait(); err != nil {
		return err
	}
	return s.repaid(s.next)
}

func (s *sum) silent(now, since time.Time) error {
	if !s.received.Load() {
		if err := s.prev.silent(now, since); err != nil {
			return err
		}
	}
	if !s.sent.Load() {
		return s.next.silent(now, since)
	}
	return nil
}

// send sends what is to be handed on, and between that begins new segments as far as own is final.
func (s *sum) send() error {
	want, _ := s.plan.frames(s.pos)
	_, mergeOut, _, totalOut := sideHops(s.pos, s.id.Members)
	for _, hop := range []int{mergeOut, totalOut} {
		if hop >= 0 {
			want++
		}
	}
	segment, begun := 0, s.pos != 0 // position 0 begins the merging of side values
	for done := 0; done < want; {
		j, ok := s.out.pop()
		var changed <-chan struct{}
		if !ok && segment < s.plan.segments {
			lo, hi := s.plan.bounds(segment, s.plan.sends(s.pos, 0))
			if ok, changed = s.ready.reached(hi); ok {
				j = job{kind: kindValues, segment: segment}
				segment++
				if lo == hi {
					continue
				}
			}
		}
		if !ok && !begun {
			if ok, changed = s.ready.reached(len(s.own)); ok {
				j = job{kind: kindSide}
				begun = true
				s.side.CopyFrom(s.mine)
			}
		}
		if !ok {
			select {
			case <-s.out.wake:
			case <-changed:
			case <-s.next.ended:
				return s.next.reason()
			case <-s.soft.Done():
				return context.Cause(s.soft)
			}
			continue
		}
		if err := s.next.send(s.soft, s.hard, s.frame(j)); err != nil {
			return err
		}
		done++
	}
	s.sent.Store(true)
	return nil
}

// frame makes the frame of a job, unless it is a received one.
func (s *sum) frame(j job) Frame {
	if j.ready {
		return j.frame
	}
	h := s.head
	h.kind, h.hop, h.segment = j.kind, uint32(j.hop), uint32(j.segment)
	if j.kind == kindSide {
		f := newFrame(s.side.size())
		s.side.Append(f.payload()[:0])
		h.side = uint32(len(f.payload()))
		f.finish(&h)
		return f
	}
	lo, hi := s.plan.bounds(j.segment, s.plan.sends(s.pos, j.hop))
	from := s.total
	if j.hop == 0 {
		from = s.own
	}
	h.offset, h.count = uint64(lo), uint32(hi-lo)
	if !s.cfg.Pack && littleEndian() {
		f := s.lend(asBytes(from[lo:hi]))
		if h.crc = j.crc; !j.summed {
			h.crc = f.checksum()
		}
		f.seal(&h)
		return f
	}
	f := s.pool.get(4 * (hi - lo))
	n, packed := encodeValues(f.payload(), from[lo:hi], s.cfg.Pack)
	h.packed = packed
	f.cut(n)
	f.finish(&h)
	return f
}

// receive takes the frames of the neighbour before.
func (s *sum) receive() error {
	defer close(s.late)
	_, want := s.plan.frames(s.pos)
	mergeIn, _, totalIn, _ := sideHops(s.pos, s.id.Members)
	for _, hop := range []int{mergeIn, totalIn} {
		if hop >= 0 {
			want++
		}
	}
	for range want {
		m, err := s.prev.recv(s.soft)
		if err != nil {
			return err
		}
		needs, err := s.check(&m)
		if err != nil {
			m.frame.Free()
			return err
		}
		if ok, _ := s.ready.reached(needs); ok {
			if err := s.take(m); err != nil {
				return err
			}
			continue
		}
		select {
		case s.late <- m:
		case <-s.soft.Done():
			m.frame.Free()
			return context.Cause(s.soft)
		}
	}
	s.received.Store(true)
	return nil
}

// receiveLate takes frames that came before this member's own values for them.
func (s *sum) receiveLate() error {
	var err error
	for m := range s.late {
		needs, _ := s.needs(&m)
		if err == nil {
			err = s.ready.wait(s.soft, needs)
		}
		if err == nil {
			err = s.take(m)
		} else {
			m.frame.Free()
		}
		if err != nil {
			s.fail(err) // now: receive may be blocked
		}
	}
	return err
}

// needs returns how much of own a frame needs to be final, and which part of the vector it holds.
func (s *sum) needs(m *message) (n int, part [2]int) {
	mergeIn, _, _, _ := sideHops(s.pos, s.id.Members)
	if m.kind == kindSide {
		if int(m.hop) == mergeIn {
			n = len(s.own)
		}
		return n, part
	}
	lo, hi := s.plan.bounds(int(m.segment), s.plan.receives(s.pos, int(m.hop)))
	if s.plan.adds(int(m.hop)) {
		n = hi
	}
	return n, [2]int{lo, hi}
}

// check refuses a frame that is not one of those still expected, and returns how much of own it needs.
func (s *sum) check(m *message) (needs int, err error) {
	if err := m.sameSum(&s.head); err != nil {
		return 0, err
	}
	mergeIn, _, totalIn, _ := sideHops(s.pos, s.id.Members)
	switch {
	case m.total != s.head.total:
		return 0, fmt.Errorf("%w: rank %d sums %d values, this member %d", ErrFenced, m.from, m.total, s.head.total)
	case m.kind == kindSide && (int64(m.hop) == int64(mergeIn) || int64(m.hop) == int64(totalIn)) && m.segment == 0 && m.side == m.length:
		needs, _ = s.needs(m)
		return needs, nil
	case m.kind != kindValues || int64(m.segment) >= int64(s.plan.segments) || int64(m.hop) >= int64(s.plan.hops()) || m.side != 0:
		return 0, s.unexpected(m)
	}
	needs, part := s.needs(m)
	if m.offset != uint64(part[0]) || int64(m.count) != int64(part[1]-part[0]) || m.count == 0 {
		return 0, s.unexpected(m)
	}
	bit := int(m.segment)*s.plan.hops() + int(m.hop)
	if s.seen[bit/64]>>(bit%64)&1 != 0 {
		return 0, s.unexpected(m)
	}
	s.seen[bit/64] |= 1 << (bit % 64)
	return needs, nil
}

func (s *sum) unexpected(m *message) error {
	return &PeerError{int(m.from), fmt.Errorf("unexpected frame: kind %d segment %d hop %d with %d values at %d", m.kind, m.segment, m.hop, m.count, m.offset)}
}

// take adds or stores what a checked frame holds and queues what this member sends because of it. It frees the frame.
func (s *sum) take(m message) error {
	if m.kind == kindSide {
		m.frame = m.frame.flat(&s.pool)
		defer m.frame.Free()
		return s.takeSide(&m)
	}
	_, part := s.needs(&m)
	dst, own := s.total[part[0]:part[1]], s.own[part[0]:part[1]]
	j := job{kind: kindValues, hop: int(m.hop) + 1, segment: int(m.segment)}
	adds := s.plan.adds(int(m.hop))
	if !adds {
		own = nil
	}
	if err := s.decode(dst, own, &m, &j); err != nil {
		m.frame.Free()
		return &PeerError{int(m.from), err}
	}
	if j.hop == s.plan.hops() {
		m.frame.Free()
		return nil
	}
	if adds || !s.out.holds() {
		m.frame.Free()
	} else {
		// The next member gets the very bytes that came, under a new header.
		m.header.hop, m.header.from = uint32(j.hop), s.head.from
		m.header.put(m.frame.head)
		j.ready, j.frame = true, m.frame
	}
	s.out.push(j)
	return nil
}

// decode reads the values of m into dst, refusing them if they are damaged. It notes in j what the sender can use.
func (s *sum) decode(dst, own []int32, m *message, j *job) error {
	if m.packed {
		crc, err := addPacked(dst, own, m.frame.parts)
		if err != nil {
			return err
		}
		return m.intact(crc)
	}
	in, out, err := addRaw(dst, own, m.frame.parts)
	if err != nil {
		return err
	}
	if j.crc, j.summed = out, true; own == nil {
		j.crc = in
	}
	return m.intact(in)
}

// takeSide merges the side values of the members before, or stores the totals.
func (s *sum) takeSide(m *message) error {
	n := s.id.Members
	mergeIn, mergeOut, _, totalOut := sideHops(s.pos, n)
	if int(m.hop) == mergeIn {
		s.side.CopyFrom(s.mine)
		theirs := s.side.alike()
		if err := theirs.Decode(m.frame.payload()); err != nil {
			return err
		}
		_ = s.side.Merge(theirs) // an overlap shows in the totals, on all members alike
		if mergeOut >= 0 {
			s.out.push(job{kind: kindSide, hop: mergeOut})
			return nil
		}
	} else if err := s.side.Decode(m.frame.payload()); err != nil {
		return err
	}
	if totalOut >= 0 {
		s.out.push(job{kind: kindSide, hop: totalOut})
	}
	return nil
}
