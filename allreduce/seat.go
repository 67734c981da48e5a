package allreduce

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Seat is a member's place in a view. Rings end with the first error, and members that lost one begin the next by
// themselves; the seat keeps their numbers together. Whoever asks for a link of an older ring is told the number of the
// present one, and a link of a newer ring says that the others have gone on.
type Seat struct {
	server *Server
	key    seatKey
	names  []string // of the members by rank
	once   sync.Once

	// Guarded by server.mu:
	ring  uint32        // the present one; 0 before the first
	asked uint32        // the highest that another member named
	newer chan struct{} // closed when asked is above ring
}

// seatKey names a view of a run.
type seatKey struct{ run, view uint64 }

// Sit takes this member's place in a view, which seats the members of these names by rank. There is one seat per view at a
// time; Leave ends it.
func (s *Server) Sit(run string, view uint64, names []string) *Seat {
	p := &Seat{server: s, key: seatKey{hashRun(run), view}, names: names, newer: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.meets { // those who came earlier
		if (seatKey{k.run, k.view}) == p.key {
			p.asked = max(p.asked, k.ring)
		}
	}
	for c := range s.claims {
		if c.key == p.key && p.admits(c) == nil {
			p.asked = max(p.asked, c.ring)
		}
	}
	s.seats[p.key] = p
	close(s.sat)
	s.sat = make(chan struct{})
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

// maxClaims bounds the links of one member that wait for a view.
const maxClaims = 16

// claim is an incoming link that says which seat it comes from, by the certificate of a member.
type claim struct {
	key  seatKey
	ring uint32
	rank uint32
	name string
}

// admits refuses a claim to another member's seat.
func (p *Seat) admits(c *claim) error {
	switch {
	case uint64(c.rank) >= uint64(len(p.names)):
		return status.Errorf(codes.PermissionDenied, "node %.70q may not link as rank %d: the view has %d members", c.name, c.rank, len(p.names))
	case p.names[c.rank] != c.name:
		return status.Errorf(codes.PermissionDenied, "node %.70q may not link as rank %d: the view seats node %.70q there", c.name, c.rank, p.names[c.rank])
	}
	return nil
}

// vouch refuses who asks for a link, by h, from a seat that is not his. Views reach members at different moments: until
// this member sits in the view, the link waits, with its ring known to Sit.
func (s *Server) vouch(ctx context.Context, h *header) error {
	if s.Who == nil {
		return nil
	}
	name, known := s.Who(ctx)
	if !known {
		return nil
	}
	c := &claim{seatKey{h.run, h.view}, h.ring, h.from, name}
	if err := s.enter(c); err != nil {
		return err
	}
	defer s.exit(c)
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		s.mu.Lock()
		seat, sat := s.seats[c.key], s.sat
		s.mu.Unlock()
		if seat != nil {
			return seat.admits(c)
		}
		select {
		case <-sat:
		case <-ctx.Done():
			return ctx.Err()
		case <-late.C:
			return status.Errorf(codes.DeadlineExceeded, "this member did not come to view %016x, in which node %.70q has a link to it", h.view, name)
		}
	}
}

// enter notes a claim.
func (s *Server) enter(c *claim) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for other := range s.claims {
		if other.name == c.name {
			n++
		}
	}
	if n >= maxClaims {
		return status.Errorf(codes.ResourceExhausted, "%d links of node %.70q wait for their views already", n, c.name)
	}
	s.claims[c] = struct{}{}
	return nil
}

// exit forgets a claim.
func (s *Server) exit(c *claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.claims, c)
}
