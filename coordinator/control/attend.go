package control

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/pb"
)

// session is one Attend call of a node.
type session struct {
	orders chan *pb.Order // capacity maxOrders; closed never
	over   chan struct{}  // closed when another session took its place or it cannot keep up
}

// maxLabels bounds what is kept of a node.
const maxLabels = 16

// maxOrders is how many orders a session may be behind: more than a node gets in several runs.
const maxOrders = 64

// Join admits a node (pb.Control).
func (s *Server) Join(ctx context.Context, req *pb.JoinRequest) (*pb.JoinReply, error) {
	if err := s.sameProtocol(req.Version, req.Protocol); err != nil {
		return nil, err
	}
	if err := reachable(ctx, req.Addr); err != nil {
		return nil, err
	}
	if err := fewLabels(req.Labels); err != nil {
		return nil, err
	}
	var err error
	s.do(func(c *core, now time.Time) { err = c.admit(now, req.Node.ID()) })
	if err != nil {
		return nil, wire(err)
	}
	if err := s.awaitFounding(ctx); err != nil {
		return nil, err
	}
	s.log.Info("node joins", "node", req.Node.ID(), "addr", req.Addr, "version", req.Version)
	seeds := []string{s.gossip.Addr()}
	for _, p := range s.gossip.Peers() {
		if len(seeds) < maxGossipSeeds {
			seeds = append(seeds, p.Gossip)
		}
	}
	return &pb.JoinReply{Cluster: s.cluster, GossipSeeds: seeds, Coordinator: s.addr, Version: s.cfg.Version, Protocol: pb.Protocol}, nil
}

// sameProtocol refuses a node of a release that this coordinator cannot work with.
func (s *Server) sameProtocol(version string, protocol uint32) error {
	if len(version) > maxVersionBytes {
		return status.Errorf(codes.InvalidArgument, "the node's version has %d bytes: at most %d", len(version), maxVersionBytes)
	}
	if err := pb.Compare(version, protocol, s.cfg.Version, pb.Protocol); err != nil {
		return status.Error(codes.PermissionDenied, err.Error())
	}
	return nil
}

// fewLabels refuses a node with more labels than are kept.
func fewLabels(labels map[string]string) error {
	if len(labels) > maxLabels {
		return status.Errorf(codes.InvalidArgument, "node has %d labels: use at most %d", len(labels), maxLabels)
	}
	return nil
}

// maxGossipSeeds is how many gossip addresses a joining node gets: any one is enough.
const maxGossipSeeds = 4

// reachable refuses an address that only makes sense on the machine of the caller.
func reachable(ctx context.Context, addr string) error {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return status.Errorf(codes.InvalidArgument, "node address %q is not host:port", addr)
	}
	if p, ok := peer.FromContext(ctx); ok && !cluster.Reaches(p.Addr, addr) {
		return status.Errorf(codes.PermissionDenied, "node address %s cannot be reached from other machines: give the node --advertise or --listen", addr)
	}
	return nil
}

// Attend is the session of a node (pb.Control). Its first beat introduces the node.
func (s *Server) Attend(stream grpc.BidiStreamingServer[pb.Beat, pb.Order]) error {
	b, err := stream.Recv()
	if err != nil {
		return err
	}
	if err := s.sameProtocol(b.Version, b.Protocol); err != nil {
		return err
	}
	if err := reachable(stream.Context(), b.Addr); err != nil {
		return err
	}
	if err := fewLabels(b.Labels); err != nil {
		return err
	}
	id, here, err := s.open(b)
	if err != nil {
		return wire(err)
	}
	s.log.Info("node attends", "node", b.Node.ID(), "addr", b.Addr, "class", b.Class, "threads", b.Threads)
	broken := make(chan error, 1) // the receiver never blocks
	s.receivers.Go(func() {
		for {
			b, err := stream.Recv()
			if err != nil {
				broken <- err
				return
			}
			s.do(func(c *core, now time.Time) { c.beat(now, id, b) })
		}
	})
	err = s.serve(stream, here, broken)
	s.do(func(c *core, now time.Time) { c.left(now, id); delete(s.sessions, id) })
	s.log.Info("node's session ended", "node", b.Node.ID(), "err", err)
	return err
}

// open registers a session; one that the same node had before ends.
func (s *Server) open(b *pb.Beat) (id uint64, here *session, err error) {
	here = &session{orders: make(chan *pb.Order, maxOrders), over: make(chan struct{})}
	s.do(func(c *core, now time.Time) {
		s.last++
		id = s.last
		s.sessions[id] = here
		var replaced []uint64
		if replaced, err = c.attend(now, id, b); err != nil {
			delete(s.sessions, id)
		}
		for _, r := range replaced {
			s.drop(r)
		}
	})
	return id, here, err
}

// serve passes orders on until the session ends.
func (s *Server) serve(stream grpc.BidiStreamingServer[pb.Beat, pb.Order], here *session, broken <-chan error) error {
	for {
		select {
		case o := <-here.orders:
			if err := stream.Send(o); err != nil {
				return err
			}
		case err := <-broken:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-here.over:
			return status.Error(codes.Aborted, "another session took this one's place")
		case <-s.ending:
			return errEnding
		}
	}
}

var errEnding = status.Error(codes.Unavailable, "the coordinator is ending")

// post hands an order to the session it is for. The caller holds mu.
func (s *Server) post(o order) {
	here := s.sessions[o.session]
	if here == nil {
		return
	}
	select {
	case here.orders <- o.order:
	default:
		s.drop(o.session) // the node attends again and is told what it missed
	}
}

// drop ends a session. The caller holds mu.
func (s *Server) drop(id uint64) {
	if here := s.sessions[id]; here != nil {
		delete(s.sessions, id)
		close(here.over)
	}
}

// wire gives an error its kind on the wire.
func wire(err error) error {
	var r refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &r):
		return status.Error(codes.PermissionDenied, r.text)
	}
	return err
}
