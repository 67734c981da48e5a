package train

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/internal/view"
)

// saver keeps this member's pieces of a run's checkpoints. State is copied between two steps; cutting and writing go on in
// the background, one checkpoint at a time. No byte of State leaves the member.
//
//	trainer ─ take (copy) ─→ jobs ─ Store.Save ─→ reports ─ beat ─→ coordinator
//	                          jobs ←─ Store.Commit ←─ the manifest, when enough pieces are durable
type saver struct {
	log   *slog.Logger
	run   string
	node  string
	spec  [32]byte
	cfg   checkpoints.Config
	text  []byte // the resolved spec
	lead  bool   // State has a second θ while sets are selected beside the steps
	disk  checkpoints.FS
	dir   string
	open  func() (*checkpoints.Store, error)
	nudge func()

	asked atomic.Bool   // a checkpoint is wanted at the next step
	free  chan struct{} // room for one: the token of copy
	jobs  chan job
	copy  checkpoints.State // of whoever has the token
	total Totals            // as of copy

	mu      sync.Mutex // guards what follows
	copied  uint64     // step of a copy that is whole; 0: none
	news    reports[*pb.Saved]
	placed  uint64 // hash of the view for which pieces are
	pieces  []int
	stalled time.Duration // by the last checkpoint
}

// job is something to do with the store.
type job func(context.Context, *checkpoints.Store)

const (
	// maxJobs is how many wait at the most: manifests, and one copy.
	maxJobs = 64
	// slowDisk is how long a step waits for the checkpoint before to be written. Then this member leaves one out.
	slowDisk = time.Second
	// lastSave is how long the end of a run that was stopped waits for its last checkpoint to be written.
	lastSave = 30 * time.Second
	// mirrorRate is how many bytes a second a member copies to the mirror at the most.
	mirrorRate = 64 << 20
)

// piecesDir is where node keeps its pieces of a run's checkpoints.
func piecesDir(home, run, node string) string {
	return filepath.Join(home, "runs", run, "checkpoints", node)
}

func newSaver(c *Config, run string, spec [32]byte, cfg checkpoints.Config, log *slog.Logger, nudge func()) *saver {
	var s *saver
	s = &saver{
		log: log, run: run, node: c.Node.Name, spec: spec, cfg: cfg, disk: c.Disk, dir: piecesDir(c.Home, run, c.Node.Name),
		nudge: nudge, free: make(chan struct{}, 1), jobs: make(chan job, maxJobs),
		open: func() (*checkpoints.Store, error) { return checkpoints.OpenStore(s.disk, s.dir, s.spec, s.cfg) },
	}
	s.free <- struct{}{}
	return s
}

// serve does what is to be done, until ctx ends.
func (s *saver) serve(ctx context.Context) {
	var store *checkpoints.Store
	for {
		select {
		case <-ctx.Done():
			return
		case do := <-s.jobs:
			if store == nil {
				var err error
				if store, err = s.open(); err != nil {
					s.log.Error("no checkpoint can be kept here", "err", err)
					store = nil
				}
			}
			do(ctx, store)
		}
	}
}

// place returns the pieces that this member keeps of a checkpoint taken in view v.
func (s *saver) place(v *view.View, rank int) ([]int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if hash := v.Hash(); s.placed != hash || s.pieces == nil {
		var holders []checkpoints.Holder
		for _, m := range v.Members {
			holders = append(holders, checkpoints.Holder{Name: m.Node.Name, Host: m.Host, Zone: m.Zone})
		}
		placed, _, err := checkpoints.Place(holders, s.cfg.Data, s.cfg.Losses(len(v.Members)))
		if err != nil {
			return nil, err
		}
		s.placed, s.pieces = hash, placed[rank].Has
	}
	return s.pieces, nil
}

// reserve makes memory for the first copy, of a state like st, in the background. It reads st before it returns.
func (s *saver) reserve(st *checkpoints.State) {
	n := st.Lengths()
	if s.lead {
		n.Pending = n.Values
	}
	select {
	case <-s.free:
	default:
		return
	}
	if s.copyStep() != 0 { // then there is memory
		s.release()
		return
	}
	select {
	case s.jobs <- func(context.Context, *checkpoints.Store) { defer s.release(); s.copy.Reserve(n) }:
	default:
		s.release()
	}
}

// take begins a checkpoint of st, which is free to change again when take returns.
func (s *saver) take(ctx context.Context, st *checkpoints.State, totals Totals, indices []int) {
	began := time.Now()
	if !s.claim(ctx, slowDisk) {
		s.log.Warn("left a checkpoint out: the one before is still being written", "step", st.Step)
		return
	}
	s.set(func() { s.copied = 0 })
	s.copy.CopyFrom(st)
	s.total = totals
	s.set(func() { s.copied, s.stalled = st.Step, time.Since(began) })
	s.log.Debug("copied State for a checkpoint", "step", st.Step, "stall", time.Since(began))
	save := func(ctx context.Context, store *checkpoints.Store) {
		defer s.release()
		s.save(ctx, store, indices)
	}
	select {
	case s.jobs <- save:
	default:
		s.release()
		s.log.Warn("left a checkpoint out: too much is to be written", "step", st.Step)
	}
}

