package train

import (
	"context"
	"errors"
	"fmt"
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

// kept is what this node has of checkpoints, of whatever run.
func (m *Member) kept() []*pb.Kept {
	dirs, err := stores(m.cfg.Home, "*")
	if err != nil {
		m.cfg.Log.Error("cannot look for checkpoints", "err", err)
	}
	var all []*pb.Kept
	for _, dir := range dirs {
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
type remote struct {
	dial    func(addr string) (*grpc.ClientConn, error)
	holders []*pb.Holding
}

// Copies implements checkpoints.PieceSource.
func (r remote) Copies(_ context.Context, m *checkpoints.Manifest) ([]checkpoints.Copy, error) {
	var all []checkpoints.Copy
	for _, h := range r.holders {
		for _, i := range h.Pieces {
			all = append(all, checkpoints.Copy{Index: int(i), Holder: h.Node, Open: func(ctx context.Context) (checkpoints.PieceReader, error) {
				conn, err := r.dial(h.Addr)
				if err != nil {
					return nil, err
				}
				p := &remotePiece{ctx: ctx, conn: conn, run: m.Run, name: m.Piece(int(i)).String(), size: -1}
				return p, nil
			}})
		}
	}
	// One piece of each holder after the other, so that all of them send at once.
	turn := func(c checkpoints.Copy) int {
		n := 0
		for _, o := range all {
			if o.Holder == c.Holder && o.Index < c.Index {
				n++
			}
		}
		return n
	}
	slices.SortStableFunc(all, func(a, b checkpoints.Copy) int { return turn(a) - turn(b) })
	return all, nil
}

// pieceSilence is how long another node may take for the next part of a piece.
const pieceSilence = 10 * time.Second

// remotePiece reads a piece at another node, forward over one stream as long as reads follow each other.
type remotePiece struct {
	ctx       context.Context
	conn      *grpc.ClientConn
	run, name string
	size      int64 // −1: not known yet

	cancel context.CancelFunc
	stream grpc.ServerStreamingClient[pb.PiecePart]
	at     int64
	data   []byte
}

// Size implements checkpoints.PieceReader.
func (p *remotePiece) Size() (int64, error) {
	if p.size < 0 {
		if err := p.seek(0, 1); err != nil {
			return 0, err
		}
		p.stop()
	}
	return p.size, nil
}

// ReadAt implements io.ReaderAt.
func (p *remotePiece) ReadAt(b []byte, off int64) (int, error) {
	if size, err := p.Size(); err != nil {
		return 0, err
	} else if off >= size {
		return 0, io.EOF
	}
	if p.stream == nil || p.at != off {
		if err := p.seek(off, 0); err != nil {
			return 0, err
		}
	}
	n := 0
	for n < len(b) {
		if len(p.data) == 0 {
			if p.at >= p.size {
				return n, io.EOF
			}
			if err := p.more(); err != nil {
				return n, err
			}
		}
		m := copy(b[n:], p.data)
		p.data, p.at, n = p.data[m:], p.at+int64(m), n+m
	}
	return n, nil
}

// seek begins a stream at off.
func (p *remotePiece) seek(off, length int64) error {
	p.stop()
	ctx, cancel := context.WithCancel(p.ctx)
	stream, err := pb.NewPiecesClient(p.conn).Read(ctx, &pb.PieceRequest{Run: p.run, Piece: p.name, Offset: off, Length: length})
	if err != nil {
		cancel()
		return err
	}
	p.cancel, p.stream, p.at, p.data = cancel, stream, off, nil
	return p.more()
}

// more receives the next part.
func (p *remotePiece) more() error {
	timer := time.AfterFunc(pieceSilence, p.cancel)
	defer timer.Stop()
	part, err := p.stream.Recv()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("read piece %s: %w", p.name, err)
	}
	if p.size < 0 {
		p.size = part.Size
	}
	p.data = part.Data
	return nil
}

func (p *remotePiece) stop() {
	if p.cancel != nil {
		p.cancel()
	}
	p.cancel, p.stream, p.data = nil, nil, nil
}

// Close implements io.Closer.
func (p *remotePiece) Close() error {
	p.stop()
	return p.conn.Close()
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
