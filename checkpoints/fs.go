package checkpoints

import (
	"io"
	"os"

	"github.com/torctrain/torc/internal/durable"
)

// FS is what a store needs of a file system. Names are paths.
type FS interface {
	MkdirAll(dir string) error
	ReadDir(dir string) ([]string, error) // names of plain files, ascending
	Create(name string) (File, error)     // an empty file, whatever was there
	Open(name string) (File, error)       // for reading
	Rename(from, to string) error         // in one directory; replaces
	Remove(name string) error
	SyncDir(dir string) error // makes names in it last
}

// File is one open file.
type File interface {
	io.Writer
	io.ReaderAt
	io.Closer
	Size() (int64, error)
	Sync() error // makes its bytes last
}

// Disk is the machine's file system.
type Disk struct{}

// MkdirAll makes dir and what it stands in.
func (Disk) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o755) }

// ReadDir lists the plain files of dir.
func (Disk) ReadDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// Create opens a new or emptied file for writing.
func (Disk) Create(name string) (File, error) { return disk(os.Create(name)) }

// Open opens a file for reading.
func (Disk) Open(name string) (File, error) { return disk(os.Open(name)) }

// Rename gives a file another name.
func (Disk) Rename(from, to string) error { return os.Rename(from, to) }

// Remove deletes a file.
func (Disk) Remove(name string) error { return os.Remove(name) }

// SyncDir flushes the directory itself.
func (Disk) SyncDir(dir string) error { return durable.SyncDir(dir) }

type diskFile struct{ *os.File }

func disk(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err // not a diskFile of nothing
	}
	return diskFile{f}, nil
}

func (f diskFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
