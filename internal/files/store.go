package files

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Store is a directory of files named by their SHA-256.
type Store struct{ Dir string }

// Under is the store below $TORC_HOME.
func Under(home string) Store { return Store{filepath.Join(home, "cache", "sha256")} }

// Path is where the store keeps a file, whether or not it has it.
func (s Store) Path(sum []byte) string {
	name := hex.EncodeToString(sum)
	return filepath.Join(s.Dir, name[:2], name)
}

// Has returns where the store keeps the file with this sum, if it does.
func (s Store) Has(sum []byte) (path string, ok bool) {
	if len(sum) != sha256.Size {
		return "", false
	}
	path = s.Path(sum)
	info, err := os.Stat(path)
	return path, err == nil && info.Mode().IsRegular()
}

// Find returns the path of a file with this content: the store's own or the hint, which may be empty. found is false when
// neither has it; what lies at the hint may have changed since.
func (s Store) Find(sum []byte, size int64, hint string) (path string, found bool, err error) {
	if len(sum) != sha256.Size {
		return "", false, fmt.Errorf("find file: hash has %d bytes, want %d", len(sum), sha256.Size)
	}
	for _, path := range []string{s.Path(sum), hint} {
		if path == "" {
			continue
		}
		same, err := sameContent(path, sum, size)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return "", false, err
		}
		if same {
			return path, true, nil
		}
	}
	return "", false, nil
}

// Add copies r to the store and returns its path there. It fails, and leaves nothing, unless r has exactly this content.
// Unfinished copies that killed processes left in the store are removed.
func (s Store) Add(sum []byte, size int64, r io.Reader) (string, error) {
	if len(sum) != sha256.Size {
		return "", fmt.Errorf("store file: hash has %d bytes, want %d", len(sum), sha256.Size)
	}
	RemoveStale(s.Dir, "*/incoming-*")
	dst := s.Path(sum)
	if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
		return "", err
	}
	tmp, err := os.CreateTemp(filepath.Dir(dst), "incoming-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(tmp.Name()) // gone already after the rename
	defer tmp.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(h, tmp), io.LimitReader(r, size+1))
	if err != nil {
		return "", fmt.Errorf("store file %x below %s: %w", sum[:6], s.Dir, err)
	}
	if n != size || !bytes.Equal(h.Sum(nil), sum) {
		return "", fmt.Errorf("store file %x: got other content, %d bytes instead of %d: was it changed since launch?", sum[:6], n, size)
	}
	if err := tmp.Sync(); err != nil {
		return "", fmt.Errorf("store file %x below %s: %w", sum[:6], s.Dir, err)
	}
	if err := tmp.Close(); err != nil {
		return "", err
	}
	return dst, os.Rename(tmp.Name(), dst)
}

// staleAfter is how long nobody must have written to a temporary file for its process to be taken for dead.
const staleAfter = 24 * time.Hour

// RemoveStale removes the files below dir that match pattern, as of fs.Glob, and were not written to for a day: what
// killed processes left. It does what it can; what cannot be removed stays.
func RemoveStale(dir, pattern string) {
	names, err := fs.Glob(os.DirFS(dir), pattern)
	if err != nil {
		return
	}
	for _, name := range names {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > staleAfter {
			_ = os.Remove(path)
		}
	}
}

// sameContent says whether the file at path has this size and hash.
func sameContent(path string, sum []byte, size int64) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() != size || !info.Mode().IsRegular() {
		return false, err
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return false, fmt.Errorf("read %s: %w", path, err)
	}
	return bytes.Equal(h.Sum(nil), sum), nil
}

// LayOut fills dir, which it makes, with symbolic links: name → path. Links from before are replaced.
func LayOut(dir string, paths map[string]string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, path := range paths {
		if name != filepath.Base(name) || name == "." || name == ".." {
			return fmt.Errorf("lay out %s: %q is not a plain file name", dir, name)
		}
		link := filepath.Join(dir, name)
		if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		abs, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		if err := os.Symlink(abs, link); err != nil {
			return err
		}
	}
	return nil
}
