package allreduce

import (
	"context"
	"fmt"
	"hash/crc32"
	"sync"
	"sync/atomic"
	"time"
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
	// Pace returns what this member knows of the frames of rank, the same for all rings that meet this peer.
	Pace(rank int) *Pace
}

// Pace is what a member knows of how regularly frames of a peer come. It outlives the links between the two. The zero value
// knows nothing. It may be used by several goroutines.
type Pace struct {
	mu   sync.Mutex // guards pace
	pace pace
}

func (p *Pace) learn(gap, hop time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pace.learn(gap, hop)
}

func (p *Pace) accuse(view uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pace.accuse(view)
}

func (p *Pace) meet(view uint64, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pace.meet(view, now)
}

func (p *Pace) timeout(now time.Time, hop time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pace.timeout(now, hop)
}

// Link carries frames to one peer and back, in order, in both directions at once.
// One goroutine may send while another receives.
type Link interface {
	// Send queues f for the peer and takes over the reference; its payload must not change afterwards. It blocks while the
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

// Frame is one message in wire form: a header, and a payload in parts that lie where they came from or are made.
// It is a reference: whoever holds it frees it once, and nobody changes a payload that was sent.
type Frame struct {
	head  []byte // headerBytes; the sole holder may write it anew
	parts [][]byte
	mem   *counted
}

// counted counts the references to the memory of a Frame.
type counted struct {
	refs atomic.Int32
	free func() // called when the last is gone; nil leaves it to the garbage collector
	lent bool   // the memory belongs to the caller of Sum
}

// Ref returns one more reference to f.
func (f Frame) Ref() Frame {
	f.mem.refs.Add(1)
	return f
}

// Free gives the reference back.
func (f Frame) Free() {
	switch n := f.mem.refs.Add(-1); {
	case n < 0:
		panic("allreduce: frame freed twice")
	case n == 0 && f.mem.free != nil:
		f.mem.free()
	}
}

// Len is the length of the whole message.
func (f Frame) Len() int {
	n := len(f.head)
	for _, p := range f.parts {
		n += len(p)
	}
	return n
}

// payload is the payload of a frame with a single part, as all are that were made by pool.get or flat.
func (f Frame) payload() []byte { return f.parts[0] }

// cut shortens the single part to n bytes.
func (f Frame) cut(n int) { f.parts[0] = f.parts[0][:n] }

// finish writes h, with length and checksum of the payload, as the frame's header.
func (f Frame) finish(h *header) {
	h.crc = f.checksum()
	f.seal(h)
}

// seal is finish for a payload whose checksum is in h already.
func (f Frame) seal(h *header) {
	h.length = uint32(f.Len() - len(f.head))
	h.put(f.head)
}

// checksum is the CRC32C of the payload.
func (f Frame) checksum() uint32 {
	crc := uint32(0)
	for _, p := range f.parts {
		crc = crc32.Update(crc, castagnoli, p)
	}
	return crc
}

// flat returns f with its payload in a single part, moved if need be. It takes over the reference.
func (f Frame) flat(p *pool) Frame {
	if len(f.parts) == 1 {
		return f
	}
	g := p.get(f.Len() - len(f.head))
	copy(g.head, f.head)
	f.copyTo(g.payload())
	f.Free()
	return g
}

// copyTo copies the payload to b.
func (f Frame) copyTo(b []byte) {
	for _, p := range f.parts {
		b = b[copy(b, p):]
	}
}

// buffer is the memory of a frame made here. Behind its part there are slack bytes that anyone may overwrite.
type buffer struct {
	counted
	head [headerBytes]byte
	part [1][]byte
	data []byte
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

// get returns a frame with a payload of n bytes. Header and payload are undefined.
func (p *pool) get(n int) Frame {
	b := p.take(n)
	if b == nil {
		b = newBuffer(n)
		if n > smallFrame {
			b.free = func() { p.put(b) }
		}
	}
	return b.frame(n)
}

func (p *pool) take(n int) *buffer {
	if n <= smallFrame {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.free) - 1; i >= 0; i-- {
		if b := p.free[i]; len(b.data) >= n+slack {
			p.free = append(p.free[:i], p.free[i+1:]...)
			return b
		}
	}
	return nil
}

func (p *pool) put(b *buffer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) == keptBuffers {
		p.free = append(p.free[:0], p.free[1:]...) // the oldest: sizes change between runs
	}
	p.free = append(p.free, b)
}

// newFrame returns a frame that no pool keeps.
func newFrame(n int) Frame { return newBuffer(n).frame(n) }

func newBuffer(n int) *buffer { return &buffer{data: make([]byte, n+slack)} }

func (b *buffer) frame(n int) Frame {
	b.refs.Store(1)
	b.part[0] = b.data[:n]
	return Frame{b.head[:], b.part[:], &b.counted}
}
