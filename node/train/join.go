package train

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/pb"
)

const (
	// stripe is how much of a State is asked of one member at a time.
	stripe = 4 << 20
	// copyPatience is how long further members may take to say what copy they have, once one has.
	copyPatience = 2 * time.Second
	// retry is how long a member waits before it asks the others again.
	retry = 200 * time.Millisecond
)

// join makes a trainer with a State of the other members, as old as it may be: the records since bring it level.
func (w *work) join(ctx context.Context, job *Job) (*Trainer, error) {
	for {
		c, data, err := w.fetchState(ctx)
		if err == nil {
			s, err := checkpoints.ReadState(bytes.NewReader(data))
			if err != nil {
				return nil, fmt.Errorf("read State of the other members: %w", err)
			}
			t, err := NewTrainer(job, s, w, w.log)
			if err != nil {
				return nil, err
			}
			t.totals, t.copied = totalsFromPB(c.Totals), true
			t.advance(c)
			w.set(func() { w.problem, w.tie, w.made.last = "", nil, c.Made })
			w.log.Info("has a State of the other members", "step", t.step, "bytes", len(data))
			return t, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		w.doubt(err)
		w.log.Debug("could not fetch State, asks again", "err", err)
		sleep(ctx, retry)
	}
}

// doubt reports a tie among the copies of State, and takes it back where err is none.
func (w *work) doubt(err error) {
	var tie *TieError
	problem := ""
	if errors.As(err, &tie) {
		problem = err.Error()
	}
	w.mu.Lock()
	news := w.problem != problem
	w.problem, w.tie = problem, tie
	w.mu.Unlock()
	if news {
		w.member.nudge()
	}
}

// source is a member that may have a copy of State.
type source struct {
	addr   string
	client pb.PeerClient
}

// offer is a copy of State that a member holds ready.
type offer struct {
	source
	copy *pb.StateCopy
}

// fetchState reads the copy of State that most members have, in stripes from all that have it.
func (w *work) fetchState(ctx context.Context) (*pb.StateCopy, []byte, error) {
	var sources []source
	var errs []error
	for _, addr := range w.peers() {
		conn, err := w.member.cfg.Dial(addr)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		defer conn.Close()
		sources = append(sources, source{addr, pb.NewPeerClient(conn)})
	}
	offers, err := w.offers(ctx, sources, 0)
	if latest, differ := latest(offers); differ { // some were made for an earlier joiner
		offers, err = w.offers(ctx, sources, latest)
	}
	if len(offers) == 0 {
		return nil, nil, fmt.Errorf("no member has a State to give: %w", errors.Join(append(errs, err)...))
	}
	want, sources, err := elect(offers)
	if err != nil {
		return nil, nil, err
	}
	if want.Size <= 0 || want.Size > maxState {
		return nil, nil, fmt.Errorf("a State of %d bytes is offered", want.Size)
	}
	data, err := w.stripes(ctx, want, sources)
	if err != nil {
		return nil, nil, err
	}
	if sum := sha256.Sum256(data); !bytes.Equal(sum[:], want.Sha256) {
		return nil, nil, fmt.Errorf("the State that came has digest %.6x, want %.6x", sum, want.Sha256)
	}
	return want, data, nil
}

// maxState bounds the memory that a State may ask for.
const maxState = 1 << 40

// offers asks all sources at once for a copy of State after step least or later. Where there is none, all members make one
// at the end of the same step; so once the first has answered, the others have copyPatience. err says why the others did not.
func (w *work) offers(ctx context.Context, sources []source, least uint64) (offers []offer, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		offer
		err error
	}
	answers := make(chan answer)
	for _, s := range sources {
		go func() {
			c, err := s.client.Copy(ctx, &pb.CopyRequest{Run: w.id, Step: least})
			answers <- answer{offer{s, c}, err}
		}()
	}
	var errs []error
	for range sources {
		a := <-answers
		if a.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", a.addr, a.err))
			continue
		}
		if offers = append(offers, a.offer); len(offers) == 1 {
			defer time.AfterFunc(copyPatience, cancel).Stop()
		}
	}
	return offers, errors.Join(errs...)
}

// latest is the last step of which there is a copy, and whether there are copies of others.
func latest(offers []offer) (step uint64, differ bool) {
	for _, o := range offers {
		differ = differ || o.copy.Step != offers[0].copy.Step
		step = max(step, o.copy.Step)
	}
	return step, differ
}

