package train

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/pb"
)

// vault has the stores of a node that are in use: one for each directory, whoever uses it.
type vault struct {
	mu     sync.Mutex // guards stores, and is held while a store is opened or used in passing
	stores map[string]*checkpoints.Store
}

// at opens the store of a saver, or returns the one that is open.
func (v *vault) at(s *saver) (*checkpoints.Store, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if store := v.stores[s.dir]; store != nil {
		return store, nil
	}
	if err := s.claimDir(s.dir); err != nil {
		return nil, err
	}
	store, err := checkpoints.OpenStore(s.disk, s.dir, s.spec, s.cfg)
	if err == nil {
		if v.stores == nil {
			v.stores = map[string]*checkpoints.Store{}
		}
		v.stores[s.dir] = store
	}
	return store, err
}

// scrubRate is how many bytes a second are read to look for damage, so that training hardly notices.
const scrubRate = 32 << 20

// Keep verifies, mends or removes this node's pieces of a checkpoint (pb.Pieces).
func (p pieces) Keep(ctx context.Context, req *pb.KeepRequest) (*pb.KeepReply, error) {
	m, err := checkpoints.ParseManifest(req.Manifest)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if m.Run == "" || m.Run == ".." || m.Run != filepath.Base(m.Run) {
		return nil, status.Errorf(codes.InvalidArgument, "run %q: no such name", m.Run)
	}
	c := &p.member.cfg
	v := &p.member.vault
	v.mu.Lock()
	defer v.mu.Unlock()
	dir := piecesDir(c.Home, m.Run, c.Node.Name)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return &pb.KeepReply{}, nil
	}
	store := v.stores[dir]
	if store == nil {
		cfg := checkpoints.Default()
		cfg.Data = m.Data
		if store, err = checkpoints.OpenStore(c.Disk, dir, m.Spec, cfg); err != nil {
			return nil, err
		}
	}
	if req.What == pb.Tending_TENDING_REMOVE {
		return &pb.KeepReply{}, store.Remove(m)
	}
	return p.scrub(ctx, store, m, req)
}

// scrub reads the pieces of a checkpoint, and makes again what is damaged or lost if asked.
func (p pieces) scrub(ctx context.Context, store *checkpoints.Store, m *checkpoints.Manifest, req *pb.KeepRequest) (*pb.KeepReply, error) {
	c := &p.member.cfg
	found, err := store.Scrub(ctx, c.Node.Name, rate.NewLimiter(scrubRate, 1<<20))
	if err != nil {
		return nil, err
	}
	copies, err := store.Copies(ctx, m)
	if err != nil {
		return nil, err
	}
	reply := &pb.KeepReply{Pieces: int32(len(copies))}
	for _, d := range found {
		if d.Piece.Step != m.Step || [8]byte(d.Piece.Digest[:8]) != [8]byte(m.Digest[:8]) {
			continue
		}
		reply.Damaged = append(reply.Damaged, fmt.Sprintf("%s: %v", d.Name, d.Err))
		if !errors.Is(d.Err, os.ErrNotExist) {
			reply.Pieces--
		}
		if req.What != pb.Tending_TENDING_SCRUB {
			continue
		}
		if _, err := store.Rebuild(ctx, m, d.Piece.Index, checkpoints.Sources{store, p.member.remote(req.Holders)}); err != nil {
			return reply, fmt.Errorf("%s is damaged and cannot be made again: %w", d.Name, err)
		}
		c.Log.Warn("made a piece again", "piece", d.Name, "why", d.Err)
		reply.Pieces++
		reply.Mended = append(reply.Mended, d.Name)
	}
	return reply, nil
}

// scrubEvery is how often a member reads all that it keeps of its run.
const scrubEvery = time.Hour

// tend looks for damage now and then until ctx ends, and mends what it can with the pieces of others.
func (w *work) tend(ctx context.Context) {
	tick := time.NewTicker(scrubEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		store, err := w.saver.open()
		var manifests []*checkpoints.Manifest
		if err == nil {
			manifests, err = store.Manifests()
		}
		for _, m := range manifests {
			req := &pb.KeepRequest{Holders: w.holders(m), What: pb.Tending_TENDING_SCRUB}
			if _, failed := (pieces{member: w.member}).scrub(ctx, store, m, req); failed != nil {
				err = errors.Join(err, failed)
			}
		}
		if err != nil && ctx.Err() == nil {
			w.log.Error("pieces of checkpoints are not as they should be", "err", err)
		}
	}
}

// holders are the members of the present view that have pieces of a checkpoint according to its manifest.
func (w *work) holders(m *checkpoints.Manifest) []*pb.Holding {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*pb.Holding
	if w.view == nil {
		return nil
	}
	for _, o := range w.view.Members {
		if o.Node == w.member.cfg.Node {
			continue
		}
		h := &pb.Holding{Node: o.Node.Name, Addr: o.Addr}
		for _, i := range m.Held(o.Node.Name) {
			h.Pieces = append(h.Pieces, int32(i))
		}
		all = append(all, h)
	}
	return all
}
