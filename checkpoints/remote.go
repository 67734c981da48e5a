package checkpoints

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/torctrain/torc/internal/pb"
)

// Remote is pieces that nodes keep, read over the network.
type Remote struct {
	Holders []*pb.Holding
	Dial    func(h *pb.Holding) (PieceServer, error)
}

// PieceServer is a way to one node's pieces. It is used for one piece, and closed with it.
type PieceServer interface {
	Read(ctx context.Context, req *pb.PieceRequest) (PieceParts, error)
	io.Closer
}

// PieceParts is a stream of what was asked for, and ends with io.EOF.
type PieceParts interface {
	Recv() (*pb.PiecePart, error)
}

// Copies implements PieceSource.
func (r Remote) Copies(_ context.Context, m *Manifest) ([]Copy, error) {
	var all []Copy
	for _, h := range r.Holders {
		for _, i := range h.Pieces {
			all = append(all, Copy{Index: int(i), Holder: h.Node, Open: func(ctx context.Context) (PieceReader, error) {
				server, err := r.Dial(h)
				if err != nil {
					return nil, err
				}
				return &remotePiece{ctx: ctx, server: server, run: m.Run, name: m.Piece(int(i)).String(), size: -1}, nil
			}})
		}
	}
	// One piece of each holder after the other, so that all of them send at once.
	turn := func(c Copy) int {
		n := 0
		for _, o := range all {
			if o.Holder == c.Holder && o.Index < c.Index {
				n++
			}
		}
		return n
	}
	slices.SortStableFunc(all, func(a, b Copy) int { return turn(a) - turn(b) })
	return all, nil
}

// pieceSilence is how long another node may take for the next part of a piece.
const pieceSilence = 10 * time.Second

// remotePiece reads a piece at another node, forward over one stream as long as reads follow each other.
type remotePiece struct {
	ctx       context.Context
	server    PieceServer
	run, name string
	size      int64 // −1: not known yet

	cancel context.CancelFunc
	stream PieceParts
	at     int64
	data   []byte
}

// Size implements PieceReader.
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
	stream, err := p.server.Read(ctx, &pb.PieceRequest{Run: p.run, Piece: p.name, Offset: off, Length: length})
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
	part, err := p.stream.Recv()
	switch inTime := timer.Stop(); {
	case err != nil && !inTime:
		err = fmt.Errorf("nothing came for %v (%w)", pieceSilence, err)
	case errors.Is(err, io.EOF):
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
	return p.server.Close()
}
