package allreduce

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// Identity names a member's seat on a ring.
type Identity struct {
	Run     string
	View    uint64 // View.Hash
	Ring    uint32 // counts the rings made inside one view
	Rank    int
	Members int
	Order   []int // position on the ring → rank
}

// Mesh connects a member with the others of its ring.
type Mesh interface {
	// Link opens the link to rank, which must open its side too; it returns when both have. There is one link to a
	// peer for both directions, and it is asked for once. It fails when the peer cannot be reached or ctx is over.
	Link(ctx context.Context, rank int) (Link, error)
}

// Link carries frames to one peer and back, in order, in both directions at once.
// One goroutine may send while another receives.
type Link interface {
	// Send queues f for the peer and takes over the reference; f's bytes must not change afterwards. It blocks while the
	// peer does not read. When ctx ends during the call, the link is broken.
	Send(ctx context.Context, f Frame) error
	// Recv returns the next frame; the caller owns it. It returns an error when the peer closed its end or the link broke.
	Recv() (Frame, error)
	// Close ends the link. It returns when the peer closes its end too, and so has had everything that was sent before,
	// or when ctx is over, which cuts the link. Peers tell each other by a frame that they are about to close; Recv need
	// not report it. Close ends Send and Recv here, and is idempotent.
	Close(ctx context.Context) error
	// Sent counts the bytes written to the wire, framing included.
	Sent() int64
}

// PeerError says that the link to a peer broke, that the peer fell silent, or that another member reported so.
type PeerError struct {
	Rank int // in the view
	Err  error
}

func (e *PeerError) Error() string { return fmt.Sprintf("allreduce: lost rank %d: %v", e.Rank, e.Err) }
func (e *PeerError) Unwrap() error { return e.Err }

// Frame is one message in wire form. It is a reference to a counted buffer: whoever holds it frees it once.
type Frame struct{ buf *buffer }

// Bytes is the whole message. It may be written only by the sole holder.
func (f Frame) Bytes() []byte { return f.buf.data }

// Ref returns one more reference to f.
func (f Frame) Ref() Frame {
	f.buf.refs.Add(1)
	return f
}

// Free gives the reference back.
func (f Frame) Free() {
	switch n := f.buf.refs.Add(-1); {
	case n < 0:
		panic("allreduce: frame freed twice")
	case n == 0 && f.buf.home != nil:
		f.buf.home.put(f.buf)
	}
}

// payload is what stands behind the header, with the capacity of the buffer.
func (f Frame) payload() []byte { return f.buf.data[headerBytes:] }

// cut shortens f to a payload of n bytes.
func (f Frame) cut(n int) { f.buf.data = f.buf.data[:headerBytes+n] }

// finish writes h, with length and checksum of the payload, over f's first bytes.
func (f Frame) finish(h *header) {
	h.length, h.crc = uint32(len(f.payload())), crcOf(f.payload())
	h.put(f.buf.data)
}

// buffer is the memory of a Frame. Behind its data there are slack bytes that anyone may overwrite.
type buffer struct {
	data []byte
	refs atomic.Int32
	home *pool // nil: left to the garbage collector
}

// smallFrame is the size up to which a buffer is not worth keeping.
const smallFrame = 4 << 10

// keptBuffers bounds a pool. More are in use only while a neighbour is slow.
const keptBuffers = 32

// pool keeps buffers of frames for reuse.
type pool struct {
	mu   sync.Mutex // guards free
	free []*buffer
}

// get returns a frame of n bytes whose content is undefined.
func (p *pool) get(n int) Frame {
	if n <= smallFrame {
		return newFrame(n, nil)
	}
	p.mu.Lock()
	for i := len(p.free) - 1; i >= 0; i-- {
		if b := p.free[i]; cap(b.data) >= n+slack {
			p.free = append(p.free[:i], p.free[i+1:]...)
			p.mu.Unlock()
			b.refs.Store(1)
			b.data = b.data[:n]
			return Frame{b}
		}
	}
	p.mu.Unlock()
	return newFrame(n, p)
}

func newFrame(n int, home *pool) Frame {
	b := &buffer{data: make([]byte, n, n+slack), home: home}
	b.refs.Store(1)
	return Frame{b}
}

func (p *pool) put(b *buffer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) == keptBuffers {
		p.free = append(p.free[:0], p.free[1:]...) // the oldest: sizes change between runs
	}
	p.free = append(p.free, b)
}
