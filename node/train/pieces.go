package train

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/pb"
)

// stores are the directories below home with pieces of a run: this node's and those of others that share its home, or had
// its disk before.
func stores(home, run string) ([]string, error) {
	return filepath.Glob(filepath.Join(home, "runs", run, "checkpoints", "*"))
}

// maxKept is how many checkpoints a node speaks of when it begins to attend.
const maxKept = 512

// latestFirst orders directories by when something last came into them or went, the latest first.
func latestFirst(dirs []string) []string {
	changed := map[string]time.Time{}
	for _, dir := range dirs {
		if info, err := os.Stat(dir); err == nil {
			changed[dir] = info.ModTime()
		}
	}
	return slices.SortedStableFunc(slices.Values(dirs), func(a, b string) int { return changed[b].Compare(changed[a]) })
}

// kept is what this node has of checkpoints, of whatever run; where that is much, of the runs that it worked for last.
func (m *Member) kept() []*pb.Kept {
	dirs, err := stores(m.cfg.Home, "*")
	if err != nil {
		m.cfg.Log.Error("cannot look for checkpoints", "err", err)
	}
	var all []*pb.Kept
	for _, dir := range latestFirst(dirs) {
		if len(all) >= maxKept {
			break
		}
		found, err := checkpoints.Survey(m.cfg.Disk, dir)
		if err != nil {
			m.cfg.Log.Error("cannot look for checkpoints", "err", err)
		}
		for _, f := range found {
			k := &pb.Kept{Run: filepath.Base(filepath.Dir(filepath.Dir(dir))), Step: f.Piece.Step, Digest: f.Piece.Digest[:8], Data: int32(f.Piece.Data)}
			for _, i := range f.Pieces {
				k.Pieces = append(k.Pieces, int32(i))
			}
			if f.Manifest != nil && f.Manifest.Run == k.Run {
				if text, err := f.Manifest.Bytes(); err == nil {
					k.Manifest = text
				}
			}
			all = append(all, k)
		}
	}
	return all[:min(len(all), maxKept)]
}

// open finds a piece's file.
func (m *Member) open(run, piece string) (checkpoints.File, error) {
	if run == "" || run == ".." || run != filepath.Base(run) || !checkpoints.IsPiece(piece) {
		return nil, status.Errorf(codes.InvalidArgument, "piece %q of run %q: no such name", piece, run)
	}
	dirs, err := stores(m.cfg.Home, run)
	for _, dir := range dirs {
		f, failed := m.cfg.Disk.Open(filepath.Join(dir, piece))
		if failed == nil {
			return f, nil
		}
		if !errors.Is(failed, os.ErrNotExist) {
			err = failed
		}
	}
	if err != nil {
		return nil, err
	}
	return nil, status.Errorf(codes.NotFound, "node %s does not have piece %s of run %s", m.cfg.Node.Name, piece, run)
}

// pieces serves what a node keeps (pb.Pieces).
type pieces struct {
	pb.UnimplementedPiecesServer
	member *Member
}

// Read streams part of a piece's file (pb.Pieces).
func (p pieces) Read(req *pb.PieceRequest, stream grpc.ServerStreamingServer[pb.PiecePart]) (err error) {
	f, err := p.member.open(req.Run, req.Piece)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return err
	}
	if req.Offset < 0 || req.Offset > size || req.Length < 0 {
		return status.Errorf(codes.InvalidArgument, "bytes from %d on are asked of a piece of %d", req.Offset, size)
	}
	end := size
	if req.Length > 0 && req.Length < size-req.Offset {
		end = req.Offset + req.Length
	}
	buf := make([]byte, chunkBytes)
	part := &pb.PiecePart{Size: size}
	for at := req.Offset; ; {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), end-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		at += int64(n)
		part.Data = buf[:n]
		if err := stream.Send(part); err != nil {
			return err
		}
		if at >= end || n == 0 {
			return nil
		}
		part = &pb.PiecePart{}
	}
}

// remote is pieces at other nodes.
func (m *Member) remote(holders []*pb.Holding) checkpoints.Remote {
	return checkpoints.Remote{Holders: holders, Dial: func(h *pb.Holding) (checkpoints.PieceServer, error) {
		conn, err := m.cfg.Dial(h.Addr)
		return pieceServer{conn}, err
	}}
}

// pieceServer is a node that serves pieces.
type pieceServer struct{ *grpc.ClientConn }

// Read implements checkpoints.PieceServer.
func (s pieceServer) Read(ctx context.Context, req *pb.PieceRequest) (checkpoints.PieceParts, error) {
	return pb.NewPiecesClient(s).Read(ctx, req)
}

// local is pieces on this node's disk.
type local struct{ member *Member }

// Copies implements checkpoints.PieceSource.
func (l local) Copies(_ context.Context, m *checkpoints.Manifest) ([]checkpoints.Copy, error) {
	dirs, err := stores(l.member.cfg.Home, m.Run)
	var all []checkpoints.Copy
	for _, dir := range dirs {
		found, failed := checkpoints.Survey(l.member.cfg.Disk, dir)
		err = errors.Join(err, failed)
		for _, f := range found {
			if f.Piece.Step != m.Step || f.Piece.Data != m.Data || [8]byte(f.Piece.Digest[:8]) != [8]byte(m.Digest[:8]) {
				continue
			}
			for _, i := range f.Pieces {
				all = append(all, checkpoints.Copy{Index: i, Holder: dir, Open: func(context.Context) (checkpoints.PieceReader, error) {
					return l.member.cfg.Disk.Open(filepath.Join(dir, m.Piece(i).String()))
				}})
			}
		}
	}
	return all, err
}
