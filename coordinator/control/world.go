package control

import (
	"net"
	"time"

	"google.golang.org/grpc"

	"github.com/torctrain/torc/internal/cluster"
)

// World is what a coordinator meets outside itself. A simulation puts another in its place.
type World struct {
	// Listener is where the coordinator serves, at the address by which others know it.
	Listener net.Listener
	// Gossip opens the coordinator's gossip.
	Gossip func(cluster.GossipConfig) (*cluster.Gossip, error)
	// Dial connects to a node at its address.
	Dial func(addr string) (*grpc.ClientConn, error)
	// Now is the clock by which the coordinator judges silence.
	Now func() time.Time
	// NoSync spares the journal's waits for the disk: whoever loses power loses what it has written last.
	NoSync bool
}

// listen opens the port, unless the world has one.
func (s *Server) listen() (err error) {
	if w := s.cfg.World; w != nil {
		s.listener, s.addr = w.Listener, w.Listener.Addr().String()
		return nil
	}
	s.listener, s.addr, err = cluster.Listen(s.cfg.Listen, s.cfg.Advertise, cluster.Port)
	return err
}

// now is what the clock says.
func (s *Server) now() time.Time {
	if w := s.cfg.World; w != nil {
		return w.Now()
	}
	return time.Now()
}
