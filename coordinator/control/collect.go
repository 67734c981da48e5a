package control

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
)

// Files of an ended run, below $HOME/runs/RUN.
const (
	stateFile = "state"     // State in canonical form
	specFile  = "spec.json" // the resolved spec
	// ResultFile has a Result; a run whose directory has it has ended.
	ResultFile = "result.json"
)

// Result is how a run ended, as its file result.json has it.
type Result struct {
	Run                string  `json:"run"`
	State              string  `json:"state"` // finished or stopped
	Step               uint64  `json:"step"`
	Steps              uint64  `json:"steps"`
	Digest             string  `json:"digest"`
	LossFirst          float64 `json:"loss_first"`
	LossLast           float64 `json:"loss_last"`
	TokensPerSecond    float64 `json:"tokens_per_second"`
	BytesSentPerMember int64   `json:"bytes_sent_per_member"`
	Trained            int64   `json:"trained"`
	Members            int     `json:"members"`
}

// finish compares the digests of the members and has State fetched.
func (c *core) finish(now time.Time, r *run, why string) {
	for _, s := range r.view.Members {
		m := r.members[s.Node]
		if m.phase != pb.Phase_PHASE_FINISHED {
			continue
		}
		if len(r.holders) > 0 && !bytes.Equal(m.digest, r.digest) {
			why := fmt.Sprintf("members disagree about the last State: %s has %.6x, %s has %.6x", r.holders[0].Node.Name, r.digest, s.Node.Name, m.digest)
			c.reload(now, r, m.step, why)
			return
		}
		r.digest, r.stopped = m.digest, r.stopped || m.stopped
		r.progress.step = max(r.progress.step, m.step) // reports may have been lost with a session
		r.holders = append(r.holders, view.Member{Node: s.Node, Addr: m.addr})
	}
	r.state, r.why = pb.RunState_RUN_FINISHING, "fetching State"
	c.say(now, r, slog.LevelInfo, "digest %x, %s", r.digest, why)
	c.out = append(c.out, collection{r, r.holders, r.digest})
}

// errAway marks that a holder of State did not answer, which may change.
var errAway = errors.New("it does not answer")

// errUnkept marks what is wrong with the coordinator's own disk, not with a State or its holders.
var errUnkept = errors.New("cannot keep State")

// collected ends a run whose State was stored, or that no member has. While the coordinator lacks the means to store it, the
// members keep it and the collection is repeated: it may be worth days of training. Holders that do not answer are asked
// again for a while; if none does, the steps since the last checkpoint are made again.
func (c *core) collected(now time.Time, r *run, err error) {
	switch {
	case r.state != pb.RunState_RUN_FINISHING:
	case errors.Is(err, errUnkept):
		r.retry, r.why = now.Add(c.timing.Keep), err.Error()
		if !r.unkept {
			r.unkept = true
			c.say(now, r, slog.LevelWarn, "%v; trying again every %v until it works or the run is stopped", err, c.timing.Keep)
		}
	case errors.Is(err, errAway) && !r.stopped:
		if r.empty.IsZero() {
			r.empty = now
			c.say(now, r, slog.LevelWarn, "the last State cannot be fetched: %v; trying again", err)
		}
		if r.retry, r.why = now.Add(c.timing.Keep), err.Error(); now.Sub(r.empty) >= c.timing.Hope {
			c.startOver(now, r, fmt.Sprintf("no member that has the last State answered in %v", c.timing.Hope))
		}
	case err != nil:
		c.end(now, r, pb.RunState_RUN_FAILED, fmt.Sprintf("keep the last State: %v", err))
	case r.stopped:
		c.end(now, r, pb.RunState_RUN_STOPPED, fmt.Sprintf("after step %d of %d", r.progress.step, r.spec.Steps))
	default:
		c.end(now, r, pb.RunState_RUN_FINISHED, "")
	}
}

// collect fetches and keeps the State of runs that finish, until ctx is done.
func (s *Server) collect(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for {
		select {
		case <-ctx.Done():
			return g.Wait()
		case w := <-s.work:
			g.Go(func() error {
				err := s.keep(ctx, w)
				var disk diskError
				if errors.As(err, &disk) {
					err = fmt.Errorf("%w: %w: %s %s", errUnkept, err, disk.cure(), s.cfg.Home)
				}
				if ctx.Err() == nil {
					s.do(func(c *core, now time.Time) { c.collected(now, w.run, err) })
				}
				return nil
			})
		}
	}
}

// keep writes what run leaves behind, State first and the result last.
func (s *Server) keep(ctx context.Context, w collection) error {
	dir := s.runDir(w.run.id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return diskError{err}
	}
	if err := s.keepState(ctx, dir, w); err != nil {
		return err
	}
	var text []byte
	var result Result
	var err error
	s.do(func(c *core, now time.Time) {
		text, err = w.run.spec.JSON()
		result = makeResult(c.info(now, w.run), w.run.stopped)
	})
	if err != nil {
		return err
	}
	if err := writeDurably(dir, specFile, func(f io.Writer) error { _, err := f.Write(text); return err }); err != nil {
		return err
	}
	return writeDurably(dir, ResultFile, func(f io.Writer) error { return json.NewEncoder(f).Encode(result) })
}

func makeResult(i *pb.RunInfo, stopped bool) Result {
	state := pb.RunState_RUN_FINISHED
	if stopped {
		state = pb.RunState_RUN_STOPPED
	}
	return Result{
		Run: i.Run, State: stateName(state), Step: i.Step, Steps: i.Steps, Digest: fmt.Sprintf("%x", i.Digest),
		LossFirst: i.LossFirst, LossLast: i.LossLast, TokensPerSecond: i.TokensPerSecond,
		BytesSentPerMember: i.BytesSentPerMember, Trained: i.Trained, Members: len(i.GetView().GetMembers()),
	}
}

// keepState fetches State from the first holder that has it right.
func (s *Server) keepState(ctx context.Context, dir string, w collection) error {
	var errs []error
	for _, m := range w.holders {
		err := writeDurably(dir, stateFile, func(f io.Writer) error { return s.fetchState(ctx, m, w, f) })
		if err == nil {
			return nil
		}
		s.log.Warn("State was not fetched", "run", w.run.id, "member", m.Node, "err", err)
		if errors.As(err, new(diskError)) {
			return err // another member's State would fare no better
		}
		if _, ok := status.FromError(err); ok {
			err = fmt.Errorf("%w: %w", errAway, err)
		}
		errs = append(errs, fmt.Errorf("fetch it from %s: %w", m.Node.Name, err))
	}
	return errors.Join(errs...)
}

// fetchState copies the State that m has to f, and checks that it has the digest.
func (s *Server) fetchState(ctx context.Context, m view.Member, w collection, f io.Writer) error {
	conn, err := s.dialMember(m)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := pb.NewPeerClient(conn).State(ctx, &pb.StateRequest{Run: w.run.id})
	if err != nil {
		return err
	}
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(h, f), pb.ReadChunks(stream.Recv)); err != nil {
		return err
	}
	if got := h.Sum(nil); !bytes.Equal(got, w.digest) {
		return fmt.Errorf("it has digest %.6x, but reported %.6x", got, w.digest)
	}
	return nil
}
