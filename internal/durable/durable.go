package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile is os.WriteFile in place of whatever was at path.
func WriteFile(path string, text []byte, mode fs.FileMode) error {
	return Write(path, mode, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// Write makes path a file of what write writes, in place of whatever was there.
func Write(path string, mode fs.FileMode, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), passing(path))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name()) // gone already after the rename
	defer f.Close()
	err = write(f)
	if err == nil {
		err = errors.Join(f.Chmod(mode), f.Sync(), f.Close())
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// passing is the pattern of the name that what is to be at path has until it is whole.
func passing(path string) string { return "." + filepath.Base(path) + "-*" }

// WriteDir makes path a directory of what fill puts into dir, which fill has to sync. What path stands in is made where it
// is not there. path must be free: see CheckFree.
func WriteDir(path string, fill func(dir string) error) (err error) {
	path = filepath.Clean(path)
	if err := CheckFree(path); err != nil {
		return err
	}
	parent := filepath.Dir(path)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(parent, passing(path))
	if err != nil {
		return err
	}
	defer func() {
		if e := os.RemoveAll(dir); err != nil && e != nil { // gone already after the rename
			err = errors.Join(err, fmt.Errorf("remove what was written: %w", e))
		}
	}()
	if err := os.Chmod(dir, 0o755); err != nil { // os.MkdirTemp makes it for its owner alone
		return err
	}
	if err := fill(dir); err != nil {
		return err
	}
	if err := SyncDir(dir); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // an empty directory, which Rename would not replace
		return err
	}
	if err := os.Rename(dir, path); err != nil {
		return err
	}
	return SyncDir(parent)
}

// CheckFree says why WriteDir cannot make a directory at path: something is there already.
func CheckFree(path string) error {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("%s exists and is not empty: remove it or choose another directory", path)
	}
	return nil
}

// SyncDir makes the names in dir last.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
