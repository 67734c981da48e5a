package control

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
)

// reunion is how long members of runs at work may take to answer a coordinator that begins.
const reunion = 2 * time.Second

// reunite looks for the members of the runs that the journal has at work. Through their gossip all nodes learn where this
// coordinator is now; and if they have another one, which answers, this one must not serve: it is an error that says so.
func (s *Server) reunite(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reunion)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex // guards what follows
	var seeds, others []string
	for _, m := range s.expected() {
		wg.Go(func() {
			d, err := s.describe(ctx, m)
			if err != nil {
				s.log.Debug("a member does not answer", "member", m.Node, "err", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if d.Cluster == s.cluster && d.Gossip != "" {
				seeds = append(seeds, d.Gossip)
			}
			if d.Cluster == s.cluster && d.Coordinator != s.addr {
				others = append(others, d.Coordinator)
			}
		})
	}
	wg.Wait()
	for _, addr := range others {
		if s.answers(ctx, addr) {
			return fmt.Errorf("another coordinator serves this cluster, at %s: stop it first, or give this one another --home to begin another cluster", addr)
		}
	}
	if len(seeds) == 0 {
		return nil
	}
	if err := s.gossip.Join(ctx, seeds); err != nil {
		s.log.Warn("cannot gossip with the members", "err", err)
	}
	return nil
}

// expected are the members of the runs at work, as the journal has them.
func (s *Server) expected() []view.Member {
	var all []view.Member
	s.do(func(c *core, _ time.Time) {
		for _, r := range c.runs {
			if r.view != nil && !r.over() {
				all = append(all, r.view.Members...)
			}
		}
	})
	return all
}

func (s *Server) describe(ctx context.Context, m view.Member) (*pb.Description, error) {
	conn, err := s.dialMember(m)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return pb.NewPeerClient(conn).Describe(ctx, &pb.DescribeRequest{})
}

// answers says whether a coordinator of this cluster answers at addr. Whatever it says, it lives; who only cannot be reached,
// or is no coordinator, does not.
func (s *Server) answers(ctx context.Context, addr string) bool {
	conn, err := s.dialCoordinator(addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	reply, err := pb.NewControlClient(conn).Status(ctx, &pb.StatusRequest{})
	switch status.Code(err) {
	case codes.OK:
		return reply.Cluster == s.cluster
	case codes.PermissionDenied: // it knows that a coordinator is not a person
		return true
	}
	return false
}
