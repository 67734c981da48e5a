package checkpoints

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/zeebo/xxh3"
)

// Limiter holds back who reads faster than is wanted. golang.org/x/time/rate has one.
type Limiter interface {
	// WaitN returns when n more bytes, at most 64 KiB, may be read.
	WaitN(ctx context.Context, n int) error
}

// Damage is a file of a store that is not as it was written, or not there.
type Damage struct {
	Name  string
	Piece PieceID // its digest is whole when the manifest is known; the zero value for a manifest
	Err   error   // wraps ErrDamaged or fs.ErrNotExist, or is the disk's own
}

// Scrub reads everything in the store and reports what is damaged, and which of the pieces that holder keeps according to
// the newest manifest and older ones are missing. Rebuild mends a piece, Commit a manifest. limit may be nil: read at full
// speed. The error says why scrubbing itself came to an end.
func (s *Store) Scrub(ctx context.Context, holder string, limit Limiter) ([]Damage, error) {
	found, err := s.scrub(ctx, holder, limit)
	if err != nil {
		return found, fmt.Errorf("scrub %s: %w", s.dir, err)
	}
	return found, nil
}

func (s *Store) scrub(ctx context.Context, holder string, limit Limiter) ([]Damage, error) {
	manifests, err := s.Manifests()
	if err != nil {
		return nil, err
	}
	files, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	known, there := map[string]*Manifest{}, map[string]bool{}
	for _, m := range manifests {
		for index := range MaxPieces {
			known[m.Piece(index).String()] = m
		}
	}
	var found []Damage
	for _, name := range files {
		there[name] = true
		id, isPiece := parsePieceName(name)
		isManifest := strings.HasSuffix(name, manifestSuffix) && !strings.HasPrefix(name, tmpPrefix)
		var err error
		switch {
		case isPiece && known[name] != nil:
			id = known[name].Piece(id.Index)
			err = s.scrubPiece(ctx, name, id, known[name], limit)
		case isPiece:
			err = s.scrubPiece(ctx, name, id, nil, limit)
		case isManifest:
			_, err = s.readManifest(name)
		}
		if err := ctx.Err(); err != nil {
			return found, err
		}
		if err != nil && (errors.Is(err, ErrDamaged) || !errors.Is(err, fs.ErrNotExist)) { // it may have been removed meanwhile
			found = append(found, Damage{Name: name, Piece: id, Err: err})
		}
	}
	for _, m := range manifests {
		for _, index := range m.Held(holder) {
			if id := m.Piece(index); !there[id.String()] {
				found = append(found, Damage{Name: id.String(), Piece: id, Err: fmt.Errorf("piece %s: %w", id, fs.ErrNotExist)})
			}
		}
	}
	return found, nil
}

// scrubPiece reads a whole piece. m may be nil: then nothing but its own checksums is known of it.
func (s *Store) scrubPiece(ctx context.Context, name string, id PieceID, m *Manifest, limit Limiter) (err error) {
	f, err := s.fs.Open(s.path(name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return err
	}
	p, err := readPieceInfo(f, size)
	if err != nil {
		return err
	}
	if p.String() != name || p.spec != s.spec || m != nil && p.PieceID != id {
		return fmt.Errorf("%w: it is piece %s of the run with spec %x", ErrDamaged, p, p.spec[:8])
	}
	whole, buf := sha256.New(), make([]byte, pieceBlock)
	read := func(off int64, n int) ([]byte, error) {
		if limit != nil {
			if err := limit.WaitN(ctx, n); err != nil {
				return nil, err
			}
		}
		err := errors.Join(ctx.Err(), readAt(f, buf[:n], off))
		_, _ = whole.Write(buf[:n])
		return buf[:n], err
	}
	if _, err := read(0, pieceHead); err != nil {
		return err
	}
	at := int64(pieceHead)
	for i, sum := range p.table {
		b, err := read(at, p.layout.blockBytes(int64(i)))
		if err != nil {
			return err
		}
		if xxh3.Hash(b) != sum {
			return fmt.Errorf("block %d is %w", i, ErrDamaged)
		}
		at += int64(len(b))
	}
	for at < size {
		b, err := read(at, int(min(size-at, pieceBlock)))
		if err != nil {
			return err
		}
		at += int64(len(b))
	}
	if m == nil {
		return nil
	}
	if sum, committed := m.sum(id.Index); committed && [32]byte(whole.Sum(nil)) != sum {
		return fmt.Errorf("%w: it is not the one that was committed", ErrDamaged)
	}
	return nil
}
