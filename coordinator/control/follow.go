package control

import (
	"time"

	"google.golang.org/grpc"

	"github.com/torctrain/torc/internal/pb"
)

// lookEvery is how often those who follow a run look for news. What happens in between comes in one event.
const lookEvery = 100 * time.Millisecond

// glance is what a follower saw last.
type glance struct {
	seen        bool
	version     uint64
	state       pb.RunState
	why         string
	steps, line int // numbers of the next ones
}

// news is what is new since g, or nil. The first event has no steps and lines of the past.
func (c *core) news(now time.Time, r *run, g *glance) *pb.RunEvent {
	if g.seen && g.version == r.version && g.state == r.state && g.why == r.why {
		return nil
	}
	e := &pb.RunEvent{Info: c.info(now, r)}
	if g.seen {
		e.Info.Spec = nil // it does not change
		e.Steps = append(e.Steps, r.progress.steps.from(g.steps)...)
		for _, l := range r.lines.from(g.line) {
			if l.Node == self || l.Level != "INFO" {
				e.Logs = append(e.Logs, l)
			}
		}
	}
	*g = glance{true, r.version, r.state, r.why, r.progress.steps.end(), r.lines.end()}
	return e
}

// Follow streams what happens in a run until it ends (pb.Control).
func (s *Server) Follow(req *pb.FollowRequest, stream grpc.ServerStreamingServer[pb.RunEvent]) error {
	g := glance{}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		var e *pb.RunEvent
		over := false
		err := s.run(req.Run, func(c *core, now time.Time, r *run) {
			e, over = c.news(now, r, &g), r.over()
		})
		if err != nil {
			return err
		}
		if e != nil {
			if err := stream.Send(e); err != nil {
				return err
			}
		}
		if over {
			return nil
		}
		select {
		case <-tick.C:
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-s.ending:
			return errEnding
		}
	}
}

// Logs streams what was said about a run, and goes on until it ends if asked (pb.Control).
func (s *Server) Logs(req *pb.LogsRequest, stream grpc.ServerStreamingServer[pb.LogLine]) error {
	next := 0
	var past []*pb.LogLine
	var failed error
	if err := s.run(req.Run, func(_ *core, _ time.Time, r *run) {
		next = r.lines.end()
		past, failed = readLog(s.runDir(r.id)) // under the lock, so that no line is missed or comes twice
	}); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for over := !req.Follow; ; {
		for _, l := range past {
			if err := stream.Send(l); err != nil {
				return err
			}
		}
		if over {
			return nil
		}
		select {
		case <-tick.C:
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-s.ending:
			return errEnding
		}
		if err := s.run(req.Run, func(_ *core, _ time.Time, r *run) {
			past = append([]*pb.LogLine(nil), r.lines.from(next)...)
			next, over = r.lines.end(), r.over()
		}); err != nil {
			return err
		}
	}
}
