package pb

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// A stream is chunks in memory.
type stream []*Chunk

func (s *stream) send(c *Chunk) error { *s = append(*s, c); return nil }

func (s *stream) receive() (*Chunk, error) {
	if len(*s) == 0 {
		return nil, io.EOF
	}
	c := (*s)[0]
	*s = (*s)[1:]
	return c, nil
}

func TestWhatIsSentInChunksIsRead(t *testing.T) {
	for _, size := range []int{0, 1, ChunkBytes - 1, ChunkBytes, ChunkBytes + 1, 3 * ChunkBytes} {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(i >> 3)
		}
		var s stream
		if err := SendChunks(iotest.HalfReader(bytes.NewReader(data)), []byte("sum"), int64(size), s.send); err != nil {
			t.Fatal(err)
		}
		for i, c := range s {
			if first := i == 0; (string(c.Sha256) == "sum") != first || (c.Size == int64(size)) != (first || size == 0) || len(c.Data) > ChunkBytes {
				t.Errorf("%d bytes: chunk %d has %d bytes, sum %q and size %d", size, i, len(c.Data), c.Sha256, c.Size)
			}
		}
		if want := max(1, (size+ChunkBytes-1)/ChunkBytes); len(s) != want {
			t.Errorf("%d bytes: %d chunks, want %d", size, len(s), want)
		}
		got, err := io.ReadAll(ReadChunks(s.receive))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: read %d others, %v", size, len(got), err)
		}
	}
}

func TestErrorsOfEitherSideOfChunksArePassedOn(t *testing.T) {
	bad := errors.New("bad")
	var s stream
	if err := SendChunks(io.MultiReader(bytes.NewReader(make([]byte, 9)), iotest.ErrReader(bad)), nil, 99, s.send); !errors.Is(err, bad) {
		t.Errorf("reader's error: %v", err)
	}
	if err := SendChunks(bytes.NewReader(nil), nil, 0, func(*Chunk) error { return bad }); !errors.Is(err, bad) {
		t.Errorf("sender's error: %v", err)
	}
	if _, err := io.ReadAll(ReadChunks(func() (*Chunk, error) { return nil, bad })); !errors.Is(err, bad) {
		t.Errorf("receiver's error: %v", err)
	}
}
