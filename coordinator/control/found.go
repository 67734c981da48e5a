package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/internal/view"
)

// claim is what a node says of the cluster that it belongs to.
type claim struct{ cluster, gossip string }

// maxQuestions is how many inquiries may wait.
const maxQuestions = 64

// known is the id of the cluster, or nothing while that is open.
func (s *Server) known() string {
	select {
	case <-s.settled:
		return s.cluster
	default:
		return ""
	}
}

// awaitFounding returns when it is known which cluster a node would join.
func (s *Server) awaitFounding(ctx context.Context) error {
	s.newcomer()
	select {
	case <-s.settled:
		return nil
	case <-s.ending:
		return errEnding
	case <-ctx.Done():
		return ctx.Err()
	}
}

// identify finds out which cluster a coordinator without a journal serves: that of Config.Member, or of the nodes which call it,
// since they knew one before; or a new one, when nobody has called for a while and a node wants to join. The claim is empty when
// ctx is done before.
func (s *Server) identify(ctx context.Context) (is claim, err error) {
	if s.cfg.Member != "" {
		return s.visit(ctx)
	}
	wait := time.NewTimer(s.cfg.Timing.Found)
	defer wait.Stop()
	select {
	case is = <-s.claims:
	case <-ctx.Done():
	case <-wait.C:
		select {
		case is = <-s.claims:
		case <-s.comes:
			is.cluster = randomHex(8)
		case <-ctx.Done():
		}
	}
	return is, nil
}

// visit asks Config.Member of which cluster it is, until it answers. A cluster that has a coordinator is left to it.
func (s *Server) visit(ctx context.Context) (claim, error) {
	tick := time.NewTicker(again)
	defer tick.Stop()
	for said := false; ; {
		asking, cancel := context.WithTimeout(ctx, reunion)
		d, err := s.describe(asking, view.Member{Addr: s.cfg.Member})
		cancel()
		switch {
		case err == nil && d.Coordinator != s.addr && s.answers(ctx, d.Coordinator, d.Cluster):
			return claim{}, errTwo(d.Coordinator)
		case err == nil && d.Cluster != "":
			return claim{d.Cluster, d.Gossip}, nil
		case !said && ctx.Err() == nil:
			said = true
			s.log.Warn("the member does not say yet which cluster this is", "member", s.cfg.Member, "err", err)
		}
		select {
		case <-tick.C:
		case is := <-s.claims:
			return is, nil
		case <-ctx.Done():
			return claim{}, nil
		}
	}
}

// found makes the cluster that this coordinator serves part of its journal, once that is known.
func (s *Server) found(ctx context.Context) error {
	is, err := s.identify(ctx)
	if err != nil || is.cluster == "" {
		return err
	}
	s.do(func(c *core, now time.Time) {
		c.founded = true
		c.record(now, command{Kind: founded, Cluster: is.cluster})
	})
	if err := s.broken(); err != nil {
		return err
	}
	s.cluster = is.cluster
	if err := s.openGossip(); err != nil {
		return err
	}
	close(s.settled)
	if is.gossip == "" {
		s.log.Info("founded a cluster", "cluster", is.cluster)
		return nil
	}
	s.log.Info("serves the cluster of its members", "cluster", is.cluster)
	if err := s.gossip.Join(ctx, []string{is.gossip}); err != nil {
		s.log.Warn("cannot gossip with the members", "err", err)
	}
	return nil
}

// ask asks nodes what they work for, until ctx is done.
func (s *Server) ask(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for {
		select {
		case <-ctx.Done():
			return g.Wait()
		case q := <-s.questions:
			g.Go(func() error { s.learn(ctx, q); return nil })
		}
	}
}

// learn asks one node. A run that becomes known needs its files here, for nodes to come and for export.
func (s *Server) learn(ctx context.Context, q inquiry) {
	asking, cancel := context.WithTimeout(ctx, reunion)
	d, err := s.describe(asking, q.node)
	cancel()
	if err != nil {
		s.log.Debug("a node does not say what it works for", "node", q.node.Node, "err", err)
		return
	}
	var need *spec.Resolved
	s.do(func(c *core, now time.Time) {
		if r := c.described(now, q.node.Node, d); r != nil && r.restock {
			r.restock, need = false, r.spec
		}
	})
	if d.Cluster != "" && s.known() == "" {
		select {
		case s.claims <- claim{d.Cluster, d.Gossip}:
		default: // another node was faster
		}
	}
	if need == nil {
		return
	}
	if err := s.restock(ctx, q, need); err != nil && ctx.Err() == nil {
		s.log.Warn("files of the run are not all here", "run", d.Assignment.GetRun(), "err", err)
	}
}

// restock puts the files of a run into the store: as far as they are not on this machine, from the member that told of it.
func (s *Server) restock(ctx context.Context, q inquiry, r *spec.Resolved) error {
	missing, err := s.missing(r)
	if err != nil || len(missing) == 0 {
		return err
	}
	conn, err := s.dialMember(q.node)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var errs []error
	for _, f := range r.Files {
		size, ok := missing[f.SHA256]
		if !ok {
			continue
		}
		delete(missing, f.SHA256)
		stream, err := pb.NewPeerClient(conn).Fetch(ctx, &pb.FetchRequest{Sha256: slices.Clone(f.SHA256[:])})
		if err == nil {
			_, err = s.store.Add(f.SHA256[:], size, pb.ReadChunks(stream.Recv))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("fetch %s from %s: %w", f.Role, q.node.Node.Name, err))
		}
	}
	return errors.Join(errs...)
}

// learning says whether members may yet tell of runs that this coordinator has lost.
func (s *Server) learning() bool { return s.now().Before(s.learns) }
