package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/files"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/spec"
)

// which says which State of a run a command reads: the last one, as the coordinator keeps it here, or a checkpoint.
type which struct {
	checkpoint string // newest, best or a step; empty: none
	mirror     string // a directory to read it from; empty: from the nodes
	base       string // a directory with files of the base model; empty: none
}

// addStateFlags adds the flags that say which State of a run is read.
func addStateFlags(cmd *cobra.Command) *which {
	w := &which{}
	cmd.Flags().StringVar(&w.checkpoint, "checkpoint", "", "read a checkpoint of the run, not its result: newest, best (lowest validation loss), or a step; from the nodes that attend")
	cmd.Flags().StringVar(&w.mirror, "mirror", "", "read the checkpoint from this directory, the spec's checkpoint.mirror; no coordinator and no node is asked")
	cmd.Flags().StringVar(&w.base, "base", "", "directory with the base model, if it is where launch did not find it")
	addClientFlags(cmd)
	return w
}

// open opens the State of a run.
func (w *which) open(cmd *cobra.Command, run string) (*result, error) {
	settings, err := config.Load(cmd.Flags(), "coordinator")
	if err != nil {
		return nil, config.Kind(config.ErrUsage, err)
	}
	switch {
	case w.mirror != "":
		return w.fromMirror(cmd.Context(), settings.Home, run)
	case w.checkpoint != "":
		return w.fromNodes(cmd, settings.Home, run)
	}
	r, err := openResult(settings.Home, run)
	if err == nil {
		err = r.layOut(settings.Home, w.base, nil)
	}
	return r, err
}

// fromMirror reads a checkpoint that members copied to a directory.
func (w *which) fromMirror(ctx context.Context, home, run string) (*result, error) {
	if run == "" || run != filepath.Base(run) {
		return nil, config.Usagef("run %q: not a run's name", run)
	}
	dir := filepath.Join(w.mirror, run)
	text, err := checkpoints.ReadSpec(checkpoints.Disk{}, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no checkpoint of run %s is mirrored in %s: name the directory of the spec's checkpoint.mirror", run, w.mirror)
	}
	if err != nil {
		return nil, fmt.Errorf("read mirror: %w", err)
	}
	found, err := checkpoints.Survey(checkpoints.Disk{}, dir)
	if err != nil {
		return nil, err
	}
	var all []*checkpoints.Manifest
	for _, f := range found {
		if f.Manifest != nil {
			all = append(all, f.Manifest)
		}
	}
	return w.load(ctx, run, text, all, func(*checkpoints.Manifest) checkpoints.PieceSource { return checkpoints.Dir(checkpoints.Disk{}, dir) },
		func(r *result) error { return r.layOut(home, w.base, nil) })
}

// fromNodes reads a checkpoint from the nodes that keep it, through the coordinator, which may be all that can be reached.
func (w *which) fromNodes(cmd *cobra.Command, home, run string) (*result, error) {
	conn, err := dialFlagged(cmd)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	reply, err := pb.NewCheckpointsClient(conn).List(cmd.Context(), &pb.CheckpointsRequest{Run: run})
	if err != nil {
		return nil, unreachable(conn, err)
	}
	var all []*checkpoints.Manifest
	sources := map[*checkpoints.Manifest]checkpoints.PieceSource{}
	for _, c := range reply.Checkpoints {
		m, err := checkpoints.ParseManifest(c.Manifest)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
		sources[m] = checkpoints.Remote{Holders: c.Holders, Dial: func(h *pb.Holding) (checkpoints.PieceServer, error) {
			return relayed{pb.NewCheckpointsClient(conn), h.Node}, nil
		}}
	}
	return w.load(cmd.Context(), run, reply.Spec, all, func(m *checkpoints.Manifest) checkpoints.PieceSource { return sources[m] }, func(r *result) error {
		return r.layOut(home, w.base, func(f spec.File) (string, error) { return download(cmd.Context(), conn, home, f) })
	})
}

// relayed is a node whose pieces come through the coordinator.
type relayed struct {
	client pb.CheckpointsClient
	node   string
}

// Read implements checkpoints.PieceServer.
func (r relayed) Read(ctx context.Context, req *pb.PieceRequest) (checkpoints.PieceParts, error) {
	return r.client.Read(ctx, &pb.HeldPieceRequest{Node: r.node, Piece: req})
}

// Close implements io.Closer: the connection is the coordinator's.
func (relayed) Close() error { return nil }

// load reads the checkpoint that is meant of all, the newest first, and lays out its base.
func (w *which) load(ctx context.Context, run string, text []byte, all []*checkpoints.Manifest, source func(*checkpoints.Manifest) checkpoints.PieceSource, layOut func(*result) error) (*result, error) {
	s, err := spec.FromJSON(text)
	if err != nil {
		return nil, err
	}
	m, err := w.choose(run, all)
	if err != nil {
		return nil, err
	}
	if hash := s.Hash(); m.Spec != hash {
		return nil, fmt.Errorf("checkpoint of step %d is of the spec %x, run %s has %x: they are of two runs", m.Step, m.Spec[:6], run, hash[:6])
	}
	r := &result{spec: s}
	if r.state, err = checkpoints.Load(ctx, m, source(m)); err != nil {
		return nil, err
	}
	return r, layOut(r)
}

// choose finds the checkpoint that is meant; all has the newest first.
func (w *which) choose(run string, all []*checkpoints.Manifest) (*checkpoints.Manifest, error) {
	if len(all) == 0 {
		return nil, fmt.Errorf("run %s has no checkpoint there", run)
	}
	switch w.checkpoint {
	case "", "newest":
		return all[0], nil
	case "best":
		var measured []*checkpoints.Manifest
		for _, m := range all {
			if m.Loss != nil {
				measured = append(measured, m)
			}
		}
		if len(measured) == 0 {
			return nil, fmt.Errorf("no checkpoint of run %s has a validation loss: set validate.every to checkpoint.every, or choose newest", run)
		}
		return slices.MinFunc(measured, func(a, b *checkpoints.Manifest) int { return cmp.Compare(*a.Loss, *b.Loss) }), nil
	}
	step, err := strconv.ParseUint(w.checkpoint, 10, 64)
	if err != nil {
		return nil, config.Usagef("--checkpoint %q: use newest, best or the number of a step", w.checkpoint)
	}
	var steps []string
	for _, m := range all {
		if m.Step == step {
			return m, nil
		}
		steps = append(steps, fmt.Sprint(m.Step))
	}
	return nil, fmt.Errorf("run %s has no checkpoint of step %d, but of %s", run, step, strings.Join(steps, ", "))
}

// download takes a file from the coordinator into the cache below home.
func download(ctx context.Context, conn *grpc.ClientConn, home string, f spec.File) (string, error) {
	stream, err := pb.NewControlClient(conn).Fetch(ctx, &pb.FetchRequest{Sha256: f.SHA256[:]})
	if err != nil {
		return "", err
	}
	return files.Under(home).Add(f.SHA256[:], f.Size, pb.ReadChunks(stream.Recv))
}
