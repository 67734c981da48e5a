package checkpoints

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Store is one member's part of a run's checkpoints: a directory with its pieces and the manifests it was told of. Make it
// by OpenStore. One process may use a directory at a time; a store may be used by several goroutines.
type Store struct {
	fs   FS
	dir  string
	spec [32]byte
	cfg  Config

	tmps atomic.Uint64 // makes passing names differ
	mu   sync.Mutex    // one at a time puts files into place or removes them
}

const tmpPrefix = ".tmp-"

// OpenStore opens the store of the run with this spec in dir, which is made if it is not there, and removes what a crash
// left unfinished. It refuses a directory with checkpoints of another run.
func OpenStore(fsys FS, dir string, spec [32]byte, c Config) (*Store, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("open checkpoints: %w", err)
	}
	s := &Store{fs: fsys, dir: dir, spec: spec, cfg: c}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("open checkpoints in %s: %w", dir, err)
	}
	return s, nil
}

func (s *Store) open() error {
	if err := s.fs.MkdirAll(s.dir); err != nil {
		return err
	}
	files, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, name := range files {
		if strings.HasPrefix(name, tmpPrefix) {
			if err := s.fs.Remove(s.path(name)); err != nil {
				return err
			}
		}
	}
	_, err = s.Manifests()
	return err
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

// Save cuts pieces of st, those of indices, and keeps them. When it returns they are durable; they are no checkpoint until
// Commit. After an error none of them counts as kept, and what was there before is untouched. st must not change
// meanwhile. The report lacks its holder's name.
func (s *Store) Save(ctx context.Context, st *State, indices []int) (*Saved, error) {
	if st.Spec != s.spec {
		return nil, fmt.Errorf("save state of step %d: it is of the run with spec %x, the store of %x", st.Step, st.Spec[:8], s.spec[:8])
	}
	b := s.begin(ctx, len(indices))
	defer b.discard()
	cut, err := Cut(st, s.cfg.Data, indices, b.writers())
	var ids []PieceID
	if err == nil {
		for _, p := range cut.Pieces {
			ids = append(ids, PieceID{st.Step, cut.Digest, s.cfg.Data, p.Index})
		}
		err = b.keep(ids)
	}
	if err != nil {
		return nil, fmt.Errorf("save state of step %d in %s: %w", st.Step, s.dir, advise(err))
	}
	return &Saved{Spec: s.spec, Step: st.Step, Data: s.cfg.Data, Holder: Holder{Has: slices.Clone(indices)}, Cutting: *cut}, nil
}

// advise says what to do about a full disk.
func advise(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: the last checkpoint is untouched; free space there", err)
	}
	return err
}

// batch is files on their way: written under passing names, then put into place together.
type batch struct {
	s     *Store
	ctx   context.Context
	names []string
	files []File // nil when closed
	err   error  // of making them
}

// begin makes n files.
func (s *Store) begin(ctx context.Context, n int) *batch {
	b := &batch{s: s, ctx: ctx}
	for range n {
		if b.err != nil {
			break
		}
		name := fmt.Sprintf("%s%d", tmpPrefix, s.tmps.Add(1))
		var f File
		if f, b.err = s.fs.Create(s.path(name)); b.err == nil {
			b.names, b.files = append(b.names, name), append(b.files, f)
		}
	}
	for len(b.files) < n {
		b.files = append(b.files, nil)
	}
	return b
}

func (b *batch) writers() []io.Writer {
	var w []io.Writer
	for i := range b.files {
		w = append(w, batchWriter{b, i})
	}
	return w
}

type batchWriter struct {
	b *batch
	i int
}

// Write fails if not all files could be made, or when the context has ended.
func (w batchWriter) Write(p []byte) (int, error) {
	if err := errors.Join(w.b.err, w.b.ctx.Err()); err != nil {
		return 0, err
	}
	return w.b.files[w.i].Write(p)
}

// keep makes the files durable under their pieces' names.
func (b *batch) keep(ids []PieceID) error {
	var to []string
	for _, id := range ids {
		to = append(to, id.String())
	}
	return b.place(to)
}

func (b *batch) place(to []string) error {
	if b.err != nil {
		return b.err
	}
	for i, f := range b.files {
		if err := f.Sync(); err != nil {
			return err
		}
		b.files[i] = nil
		if err := f.Close(); err != nil {
			return err
		}
	}
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	for i, name := range to {
		if err := b.s.fs.Rename(b.s.path(b.names[i]), b.s.path(name)); err != nil {
			return err
		}
	}
	b.names = nil
	return b.s.fs.SyncDir(b.s.dir)
}

// discard removes what was not put into place. What it cannot remove, the next OpenStore does.
func (b *batch) discard() {
	for _, f := range b.files {
		if f != nil {
			_ = f.Close()
		}
	}
	for _, name := range b.names {
		_ = b.s.fs.Remove(b.s.path(name))
	}
}

// Commit keeps a manifest and then removes what retention no longer asks for, never m itself: a run that was set back to an
// older step commits checkpoints that are not the newest until it has caught up. It may be called again with the same
// manifest. An error after which the manifest is kept all the same, because only the removal of old files went wrong,
// wraps ErrNotRemoved.
func (s *Store) Commit(m *Manifest) error {
	if m.Spec != s.spec {
		return fmt.Errorf("commit checkpoint of step %d: it is of the run with spec %x, the store of %x", m.Step, m.Spec[:8], s.spec[:8])
	}
	text, err := m.Bytes()
	if err != nil {
		return err
	}
	b := s.begin(context.Background(), 1)
	defer b.discard()
	if _, err = b.writers()[0].Write(text); err == nil {
		err = b.place([]string{m.name()})
	}
	if err != nil {
		return fmt.Errorf("commit checkpoint of step %d in %s: %w", m.Step, s.dir, advise(err))
	}
	if err := s.collectBut(m.name()); err != nil {
		return fmt.Errorf("%w: %w", ErrNotRemoved, err)
	}
	return nil
}

// ErrNotRemoved is the kind of error of old checkpoints that are still there.
var ErrNotRemoved = errors.New("old checkpoints were not removed")

// Manifests are the committed checkpoints that this member knows, newest first. A damaged manifest is passed over, as if
// this member had not heard of it; that of another run is an error.
func (s *Store) Manifests() ([]*Manifest, error) {
	files, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list checkpoints: %w", err)
	}
	var all []*Manifest
	for _, name := range files {
		if !strings.HasSuffix(name, manifestSuffix) || strings.HasPrefix(name, tmpPrefix) {
			continue
		}
		m, err := s.readManifest(name)
		if errors.Is(err, ErrDamaged) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		if m.Spec != s.spec {
			return nil, fmt.Errorf("%s is of the run with spec %x, this run has %x: give it a directory of its own", name, m.Spec[:8], s.spec[:8])
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *Manifest) int {
		return cmp.Or(cmp.Compare(b.Step, a.Step), strings.Compare(a.name(), b.name()))
	})
	return all, nil
}

func (s *Store) readManifest(name string) (*Manifest, error) {
	text, err := readSmall(s.fs, s.path(name))
	if err != nil {
		return nil, err
	}
	return ParseManifest(text)
}

// Pieces are the names of the pieces that are there, whether or not they are sound. Their digests are cut to 8 bytes.
func (s *Store) Pieces() ([]PieceID, error) {
	files, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list pieces: %w", err)
	}
	var ids []PieceID
	for _, name := range files {
		if id, ok := parsePieceName(name); ok {
			ids = append(ids, id)
		}
	}
	return ids, nil
}
