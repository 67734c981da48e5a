package control

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/internal/durable"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/spec"
)

// missing returns the files of r that the store lacks. A file that the coordinator can read where launch found it is taken
// from there.
func (s *Server) missing(r *spec.Resolved) (map[spec.Sum]int64, error) {
	missing := map[spec.Sum]int64{}
	checked := map[spec.Sum]bool{}
	for _, f := range r.Files {
		if checked[f.SHA256] {
			continue
		}
		checked[f.SHA256] = true
		path, found, err := s.store.Find(f.SHA256[:], f.Size, f.Path)
		if err != nil {
			return nil, status.Errorf(codes.Internal, "look for %s: %v", f.Role, err)
		}
		if !found {
			missing[f.SHA256] = f.Size
			continue
		}
		if err := s.adopt(f, path); err != nil {
			return nil, status.Errorf(codes.ResourceExhausted, "keep %s: %v: is there room below %s?", f.Role, err, s.store.Dir)
		}
	}
	return missing, nil
}

// adopt puts the file at path, whose content has been checked, into the store: by a link where that can be, else by a
// copy. Whoever reads the store checks the content again, so a file that is changed in place later is noticed.
func (s *Server) adopt(f spec.File, path string) error {
	to := s.store.Path(f.SHA256[:])
	if path == to {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) { // what Find did not accept
		return err
	}
	if os.Link(path, to) == nil {
		return nil
	}
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	_, err = s.store.Add(f.SHA256[:], f.Size, from)
	return err
}

// Offer takes one file that a run waits for (pb.Control).
func (s *Server) Offer(stream grpc.ClientStreamingServer[pb.Chunk, pb.OfferReply]) error {
	c, err := stream.Recv()
	if err != nil {
		return err
	}
	if len(c.Sha256) != sha256.Size {
		return status.Errorf(codes.InvalidArgument, "offer: hash has %d bytes, want %d", len(c.Sha256), sha256.Size)
	}
	sum := spec.Sum(c.Sha256)
	size, needed := int64(0), false
	s.do(func(core *core, now time.Time) {
		if size, needed = core.needs(sum); needed {
			core.offering(now, sum, 1)
		}
	})
	if _, have := s.store.Has(sum[:]); !needed && have { // another launch was faster
		return stream.SendAndClose(&pb.OfferReply{})
	}
	if !needed {
		return status.Errorf(codes.FailedPrecondition, "offer: no run waits for file %.6x", sum)
	}
	_, err = s.store.Add(sum[:], size, io.MultiReader(bytes.NewReader(c.Data), pb.ReadChunks(stream.Recv)))
	s.do(func(core *core, now time.Time) {
		core.offering(now, sum, -1)
		if err == nil {
			core.arrived(now, sum)
		}
	})
	if err != nil {
		return status.Errorf(codes.Aborted, "offer: %v", err)
	}
	return stream.SendAndClose(&pb.OfferReply{})
}

// Fetch reads a file of the store (pb.Control).
func (s *Server) Fetch(req *pb.FetchRequest, stream grpc.ServerStreamingServer[pb.Chunk]) error {
	if len(req.Sha256) != sha256.Size {
		return status.Errorf(codes.InvalidArgument, "fetch: hash has %d bytes, want %d", len(req.Sha256), sha256.Size)
	}
	path := s.store.Path(req.Sha256)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return status.Errorf(codes.NotFound, "fetch: the coordinator has no file %.6x", req.Sha256)
	}
	if err != nil {
		return status.Errorf(codes.Internal, "fetch: %v", err)
	}
	defer f.Close()
	h := sha256.New()
	if err := sendFile(stream, f, req.Sha256, h); err != nil {
		return err
	}
	if got := h.Sum(nil); string(got) != string(req.Sha256) {
		// A link to a file that was changed in place, or a bad disk: whoever launches next finds it missing.
		if err := os.Remove(path); err != nil {
			s.log.Error("rotten file stays", "path", path, "err", err)
		}
		return status.Errorf(codes.DataLoss, "fetch: file %.6x has changed on the coordinator's disk and was dropped: launch again", req.Sha256)
	}
	return nil
}

// sendFile sends what f holds, and adds it to h.
func sendFile(stream grpc.ServerStreamingServer[pb.Chunk], f *os.File, sum []byte, h hash.Hash) error {
	info, err := f.Stat()
	if err != nil {
		return status.Errorf(codes.Internal, "read %s: %v", f.Name(), err)
	}
	return pb.SendChunks(io.TeeReader(f, h), sum, info.Size(), stream.Send)
}

// State reads the last State of an ended run (pb.Control).
func (s *Server) State(req *pb.StateRequest, stream grpc.ServerStreamingServer[pb.Chunk]) error {
	var info *pb.RunInfo
	if err := s.run(req.Run, func(c *core, now time.Time, r *run) { info = c.info(now, r) }); err != nil {
		return err
	}
	if info.State != pb.RunState_RUN_FINISHED && info.State != pb.RunState_RUN_STOPPED { // what lies there is of an earlier end
		return status.Errorf(codes.FailedPrecondition, "run %s is %s and has no last State", req.Run, stateName(info.State))
	}
	f, err := os.Open(filepath.Join(s.runDir(req.Run), stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return status.Errorf(codes.FailedPrecondition, "run %s is %s and has no last State", req.Run, stateName(info.State))
	}
	if err != nil {
		return status.Errorf(codes.Internal, "state: %v", err)
	}
	defer f.Close()
	h := sha256.New()
	if err := sendFile(stream, f, info.Digest, h); err != nil {
		return err
	}
	if got := h.Sum(nil); string(got) != string(info.Digest) {
		return status.Errorf(codes.DataLoss, "State of run %s has changed on disk: it has %.6x, want %.6x", req.Run, got, info.Digest)
	}
	return nil
}

func (s *Server) runDir(id string) string { return filepath.Join(s.cfg.Home, "runs", id) }

// diskError is what this machine's disk has against a write.
type diskError struct{ error }

func (e diskError) Unwrap() error { return e.error }

// cure is what to do, up to the name of the directory it is to be done below.
func (e diskError) cure() string {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(e, full) {
			return "make room below"
		}
	}
	return "let the coordinator write below"
}

// disk is a file whose errors are marked.
type disk struct{ io.Writer }

func (d disk) Write(p []byte) (int, error) {
	n, err := d.Writer.Write(p)
	if err != nil {
		err = diskError{err}
	}
	return n, err
}

// writeDurably makes the file dir/name with what write writes, whole or not at all. An error that is not write's own is a
// diskError.
func writeDurably(dir, name string, write func(io.Writer) error) error {
	var own error
	err := durable.Write(filepath.Join(dir, name), 0o644, func(w io.Writer) error {
		own = write(disk{w})
		return own
	})
	if err != nil && own == nil {
		return diskError{err}
	}
	return err
}
