package allreduce

import "sync"

// Seat is a member's place in a view. Rings end with the first error, and members that lost one begin the next by
// themselves; the seat keeps their numbers together. Whoever asks for a link of an older ring is told the number of the
// present one, and a link of a newer ring says that the others have gone on.
type Seat struct {
	server *Server
	key    seatKey
	once   sync.Once

	// Guarded by server.mu:
	ring  uint32        // the present one; 0 before the first
	asked uint32        // the highest that another member named
	newer chan struct{} // closed when asked is above ring
}

// seatKey names a view of a run.
type seatKey struct{ run, view uint64 }

// Sit takes this member's place in a view. There is one seat per view at a time; Leave ends it.
func (s *Server) Sit(run string, view uint64) *Seat {
	p := &Seat{server: s, key: seatKey{hashRun(run), view}, newer: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.meets { // those who came earlier
		if (seatKey{k.run, k.view}) == p.key {
			p.asked = max(p.asked, k.ring)
		}
	}
	s.seats[p.key] = p
	return p
}

// Next begins a ring: its number is above that of the last one and not below what another member named. newer is closed
// when another member names a higher one: the ring will not come to anything then.
func (p *Seat) Next() (ring uint32, newer <-chan struct{}) {
	s := p.server
	s.mu.Lock()
	defer s.mu.Unlock()
	p.ring = max(p.ring+1, p.asked)
	p.newer = make(chan struct{})
	for k, m := range s.meets {
		if (seatKey{k.run, k.view}) == p.key && k.ring < p.ring {
			m.stale()
		}
	}
	return p.ring, p.newer
}

// Leave gives the seat up. It is idempotent.
func (p *Seat) Leave() {
	p.once.Do(func() {
		p.server.mu.Lock()
		defer p.server.mu.Unlock()
		if p.server.seats[p.key] == p {
			delete(p.server.seats, p.key)
		}
	})
}

// named hears that another member is at ring, and returns the ring of this member's seat, 0 if it has none.
func (s *Server) named(run, view uint64, ring uint32) (present uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.seats[seatKey{run, view}]
	if p == nil {
		return 0
	}
	if ring > p.ring && ring > p.asked {
		if p.asked <= p.ring {
			close(p.newer)
		}
		p.asked = ring
	}
	return p.ring
}
