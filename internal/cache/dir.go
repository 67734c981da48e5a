package cache

import (
	"encoding/hex"
	"os"
	"path/filepath"
)

// Dir is a directory of values; it is made when the first is put. An empty path keeps nothing.
type Dir string

// Get returns the value of a key, if it is there.
func (d Dir) Get(key [32]byte) ([]byte, bool) {
	if d == "" {
		return nil, false
	}
	value, err := os.ReadFile(d.path(key))
	return value, err == nil
}

// Put keeps a value, unless the disk does not allow it.
func (d Dir) Put(key [32]byte, value []byte) {
	if d == "" {
		return
	}
	path := d.path(key)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".put-*")
	if err != nil {
		return
	}
	_, err = f.Write(value)
	if e := f.Close(); err != nil || e != nil || os.Rename(f.Name(), path) != nil {
		os.Remove(f.Name()) // the value is lost either way
	}
}

func (d Dir) path(key [32]byte) string {
	name := hex.EncodeToString(key[:])
	return filepath.Join(string(d), name[:2], name)
}
