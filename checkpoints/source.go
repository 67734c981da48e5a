package checkpoints

import (
	"context"
	"errors"
	"io"
)

// PieceSource knows where pieces are: a member's own disk, other members, a mirror.
type PieceSource interface {
	// Copies lists what can be tried of a checkpoint, preferred first; there may be several copies of a piece. What was
	// found counts even beside an error.
	Copies(ctx context.Context, m *Manifest) ([]Copy, error)
}

// Copy is a piece that somebody keeps, or says so.
type Copy struct {
	Index  int
	Holder string // who, for people
	// Open opens it for reading. The reader may use ctx until it is closed; the caller reads from one goroutine at a time.
	// A read that never ends holds up the load, so a reader over a network has a deadline of its own.
	Open func(ctx context.Context) (PieceReader, error)
}

// PieceReader reads a piece's file.
type PieceReader interface {
	io.ReaderAt
	io.Closer
	Size() (int64, error)
}

// Copies lists the pieces of a checkpoint in the store, sound or not.
func (s *Store) Copies(_ context.Context, m *Manifest) ([]Copy, error) {
	ids, err := s.Pieces()
	var copies []Copy
	for _, id := range ids {
		if id.Step != m.Step || id.Data != m.Data || [8]byte(id.Digest[:8]) != [8]byte(m.Digest[:8]) {
			continue
		}
		copies = append(copies, Copy{id.Index, s.dir, func(context.Context) (PieceReader, error) { return s.fs.Open(s.path(id.String())) }})
	}
	return copies, err
}

// Sources is several sources, preferred first.
type Sources []PieceSource

// Copies lists what each source has. One that cannot be asked keeps nothing from the others.
func (s Sources) Copies(ctx context.Context, m *Manifest) ([]Copy, error) {
	var all []Copy
	var errs []error
	for _, src := range s {
		copies, err := src.Copies(ctx, m)
		all, errs = append(all, copies...), append(errs, err)
	}
	return all, errors.Join(errs...)
}