// claim gets the token of copy, if need be after a while, but none longer than patience.
func (s *saver) claim(ctx context.Context, patience time.Duration) bool {
	select {
	case <-s.free:
		return true
	default:
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-s.free:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// settle waits until what was taken is written, or as long as the last save of a run is waited for.
func (s *saver) settle(ctx context.Context) {
	if s.claim(ctx, lastSave) {
		s.release()
	}
}

func (s *saver) release() { s.free <- struct{}{} }

// copyStep is the step of which copy is; 0: of none.
func (s *saver) copyStep() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.copied
}

func (s *saver) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// save writes pieces of copy and reports them. The caller has the token.
func (s *saver) save(ctx context.Context, store *checkpoints.Store, indices []int) {
	if store == nil || len(indices) == 0 {
		return
	}
	began := time.Now()
	saved, err := store.Save(ctx, &s.copy, indices)
	if err != nil {
		if ctx.Err() == nil {
			s.log.Error("a checkpoint is not saved here; the one before is untouched", "step", s.copy.Step, "err", err)
		}
		return
	}
	s.log.Debug("saved pieces", "step", saved.Step, "pieces", indices, "took", time.Since(began))
	p := &pb.Saved{
		Run: s.run, Spec: saved.Spec[:], Step: saved.Step, Data: int32(saved.Data), Digest: saved.Digest[:], Size: saved.Size,
		LossFirst: s.total.LossFirst, LossLast: s.total.LossLast, Tokens: s.total.Tokens, Seconds: s.total.Seconds,
	}
	for _, piece := range saved.Pieces {
		p.Pieces = append(p.Pieces, &pb.SavedPiece{Index: int32(piece.Index), Sha256: piece.Sum[:]})
	}
	s.set(func() { s.news.add(p) })
	s.nudge()
}

// obey carries out an order to save: at the next step, or more pieces of what was saved last.
func (s *saver) obey(o *pb.Save) {
	if o.Step == 0 {
		s.asked.Store(true)
		return
	}
	var indices []int
	for _, i := range o.Pieces {
		indices = append(indices, int(i))
	}
	s.do(func(ctx context.Context, store *checkpoints.Store) {
		if !s.claim(ctx, slowDisk) {
			return
		}
		defer s.release()
		if s.copyStep() == o.Step {
			s.save(ctx, store, indices)
		}
	})
}

// committed keeps a manifest beside the pieces.
func (s *saver) committed(text []byte) {
	s.do(func(ctx context.Context, store *checkpoints.Store) {
		if store == nil {
			return
		}
		m, err := checkpoints.ParseManifest(text)
		if err == nil && m.Run != s.run {
			err = fmt.Errorf("it is of run %s", m.Run)
		}
		known := false
		if err == nil {
			var all []*checkpoints.Manifest
			all, err = store.Manifests()
			known = slices.ContainsFunc(all, func(k *checkpoints.Manifest) bool { return k.Step == m.Step && k.Digest == m.Digest })
		}
		if err == nil && !known {
			err = store.Commit(m)
		}
		switch {
		case errors.Is(err, checkpoints.ErrNotRemoved):
			s.log.Warn("old checkpoints stay where they are", "err", err)
		case err != nil:
			s.log.Error("a manifest is not kept here", "err", err)
			return
		}
		if s.cfg.Mirror == "" {
			return
		}
		dir := filepath.Join(s.cfg.Mirror, s.run)
		err = s.claimDir(dir)
		if err == nil {
			err = store.Mirror(ctx, m, s.node, dir, rate.NewLimiter(mirrorRate, 1<<20))
		}
		if err != nil && ctx.Err() == nil {
			s.log.Error("a checkpoint is not mirrored from here", "err", err)
		}
	})
}

// claimDir makes dir this run's, or says what is different in the run that it belongs to.
func (s *saver) claimDir(dir string) error {
	err := checkpoints.KeepSpec(s.disk, dir, s.node, s.text)
	if !errors.Is(err, checkpoints.ErrOtherSpec) {
		return err
	}
	text, unread := checkpoints.ReadSpec(s.disk, dir)
	there, malformed := spec.FromJSON(text)
	here, odd := spec.FromJSON(s.text)
	if err := errors.Join(unread, malformed, odd); err != nil {
		return err
	}
	hash := there.Hash()
	if hash == s.spec {
		return nil // only names, members or the like differ
	}
	differences, odd := spec.Differences(here, there)
	if odd != nil {
		return odd
	}
	return fmt.Errorf("%w: it has the spec %x, this run %x; %s: move its directory away", err, hash[:6], s.spec[:6], strings.Join(differences, "; "))
}

// do has something done later, unless too much waits already: the coordinator says it again.
func (s *saver) do(j job) {
	select {
	case s.jobs <- j:
	default:
	}
}

// report adds to a beat what has become durable.
func (s *saver) report(b *pb.Beat) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.Saved = s.news.take()
}

// again lets all that is at hand be reported once more.
func (s *saver) again() { s.set(func() { s.news.again() }) }
