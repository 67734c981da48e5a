package sharding

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// packing is how a data file is stored; its first bytes say so, whatever its name, which a file found by hash has lost.
type packing int

const (
	plain packing = iota // JSONL
	gzipped
	zstandard
	parquetRows
)

var magics = map[string]packing{"\x1f\x8b": gzipped, "\x28\xb5\x2f\xfd": zstandard, "PAR1": parquetRows}

// Limits on what a packed file may become. JSONL packs to between a third and a hundredth.
const (
	maxUnpackedRatio = 1000
	minUnpackedLimit = 1 << 30
	maxZstdWindow    = 128 << 20 // zstd --long writes as much
)

// packingOf looks at the beginning of a file.
func packingOf(f io.ReaderAt) (packing, error) {
	var head [4]byte
	n, err := f.ReadAt(head[:], 0)
	if err != nil && err != io.EOF {
		return plain, err
	}
	for magic, p := range magics {
		if bytes.HasPrefix(head[:n], []byte(magic)) {
			return p, nil
		}
	}
	return plain, nil
}

// unpack writes the samples of f as JSONL: what was compressed, or one line to a row of Parquet, of whose columns only some may
// be wanted.
func (p packing) unpack(f *os.File, columns Columns, to io.Writer) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	to = &bounded{to: to, left: max(minUnpackedLimit, info.Size()*maxUnpackedRatio)}
	switch p {
	case gzipped:
		r, err := gzip.NewReader(bufio.NewReaderSize(f, 1<<16))
		if err != nil {
			return fmt.Errorf("unpack gzip: %w: is the file whole?", err)
		}
		if _, err = io.Copy(to, r); err != nil {
			return fmt.Errorf("unpack gzip: %w: is the file whole?", err)
		}
		return nil
	case zstandard:
		r, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return fmt.Errorf("unpack zstd: %w: is the file whole?", err)
		}
		defer r.Close()
		if _, err = io.Copy(to, r); err != nil {
			return fmt.Errorf("unpack zstd: %w: is the file whole?", err)
		}
		return nil
	case parquetRows:
		return writeRows(f, info.Size(), columns, to)
	}
	_, err = io.Copy(to, f)
	return err
}

var errUnpacked = errors.New("file is much larger unpacked than packed: is it what it should be? Unpack it yourself to use it")

// bounded passes on a limited number of bytes.
type bounded struct {
	to   io.Writer
	left int64
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, errUnpacked
	}
	return b.to.Write(p)
}

// unpacked calls read with the samples of f as JSONL. A copy of them goes to also, unless that is nil.
func (p packing) unpacked(f *os.File, columns Columns, also io.Writer, read func(io.Reader) error) error {
	pr, pw := io.Pipe()
	done := make(chan error, 1) // one result
	go func() {
		var to io.Writer = pw
		if also != nil {
			to = io.MultiWriter(also, pw)
		}
		w := bufio.NewWriterSize(to, 1<<16)
		err := p.unpack(f, columns, w)
		err = errors.Join(err, w.Flush())
		pw.CloseWithError(err)
		done <- err
	}()
	err := read(pr)
	pr.CloseWithError(errStopped) // unpack ends if it has not
	if unpacking := <-done; err == nil && !errors.Is(unpacking, errStopped) {
		err = unpacking
	}
	return err
}

// scan finds the samples of f. A copy of what is unpacked goes to also, unless that is nil.
func (x *indexed) scan(f *os.File, also io.Writer, check func(line []byte) error) error {
	p, err := packingOf(f)
	if err != nil {
		return fmt.Errorf("read data: %w", err)
	}
	if p == plain {
		return x.lines(f, check)
	}
	return p.unpacked(f, x.columns, also, func(r io.Reader) error { return x.lines(r, check) })
}

// temporary is scan, with what f unpacks to in a file that has no name.
func (x *indexed) temporary(f *os.File, check func(line []byte) error) error {
	if p, err := packingOf(f); err != nil || p == plain {
		return x.scan(f, nil, check)
	}
	to, err := os.CreateTemp("", "torc-samples-*")
	if err != nil {
		return fmt.Errorf("unpack %s: %w", x.name, err)
	}
	x.kept = to
	if err := errors.Join(os.Remove(to.Name()), x.scan(f, to, check)); err != nil {
		to.Close()
		return err
	}
	return nil
}

// cached is scan, with what f unpacks to in a file under dir that is named by the content of f.
func (x *indexed) cached(f *os.File, dir string, check func(line []byte) error) error {
	if p, err := packingOf(f); err != nil || p == plain {
		return x.scan(f, nil, check)
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("read data: %w", err)
	}
	path := cachePath(dir, sha256.Sum256(fmt.Appendf(nil, "torc samples %d %x%s", unpackedVersion, h.Sum(nil), x.columns.text())))
	if known, err := os.Open(path); err == nil {
		defer known.Close()
		x.path = path
		return x.lines(known, check)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read data: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("unpack %s: %w", x.name, err)
	}
	to, err := os.CreateTemp(filepath.Dir(path), ".samples-*")
	if err != nil {
		return fmt.Errorf("unpack %s: %w", x.name, err)
	}
	err = x.scan(f, to, check)
	if err == nil {
		err = to.Sync() // the name must not outlive the content in a crash
	}
	err = errors.Join(err, to.Close())
	if err == nil {
		err = os.Rename(to.Name(), path)
	}
	if err != nil {
		os.Remove(to.Name())
		return err
	}
	x.path = path
	return nil
}

// unpackedVersion changes when the same file unpacks to something else.
const unpackedVersion = 1

var errStopped = errors.New("sharding: nobody reads on")
