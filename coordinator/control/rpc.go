package control

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/spec"
)

// Launch queues a run (pb.Control).
func (s *Server) Launch(_ context.Context, req *pb.LaunchRequest) (*pb.LaunchReply, error) {
	r, err := spec.FromJSON(req.Spec)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "launch: %v", err)
	}
	expect := int(req.ExpectMembers)
	if expect < 0 || expect > r.Batch.Lanes || r.Members.Max > 0 && expect > r.Members.Max {
		return nil, status.Errorf(codes.InvalidArgument, "launch: %d members are expected, but batch.lanes is %d and members.max is %d: fewer members, or more lanes", expect, r.Batch.Lanes, r.Members.Max)
	}
	if req.Name != "" {
		r.Name = req.Name
	}
	text, err := r.JSON()
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "launch: %v", err)
	}
	missing, err := s.missing(r)
	if err != nil {
		return nil, err
	}
	reply := &pb.LaunchReply{}
	for _, f := range r.Files {
		if _, ok := missing[f.SHA256]; ok && !slices.ContainsFunc(reply.Missing, func(sum []byte) bool { return spec.Sum(sum) == f.SHA256 }) {
			reply.Missing = append(reply.Missing, f.SHA256[:])
		}
	}
	s.do(func(c *core, now time.Time) {
		for reply.Run == "" || c.find(reply.Run) != nil {
			reply.Run = runID(r.Name)
		}
		err = c.launch(now, command{Run: reply.Run, Spec: text, Expect: expect}, missing)
	})
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "launch: %v", err)
	}
	if err := s.broken(); err != nil {
		return nil, status.Errorf(codes.Internal, "launch: %v", err)
	}
	s.log.Info("run launched", "run", reply.Run, "missing", len(reply.Missing))
	return reply, nil
}

// broken is the error that the coordinator ends with, if it does.
func (s *Server) broken() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// The name of a run has letters, digits and hyphens, and ends with five that no other has.
const (
	runLetters  = "abcdefghijklmnopqrstuvwxyz0123456789-"
	maxRunTitle = 40 // of what its spec calls it
	maxRunName  = maxRunTitle + 1 + 5
)

// runID makes a name for a run of what its spec calls it.
func runID(name string) string {
	clean := strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-':
			return c
		case 'A' <= c && c <= 'Z':
			return c - 'A' + 'a'
		}
		return '-'
	}, name)
	clean = strings.Trim(clean[:min(len(clean), maxRunTitle)], "-")
	if clean == "" {
		clean = "run"
	}
	return clean + "-" + strings.ToLower(rand.Text()[:5])
}

// run calls f with the run of this name.
func (s *Server) run(id string, f func(c *core, now time.Time, r *run)) error {
	found := false
	s.do(func(c *core, now time.Time) {
		if r := c.find(id); r != nil {
			found = true
			f(c, now, r)
		}
	})
	if err := s.broken(); err != nil { // what f did may not be in the journal, and so has not happened
		return status.Errorf(codes.Internal, "run %s: %v", id, err)
	}
	if !found && s.learning() {
		return status.Errorf(codes.Unavailable, "no run is named %q; this coordinator has just begun without a journal, and learns from members which runs there are: ask again", id)
	}
	if !found {
		return status.Errorf(codes.NotFound, "no run is named %q: `coordinator runs` lists them", id)
	}
	return nil
}

// Runs lists all runs, the newest first (pb.Control).
func (s *Server) Runs(context.Context, *pb.RunsRequest) (*pb.RunsReply, error) {
	reply := &pb.RunsReply{}
	s.do(func(c *core, now time.Time) {
		for _, r := range slices.Backward(c.runs) {
			i := c.info(now, r)
			i.Spec = nil
			reply.Runs = append(reply.Runs, i)
		}
	})
	return reply, nil
}

// Status tells about the cluster and one run (pb.Control).
func (s *Server) Status(_ context.Context, req *pb.StatusRequest) (*pb.StatusReply, error) {
	reply := &pb.StatusReply{Cluster: s.known(), Version: s.cfg.Version}
	var err error
	s.do(func(c *core, now time.Time) {
		reply.Nodes = c.nodeInfos(now)
		if r := c.atWork(); r != nil && req.Run == "" {
			reply.Run = c.info(now, r)
		}
	})
	if req.Run != "" {
		err = s.run(req.Run, func(c *core, now time.Time, r *run) { reply.Run = c.info(now, r) })
	}
	return reply, err
}

// Stop ends a run (pb.Control).
func (s *Server) Stop(_ context.Context, req *pb.StopRequest) (*pb.StopReply, error) {
	reply := &pb.StopReply{}
	var refused error
	err := s.run(req.Run, func(c *core, now time.Time, r *run) {
		refused = c.stop(now, r)
		reply.Run = c.info(now, r)
	})
	if err != nil {
		return nil, err
	}
	if refused != nil {
		return nil, status.Error(codes.FailedPrecondition, refused.Error())
	}
	return reply, nil
}

// Drain asks a node to leave (pb.Control).
func (s *Server) Drain(_ context.Context, req *pb.DrainRequest) (*pb.DrainReply, error) {
	var err error
	s.do(func(c *core, _ time.Time) { err = c.drain(req.Node) })
	if err != nil {
		return nil, status.Error(codes.NotFound, err.Error())
	}
	return &pb.DrainReply{}, nil
}

// Audit tells which view made which steps of a run (pb.Control).
func (s *Server) Audit(_ context.Context, req *pb.AuditRequest) (*pb.AuditReply, error) {
	reply := &pb.AuditReply{}
	if err := s.run(req.Run, func(c *core, now time.Time, r *run) { reply.Run = c.info(now, r) }); err != nil {
		return nil, err
	}
	b, err := s.journal.read()
	if err != nil {
		return nil, err
	}
	reply.Views = audit(b.find(req.Run), reply.Run.Step)
	return reply, nil
}
