package control

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
)

// reunion is how long members of runs at work may take to answer a coordinator that begins, and then another coordinator that
// they name: one that does not answer must not cost the others their time.
const reunion = 2 * time.Second

// reunite looks for the members of the runs that the journal has at work. Through their gossip all nodes learn where this
// coordinator is now; and if they have another one, which answers, this one must not serve: it is an error that says so.
func (s *Server) reunite(ctx context.Context) error {
	seeds, others := s.survey(ctx)
	for _, addr := range others {
		if s.answers(ctx, addr, s.cluster) {
			return errTwo(addr)
		}
	}
	if len(seeds) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, reunion)
	defer cancel()
	if err := s.gossip.Join(ctx, seeds); err != nil {
		s.log.Warn("cannot gossip with the members", "err", err)
	}
	return nil
}

// errTwo says that the cluster has a coordinator, at addr.
func errTwo(addr string) error {
	return fmt.Errorf("another coordinator serves this cluster, at %s: stop it first, or give this one another --home to begin another cluster", addr)
}

// survey asks the members of runs at work where they gossip and which other coordinators they know.
func (s *Server) survey(ctx context.Context) (seeds, others []string) {
	ctx, cancel := context.WithTimeout(ctx, reunion)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex // guards seeds and others
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
			if d.Cluster == s.cluster && d.Coordinator != s.addr && !slices.Contains(others, d.Coordinator) {
				others = append(others, d.Coordinator)
			}
		})
	}
	wg.Wait()
	return seeds, others
}

// expected are the members of the runs at work, as the journal has them, and the one that was named to this coordinator.
func (s *Server) expected() []view.Member {
	var all []view.Member
	if s.cfg.Member != "" {
		all = append(all, view.Member{Addr: s.cfg.Member})
	}
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

// answers says whether a coordinator of the cluster answers at addr. Whatever it says, it lives; who only cannot be reached,
// or is no coordinator, does not.
func (s *Server) answers(ctx context.Context, addr, cluster string) bool {
	conn, err := s.dialCoordinator(addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, reunion)
	defer cancel()
	reply, err := pb.NewControlClient(conn).Status(ctx, &pb.StatusRequest{})
	switch status.Code(err) {
	case codes.OK:
		return reply.Cluster == cluster
	case codes.PermissionDenied: // it knows that a coordinator is not a person
		return true
	}
	return false
}

// maxKeptPeers is how many gossip addresses are kept for the next start: one that answers is enough.
const maxKeptPeers = 16

// rejoin meets the gossip where it was when the last coordinator ended, so that nodes learn where this one is although no run
// is at work. Those that do not answer at once are tried again while the gossip runs.
func (s *Server) rejoin(ctx context.Context) {
	seeds, err := s.journal.seeds()
	if err == nil && len(seeds) > 0 {
		err = s.gossip.Join(ctx, seeds)
	}
	if err != nil && ctx.Err() == nil {
		s.log.Info("nobody of the gossip of before answers so far", "err", err)
	}
}

// keepPeers keeps where the gossip is. Whoever is lost may be the next coordinator's only way back, so that addresses go only
// when others come.
func (s *Server) keepPeers(e cluster.Event) {
	if e.Kind != cluster.Joined && e.Kind != cluster.Changed || e.Peer.Role != cluster.Node {
		return
	}
	seeds, err := s.journal.seeds()
	if err == nil && !slices.Contains(seeds, e.Peer.Gossip) {
		seeds = append([]string{e.Peer.Gossip}, seeds...)
		err = s.journal.keepSeeds(seeds[:min(len(seeds), maxKeptPeers)])
	}
	if err != nil {
		s.log.Warn("gossip addresses are not kept", "err", err)
	}
}
