package pb

import (
	"errors"
	"io"
)

// ChunkBytes is the most data that one message of a file or a State on its way has.
const ChunkBytes = 512 << 10

// SendChunks sends what r has to its end as chunks, of which the first, which there always is, says sum and size. The error is
// that of r or of send.
func SendChunks(r io.Reader, sum []byte, size int64, send func(*Chunk) error) error {
	c := &Chunk{Sha256: sum, Size: size}
	for first := true; ; first = false {
		data := make([]byte, min(max(size, 1), ChunkBytes)) // another for each: gRPC may look at a message that has been sent
		n, err := io.ReadFull(r, data)
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !end {
			return err
		}
		if c.Data = data[:n]; n > 0 || first {
			if err := send(c); err != nil {
				return err
			}
		}
		if end {
			return nil
		}
		c = &Chunk{}
	}
}

// ReadChunks is the data of the chunks that receive yields, until its io.EOF.
func ReadChunks(receive func() (*Chunk, error)) io.Reader { return &chunkReader{receive: receive} }

type chunkReader struct {
	receive func() (*Chunk, error)
	rest    []byte // of the last chunk
}

// Read implements io.Reader.
func (r *chunkReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		c, err := r.receive()
		if err != nil {
			return 0, err
		}
		r.rest = c.Data
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
