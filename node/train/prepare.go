package train

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/grpc"

	"github.com/torctrain/torc/internal/cache"
	"github.com/torctrain/torc/internal/files"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/tokenizer"
	"github.com/torctrain/torc/sharding"
)

// prepare makes an assignment concrete: its files by hash, the model, the method, the data. Nothing here holds a
// collective; a member that takes long keeps nobody waiting in a ring. peers are nodes that may have the files.
func (m *Member) prepare(ctx context.Context, a *pb.Assignment, peers []string) (*Job, error) {
	r, err := spec.FromJSON(a.Spec)
	if err != nil {
		return nil, fmt.Errorf("read the assigned spec: %w", err)
	}
	paths, err := m.gather(ctx, a.Files, peers)
	if err != nil {
		return nil, err
	}
	work := filepath.Join(m.cfg.Home, "work", m.cfg.Node.Name, a.Run)
	defer os.RemoveAll(work) // the model is in memory by then
	base := filepath.Join(work, "model")
	if err := files.LayOut(base, paths.model); err != nil {
		return nil, err
	}
	if err := m.fits(r, base); err != nil {
		return nil, err
	}
	w, err := model.Load(base)
	if err != nil {
		return nil, err
	}
	if err := methods.CheckFinite(w, len(m.cfg.Workers)); err != nil {
		return nil, err
	}
	method, err := methods.New(r.Method, w, r.Seed)
	if err != nil {
		return nil, err
	}
	methods.UseCache(method, cache.Dir(filepath.Join(m.cfg.Home, "cache", "factors")))
	if err := methods.Prepare(method, m.cfg.Workers, w); err != nil {
		return nil, err
	}
	tok, err := tokenizer.Load(base)
	if err != nil {
		return nil, err
	}
	job := &Job{
		Spec: r, SpecHash: r.Hash(), Steps: uint64(r.Steps), Kernels: m.cfg.Kernels, Workers: m.cfg.Workers,
		Weights: w, Method: method, Calibration: calibration(r.Plan().Steps()), Begin: paths.state,
	}
	data := &dataOpener{spec: r, encoder: sharding.NewEncoder(tok, r.Data), cache: filepath.Join(m.cfg.Home, "cache", "tokens")}
	if job.Train, err = data.training(ctx, paths.train); err != nil {
		return nil, err
	}
	if len(paths.valid) > 0 {
		if job.Valid, err = data.validation(paths.valid); err != nil {
			return nil, err
		}
	}
	return job, nil
}

// fits refuses a run whose plan exceeds what this node may use.
func (m *Member) fits(r *spec.Resolved, base string) error {
	if m.cfg.Memory == 0 {
		return nil
	}
	c, err := model.ReadConfig(base)
	if err != nil {
		return err
	}
	counts, err := methods.Trained(r.Method, c.Params())
	if err != nil {
		return err
	}
	trained := 0
	for _, t := range counts {
		trained += t.Trained
	}
	if need := spec.Memory(&r.Spec, c, trained)["total"]; uint64(need) > m.cfg.Memory {
		return fmt.Errorf("the run needs %d bytes of memory, this node may use %d: raise --memory, or lower data.max_tokens, batch.micro or the method's rank", need, m.cfg.Memory)
	}
	return nil
}

// runFiles are the paths of a run's files on this node, by what they are for.
type runFiles struct {
	model        map[string]string // file name → path
	train, valid []sharding.File   // in the order of the spec, by the names launch knew
	state        string            // of the State with which the run begins; empty: with its model
}

// gather finds every file of an assignment on this node or fetches it: from a peer, to spare the coordinator, which has
// them all.
func (m *Member) gather(ctx context.Context, list []*pb.File, peers []string) (*runFiles, error) {
	store := files.Under(m.cfg.Home)
	got := &runFiles{model: map[string]string{}}
	for i, f := range list {
		path, found, err := store.Find(f.Sha256, f.Size, f.Path)
		if err == nil && !found {
			path, err = m.fetchAny(ctx, store, f, peers, i)
		}
		if err != nil {
			return nil, fmt.Errorf("get %s (%s): %w", f.Role, f.Path, err)
		}
		switch kind, name, _ := strings.Cut(f.Role, "/"); kind {
		case "model":
			got.model[name] = path
		case "train":
			got.train = append(got.train, sharding.File{Path: path, Name: f.Path})
		case "validation":
			got.valid = append(got.valid, sharding.File{Path: path, Name: f.Path})
		case spec.StateRole:
			got.state = path
		}
	}
	return got, nil
}

// fetchAny reads a file from one of the peers, beginning with another one for each file, or from the coordinator.
func (m *Member) fetchAny(ctx context.Context, store files.Store, f *pb.File, peers []string, turn int) (string, error) {
	for i := range min(len(peers), maxPeersAsked) {
		addr := peers[(turn+i)%len(peers)]
		path, err := m.fetch(store, f, addr, func(conn grpc.ClientConnInterface) (chunkStream, error) {
			return pb.NewPeerClient(conn).Fetch(ctx, &pb.FetchRequest{Sha256: f.Sha256})
		})
		if err == nil {
			return path, nil
		}
		m.cfg.Log.Debug("peer does not give a file", "peer", addr, "file", f.Path, "err", err)
	}
	return m.fetch(store, f, m.cfg.Coordinator(), func(conn grpc.ClientConnInterface) (chunkStream, error) {
		return pb.NewControlClient(conn).Fetch(ctx, &pb.FetchRequest{Sha256: f.Sha256})
	})
}

// maxPeersAsked bounds the peers that are asked for a file before the coordinator is.
const maxPeersAsked = 3

type chunkStream interface{ Recv() (*pb.Chunk, error) }

// fetch reads a file from the node at addr into the store, which checks its hash.
func (m *Member) fetch(store files.Store, f *pb.File, addr string, open func(grpc.ClientConnInterface) (chunkStream, error)) (string, error) {
	conn, err := m.cfg.Dial(addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	stream, err := open(conn)
	if err != nil {
		return "", err
	}
	return store.Add(f.Sha256, f.Size, pb.ReadChunks(stream.Recv))
}
