package checkpoints

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// Mirror copies the pieces of a committed checkpoint that holder keeps to dir, and then the manifest; what is there already
// stays, so that a copy that was broken off goes on. Each piece is compared with the manifest on its way. Several members
// may mirror to one directory at once. Then what retention no longer asks for is removed there. limit may be nil.
func (s *Store) Mirror(ctx context.Context, m *Manifest, holder, dir string, limit Limiter) error {
	if err := s.mirror(ctx, m, holder, dir, limit); err != nil {
		return fmt.Errorf("mirror checkpoint of step %d to %s: %w", m.Step, dir, advise(err))
	}
	return nil
}

func (s *Store) mirror(ctx context.Context, m *Manifest, holder, dir string, limit Limiter) error {
	if err := s.fs.MkdirAll(dir); err != nil {
		return err
	}
	for _, index := range m.Held(holder) {
		if err := s.mirrorPiece(ctx, m, index, holder, dir, limit); err != nil {
			return err
		}
	}
	text, err := m.Bytes()
	if err != nil {
		return err
	}
	err = putFile(s.fs, filepath.Join(dir, m.name()), holder, func(f File) error {
		_, err := f.Write(text)
		return err
	})
	if err == nil {
		err = s.fs.SyncDir(dir)
	}
	if err == nil {
		copied := &Store{fs: s.fs, dir: dir, spec: s.spec, cfg: s.cfg}
		err = copied.collectBut(m.name())
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another member removed it at the same time
	}
	return err
}

// mirrorPiece copies one piece, unless a whole file of its name is there.
func (s *Store) mirrorPiece(ctx context.Context, m *Manifest, index int, holder, dir string, limit Limiter) (err error) {
	name := m.Piece(index).String()
	from, err := s.fs.Open(s.path(name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	size, err := from.Size()
	if err != nil {
		return err
	}
	if there, err := s.fs.Open(filepath.Join(dir, name)); err == nil {
		have, sized := there.Size()
		if err := errors.Join(sized, there.Close()); err == nil && have == size {
			return nil // renamed into place when it was whole
		}
	}
	return putFile(s.fs, filepath.Join(dir, name), holder, func(to File) error {
		sum, buf := sha256.New(), make([]byte, pieceBlock)
		for at := int64(0); at < size; {
			b := buf[:min(size-at, pieceBlock)]
			if limit != nil {
				if err := limit.WaitN(ctx, len(b)); err != nil {
					return err
				}
			}
			if err := errors.Join(ctx.Err(), readAt(from, b, at)); err != nil {
				return err
			}
			_, _ = sum.Write(b) // a hash takes everything
			if _, err := to.Write(b); err != nil {
				return err
			}
			at += int64(len(b))
		}
		if want, known := m.sum(index); known && [32]byte(sum.Sum(nil)) != want {
			return fmt.Errorf("piece %d is %w: it is not the one that was committed", index, ErrDamaged)
		}
		return nil
	})
}

// putFile writes a file under a passing name, makes it last and gives it its name.
func putFile(fsys FS, path, holder string, fill func(File) error) error {
	tmp := filepath.Join(filepath.Dir(path), tmpPrefix+holder+"-"+filepath.Base(path))
	f, err := fsys.Create(tmp)
	if err != nil {
		return err
	}
	if err = fill(f); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = fsys.Rename(tmp, path)
	}
	if err != nil {
		_ = fsys.Remove(tmp)
	}
	return err
}

// SpecFile is the name of the file that says which run the checkpoints beside it are of: its resolved spec.
const SpecFile = "spec.json"

// ErrOtherSpec is the kind of error of a directory that has another run's checkpoints.
var ErrOtherSpec = errors.New("its checkpoints are of another run that is called the same")

// KeepSpec writes a run's resolved spec to dir, a mirror or a store, unless it is there. Where another one is, the error
// wraps ErrOtherSpec.
func KeepSpec(fsys FS, dir, holder string, text []byte) error {
	there, err := ReadSpec(fsys, dir)
	switch {
	case err == nil && bytes.Equal(there, text):
		return nil
	case err == nil:
		return fmt.Errorf("%s: %w", dir, ErrOtherSpec)
	case errors.Is(err, fs.ErrNotExist):
		err = fsys.MkdirAll(dir)
	}
	if err == nil {
		err = putFile(fsys, filepath.Join(dir, SpecFile), holder, func(f File) error {
			_, err := f.Write(text)
			return err
		})
	}
	if err == nil {
		err = fsys.SyncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("keep spec in %s: %w", dir, advise(err))
	}
	return nil
}

// ReadSpec returns what KeepSpec wrote to dir.
func ReadSpec(fsys FS, dir string) ([]byte, error) {
	return readSmall(fsys, filepath.Join(dir, SpecFile))
}

// readSmall reads a manifest or a spec.
func readSmall(fsys FS, path string) (text []byte, err error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	n, err := f.Size()
	if err != nil {
		return nil, err
	}
	if n > maxManifest {
		return nil, fmt.Errorf("%w: %s has %d bytes, more than %d", ErrDamaged, filepath.Base(path), n, maxManifest)
	}
	text = make([]byte, n)
	return text, readAt(f, text, 0)
}

// Dir is pieces in a directory that is no member's: a mirror.
func Dir(fsys FS, dir string) PieceSource { return &Store{fs: fsys, dir: dir} }