// elect finds the copy that most members have, and which these are; of two that as many have, the one that has come further.
// Where these are of one place, they contradict each other, and elect returns ErrTie: nobody can tell which is right.
func elect(offers []offer) (*pb.StateCopy, []source, error) {
	type copyKey struct {
		step  uint64
		ahead uint32
		sha   string
	}
	holders := map[copyKey][]source{}
	copies := map[copyKey]*pb.StateCopy{}
	for _, o := range offers {
		k := copyKey{o.copy.Step, o.copy.Ahead, string(o.copy.Sha256)}
		holders[k], copies[k] = append(holders[k], o.source), o.copy
	}
	best := slices.SortedFunc(maps.Keys(holders), func(x, y copyKey) int {
		return cmp.Or(cmp.Compare(len(holders[y]), len(holders[x])), cmp.Compare(y.step, x.step), cmp.Compare(y.ahead, x.ahead), cmp.Compare(x.sha, y.sha))
	})
	first := best[0]
	if len(best) > 1 {
		second := best[1]
		if first.step == second.step && first.ahead == second.ahead && len(holders[first]) == len(holders[second]) {
			return nil, nil, &TieError{first.step, [2]string{fmt.Sprintf("%.6x", first.sha), fmt.Sprintf("%.6x", second.sha)}}
		}
	}
	return copies[first], holders[first], nil
}

// stripes reads a State from all sources at once. A source that fails gives its stripe to the others.
func (w *work) stripes(ctx context.Context, c *pb.StateCopy, sources []source) ([]byte, error) {
	data := make([]byte, c.Size)
	todo := make(chan int64, (c.Size+stripe-1)/stripe)
	for at := int64(0); at < c.Size; at += stripe {
		todo <- at
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex // guards errs and left
	var errs []error
	left := cap(todo)
	for _, s := range sources {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case at := <-todo:
					part := data[at:min(at+stripe, c.Size)]
					err := readPart(ctx, s.client, &pb.StateRequest{Run: w.id, Step: c.Step, Offset: at, Length: int64(len(part))}, part)
					mu.Lock()
					if err != nil {
						errs = append(errs, fmt.Errorf("from %s: %w", s.addr, err))
					} else if left--; left == 0 {
						cancel()
					}
					mu.Unlock()
					if err != nil {
						todo <- at
						return
					}
				}
			}
		})
	}
	wg.Wait()
	if left > 0 {
		return nil, fmt.Errorf("fetch State after step %d: %w", c.Step, errors.Join(errs...))
	}
	return data, nil
}

func readPart(ctx context.Context, client pb.PeerClient, req *pb.StateRequest, part []byte) error {
	stream, err := client.State(ctx, req)
	if err != nil {
		return err
	}
	r := pb.ReadChunks(stream.Recv)
	if _, err := io.ReadFull(r, part); err != nil {
		return err
	}
	switch _, err := io.ReadFull(r, make([]byte, 1)); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	return errors.New("more came than was asked for")
}

// follow makes the steps that others have made, from their records, until there is a view to enter. It returns errGone when
// nobody has the record of the next step any more.
func (w *work) follow(ctx context.Context) error {
	ctx, pass := context.WithCancelCause(ctx)
	defer pass(nil)
	w.set(func() {
		w.pass = pass
		if w.next != nil {
			pass(errViewOver)
		}
	})
	defer w.set(func() { w.pass = nil })
	for {
		gone := 0
		peers := w.peers()
		for _, addr := range peers {
			err := w.followOne(ctx, addr)
			if ctx.Err() != nil {
				return nil
			}
			w.log.Debug("stopped following a member", "member", addr, "err", err)
			switch {
			case errors.Is(err, errApply):
				return err
			case status.Code(err) == codes.OutOfRange:
				gone++
			}
		}
		if gone > 0 && gone == len(peers) {
			return errGone
		}
		if w.trainer.keep.due(w.trainer.step) { // nobody else may be left who has State
			w.trainer.copyState()
		}
		sleep(ctx, retry)
		if ctx.Err() != nil {
			return nil
		}
	}
}

// errApply marks an error of this member, not of the one it follows.
var errApply = errors.New("cannot make a step from its record")

// followOne follows one member until the stream ends.
func (w *work) followOne(ctx context.Context, addr string) error {
	conn, err := w.member.cfg.Dial(addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t := w.trainer
	stream, err := pb.NewPeerClient(conn).Records(ctx, &pb.RecordsRequest{Run: w.id, From: t.step + 1})
	if err != nil {
		return err
	}
	var data []byte
	size := int64(-1)
	for {
		part, err := stream.Recv()
		if err != nil {
			return err
		}
		if part.Level {
			w.level()
			continue
		}
		if size < 0 {
			if size = part.Size; size <= 0 || size > maxState {
				return fmt.Errorf("a record of %d bytes is announced", size)
			}
			data = make([]byte, 0, min(size, stripe))
		}
		if data = append(data, part.Data...); int64(len(data)) < size {
			continue
		}
		p := &pb.Record{}
		if err := proto.Unmarshal(data, p); err != nil {
			return err
		}
		r, err := t.record(p)
		if err == nil {
			err = t.apply(r)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errApply, err)
		}
		size = -1
		if t.over() {
			w.level()
		}
	}
}

// level says that this member has made all steps that others have.
func (w *work) level() {
	if w.trainer.over() {
		if err := w.finish(w.trainer); err != nil {
			w.fail(err)
		}
		return
	}
	w.mu.Lock()
	was := w.phase
	w.phase = pb.Phase_PHASE_READY
	w.mu.Unlock()
	if was != pb.Phase_PHASE_READY {
		w.log.Info("is level", "step", w.trainer.step)
		w.member.nudge()
	}
}
