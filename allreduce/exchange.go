package allreduce

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// exchange sums a short vector in one round: everyone sends everything to everyone.
func (s *sum) exchange() error {
	var ranks []int
	for rank := range s.id.Members {
		if rank != s.id.Rank {
			ranks = append(ranks, rank)
		}
	}
	if err := s.link(ranks...); err != nil {
		return err
	}
	peers := make([]*peer, len(ranks))
	waiting := make([]atomic.Int32, len(ranks)) // frames still to send to and to receive from each peer
	for i, rank := range ranks {
		peers[i] = s.peer(rank)
		waiting[i].Store(2)
	}
	s.watch(func(now, since time.Time) error {
		for i, p := range peers {
			if waiting[i].Load() > 0 {
				if err := p.silent(now, since); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err := s.ready.wait(s.soft, len(s.own)); err != nil {
		return err
	}
	s.side.CopyFrom(s.mine)
	f := s.everything()
	defer f.Free()
	var mu sync.Mutex // guards total and side
	first := true
	for i, p := range peers {
		s.run(func() error {
			err := p.send(s.soft, s.hard, f.Ref())
			waiting[i].Add(-1)
			return err
		})
		s.run(func() error {
			m, err := p.recv(s.soft)
			if err != nil {
				return err
			}
			m.frame = m.frame.flat(&s.pool)
			defer m.frame.Free()
			if err := s.checkExchange(&m); err != nil {
				return err
			}
			theirs := s.mine.alike()
			if err := theirs.Decode(m.frame.payload()[:m.side]); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			from := s.total
			if first {
				from, first = s.own, false
			}
			values := m.frame.payload()[m.side:]
			if m.packed {
				_, err = addPacked(s.total, from, [][]byte{values})
			} else {
				_, _, err = addRaw(s.total, from, [][]byte{values})
			}
			if err != nil {
				return &PeerError{p.rank, err}
			}
			_ = s.side.Merge(theirs) // an overlap shows in the totals, on all members alike
			waiting[i].Add(-1)
			return nil
		})
	}
	return s.wait()
}

// everything makes the one frame of this member.
func (s *sum) everything() Frame {
	h := s.head
	h.kind, h.count, h.side = kindExchange, uint32(len(s.own)), uint32(s.side.size())
	f := s.pool.get(s.side.size() + 4*len(s.own))
	s.side.Append(f.payload()[:0])
	n, packed := encodeValues(f.payload()[s.side.size():], s.own, s.cfg.Pack)
	h.packed = packed
	f.cut(s.side.size() + n)
	f.finish(&h)
	return f
}

func (s *sum) checkExchange(m *message) error {
	if err := m.sameSum(&s.head); err != nil {
		return err
	}
	if m.total != s.head.total {
		return fmt.Errorf("%w: rank %d sums %d values, this member %d", ErrFenced, m.from, m.total, s.head.total)
	}
	if m.kind != kindExchange || m.hop != 0 || m.segment != 0 || m.offset != 0 || uint64(m.count) != m.total {
		return s.unexpected(m)
	}
	return nil
}
