package checkpoints

import (
	"bytes"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/reedsolomon"
)

// benchState has 64 MB.
func benchState() *State { return stateAt(1, 16<<20/3) }

// encode/torc makes the parity blocks of stripes as Cut does; encode/library is the library's own code on the same
// buffers, with its own matrix.
func BenchmarkEncode(b *testing.B) {
	const data, parity, stripes = 4, 2, 64
	blocks := make([][][]byte, stripes)
	for s := range blocks {
		blocks[s] = reedsolomon.AllocAligned(data+parity, pieceBlock)
		for i := range data {
			copy(blocks[s][i], noise(pieceBlock))
		}
	}
	ours, err := newCoder(data, []int{4, 5})
	if err != nil {
		b.Fatal(err)
	}
	library, err := reedsolomon.New(data, parity)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		coder reedsolomon.Encoder
	}{{"torc", ours}, {"library", library}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(data * pieceBlock * stripes)
			for range b.N {
				for _, s := range blocks {
					if err := c.coder.Encode(s); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// cut is all that a member of three does to a state but writing to disk: two of six pieces with all checksums.
func BenchmarkCut(b *testing.B) {
	st := benchState()
	b.SetBytes(int64(12 * len(st.Theta)))
	for range b.N {
		if _, err := Cut(st, 4, []int{1, 4}, []io.Writer{io.Discard, io.Discard}); err != nil {
			b.Fatal(err)
		}
	}
}

// pieces loads 4+2 pieces, lost/2 the same without two of the data pieces, file reads the same bytes from one file and
// checks their digest, as one must who keeps a state in a file.
func BenchmarkLoad(b *testing.B) {
	st, dir := benchState(), b.TempDir()
	s, err := OpenStore(Disk{}, dir, st.Spec, Default())
	if err != nil {
		b.Fatal(err)
	}
	m := mustCheckpoint(b, s, st)
	path := filepath.Join(b.TempDir(), "state")
	var whole bytes.Buffer
	if _, err := st.WriteTo(&whole); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, whole.Bytes(), 0o600); err != nil {
		b.Fatal(err)
	}
	pieces := func() error {
		_, err := Load(b.Context(), m, s)
		return err
	}
	run := func(name string, load func() error) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(m.Size)
			for range b.N {
				if err := load(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("file", func() error { return readFile(path, io.Discard) })
	run("file+digest", func() error { return readFile(path, sha256.New()) })
	run("pieces", pieces)
	for _, i := range []int{0, 2} {
		if err := s.fs.Remove(s.path(m.Piece(i).String())); err != nil {
			b.Fatal(err)
		}
	}
	run("two-lost", pieces)
}

// readFile reads a state from one file and passes its bytes to tee.
func readFile(path string, tee io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = ReadState(io.TeeReader(f, tee))
	return err
}
