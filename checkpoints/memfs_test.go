package checkpoints

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"
)

// memFS is a disk in memory that can fail at any operation and lose its power: then names last as far as their directory
// was synced, and bytes as far as their file was.
type memFS struct {
	mu      sync.Mutex // guards all below, and the files
	names   map[string]*memData
	lasting map[string]*memData // names that survive a loss of power
	ops     []string            // what was done
	failAt  int                 // the operation that fails, counted from 1; 0: none
	dead    bool                // all operations after it fail, too
	err     error               // what they fail with
}

type memData struct{ bytes, lasting []byte }

func newMemFS() *memFS { return &memFS{names: map[string]*memData{}, lasting: map[string]*memData{}} }

// fail makes operation n from now on fail with err.
func (m *memFS) fail(n int, err error) *memFS {
	m.ops, m.failAt, m.err, m.dead = nil, n, err, false
	return m
}

// die makes operation n from now on and all later ones fail.
func (m *memFS) die(n int, err error) *memFS {
	m.fail(n, err).dead = true
	return m
}

func (m *memFS) heal() { m.fail(0, nil) }

// losePower forgets what was not synced: bytes, and names too unless they happened to reach the disk.
func (m *memFS) losePower(namesLast bool) {
	if namesLast {
		m.lasting = maps.Clone(m.names)
	}
	m.names = maps.Clone(m.lasting)
	for _, d := range m.names {
		d.bytes = slices.Clone(d.lasting)
	}
}

// do counts an operation; m.mu is held.
func (m *memFS) do(op, name string) error {
	m.ops = append(m.ops, op+" "+filepath.Base(name))
	if n := len(m.ops); m.failAt > 0 && (n == m.failAt || m.dead && n > m.failAt) {
		return fmt.Errorf("%s %s: %w", op, name, m.err)
	}
	return nil
}

func (m *memFS) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.do("mkdir", dir)
}

func (m *memFS) ReadDir(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.do("list", dir); err != nil {
		return nil, err
	}
	var names []string
	for name := range m.names {
		if filepath.Dir(name) == dir {
			names = append(names, filepath.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

func (m *memFS) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.do("create", name); err != nil {
		return nil, err
	}
	m.names[name] = &memData{}
	return &memFile{fs: m, name: name, data: m.names[name]}, nil
}

func (m *memFS) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.do("open", name); err != nil {
		return nil, err
	}
	if m.names[name] == nil {
		return nil, fmt.Errorf("open %s: %w", name, fs.ErrNotExist)
	}
	return &memFile{fs: m, name: name, data: m.names[name]}, nil
}

func (m *memFS) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.do("rename", to); err != nil {
		return err
	}
	if m.names[from] == nil {
		return fmt.Errorf("rename %s: %w", from, fs.ErrNotExist)
	}
	m.names[to] = m.names[from]
	delete(m.names, from)
	return nil
}

func (m *memFS) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.do("remove", name); err != nil {
		return err
	}
	if m.names[name] == nil {
		return fmt.Errorf("remove %s: %w", name, fs.ErrNotExist)
	}
	delete(m.names, name)
	return nil
}

func (m *memFS) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.do("syncdir", dir); err != nil {
		return err
	}
	m.lasting = maps.Clone(m.names)
	return nil
}

type memFile struct {
	fs   *memFS
	name string
	data *memData
}

func (f *memFile) Write(b []byte) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.do("write", f.name); err != nil {
		f.data.bytes = append(f.data.bytes, b[:len(b)/2]...) // as a full disk does
		return len(b) / 2, err
	}
	f.data.bytes = append(f.data.bytes, b...)
	return len(b), nil
}

func (f *memFile) ReadAt(b []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.do("read", f.name); err != nil {
		return 0, err
	}
	n := copy(b, f.data.bytes[min(off, int64(len(f.data.bytes))):])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.data.bytes)), f.fs.do("size", f.name)
}

func (f *memFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.do("sync", f.name); err != nil {
		return err
	}
	f.data.lasting = slices.Clone(f.data.bytes)
	return nil
}

func (f *memFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.fs.do("close", f.name)
}

// bytesOf is the content of a file, to be looked at or changed.
func (m *memFS) bytesOf(name string) []byte { return m.names[name].bytes }
