package allreduce

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// errReset is what both ends of a link see after Net.Reset.
var errReset = errors.New("connection reset")

// Net is a network in memory, made of channels, with faults to order:
//
//	net := MemNet(4).Silence(2, 5) // rank 2 from hop 5 on
//
// Faults must be set before the links are used.
type Net struct {
	mu      sync.Mutex // guards the fields below
	waiting map[memKey]chan *memLink
	faults  map[int]*memFaults // by the rank that sends
	paces   map[memKey]*Pace   // by who knows it of whom, with ring 0
}

type memKey struct {
	ring     uint32
	from, to int
}

// memFaults is what happens to the frames a rank sends. A hop of −1 is never.
type memFaults struct {
	silence, reset, corrupt, duplicate int
	after                              atomic.Int64         // frames that may still be sent before the link is reset; negative is never
	delay                              func() time.Duration // nil is none
	silent                             atomic.Bool
	corrupted, duplicated              atomic.Bool
}

// MemNet returns a network between n ranks.
func MemNet(n int) *Net {
	net := &Net{waiting: make(map[memKey]chan *memLink), faults: make(map[int]*memFaults), paces: make(map[memKey]*Pace)}
	for r := range n {
		net.faults[r] = &memFaults{silence: -1, reset: -1, corrupt: -1, duplicate: -1}
		net.faults[r].after.Store(-1)
	}
	return net
}

// Silence makes rank send nothing more, progress frames included, from its first frame of hop on.
func (n *Net) Silence(rank, hop int) *Net { n.faults[rank].silence = hop; return n }

// Reset breaks the link on which rank sends its first frame of hop.
func (n *Net) Reset(rank, hop int) *Net { n.faults[rank].reset = hop; return n }

// ResetAfter breaks the link on which rank sends its frame number n+1, counted over all its links.
func (n *Net) ResetAfter(rank, frames int) *Net {
	n.faults[rank].after.Store(int64(frames) + 1)
	return n
}

// Corrupt flips a bit of the first frame of hop that rank sends.
func (n *Net) Corrupt(rank, hop int) *Net { n.faults[rank].corrupt = hop; return n }

// Duplicate sends the first frame of hop from rank twice.
func (n *Net) Duplicate(rank, hop int) *Net { n.faults[rank].duplicate = hop; return n }

// Delay makes each frame that rank sends take so long.
func (n *Net) Delay(rank int, d time.Duration) *Net {
	return n.Delays(rank, func() time.Duration { return d })
}

// Delays makes each frame that rank sends take as long as next says, which goroutines may call at the same time.
func (n *Net) Delays(rank int, next func() time.Duration) *Net { n.faults[rank].delay = next; return n }

// Mesh returns the mesh of one member.
func (n *Net) Mesh(id Identity) Mesh { return &memMesh{net: n, id: id} }

type memMesh struct {
	net *Net
	id  Identity
}

// Link implements Mesh: the first of the two makes the pipe, the second takes its other end.
func (m *memMesh) Link(ctx context.Context, rank int) (Link, error) {
	meet := m.net.meeting(m.id.Ring, m.id.Rank, rank)
	a, b := memPipe(m.net.faults[m.id.Rank], m.net.faults[rank])
	select {
	case meet <- b:
		return a, nil
	case l := <-m.net.meeting(m.id.Ring, rank, m.id.Rank):
		return l, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Pace implements Mesh.
func (m *memMesh) Pace(rank int) *Pace {
	m.net.mu.Lock()
	defer m.net.mu.Unlock()
	k := memKey{from: rank, to: m.id.Rank}
	if m.net.paces[k] == nil {
		m.net.paces[k] = new(Pace)
	}
	return m.net.paces[k]
}

// meeting returns the channel on which from hands the far end of a pipe to to. Only the lower rank's is ever sent on:
// for the other direction it is nil, so that the two cannot miss each other.
func (n *Net) meeting(ring uint32, from, to int) chan *memLink {
	if from > to {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	k := memKey{ring, from, to}
	if n.waiting[k] == nil {
		n.waiting[k] = make(chan *memLink) // without room: both must be there
	}
	return n.waiting[k]
}

// memBuffer is how many frames a memLink holds, about what the windows of a connection do.
const memBuffer = 4

type memLink struct {
	out    chan<- Frame
	in     <-chan Frame
	faults *memFaults

	closed, farClosed chan struct{} // this end and the other were closed
	close             func()
	broken            chan struct{} // the link was reset
	reset             func()
	sent              atomic.Int64
}

func memPipe(faultsA, faultsB *memFaults) (a, b *memLink) {
	ab, ba := make(chan Frame, memBuffer), make(chan Frame, memBuffer)
	closedA, closedB, broken := make(chan struct{}), make(chan struct{}), make(chan struct{})
	reset := sync.OnceFunc(func() { close(broken) })
	a = &memLink{out: ab, in: ba, faults: faultsA, closed: closedA, farClosed: closedB, broken: broken, reset: reset}
	b = &memLink{out: ba, in: ab, faults: faultsB, closed: closedB, farClosed: closedA, broken: broken, reset: reset}
	a.close = sync.OnceFunc(func() { close(closedA) })
	b.close = sync.OnceFunc(func() { close(closedB) })
	return a, b
}

func (l *memLink) Send(ctx context.Context, f Frame) error {
	carries := kind(f.head[5]) < kindProgress
	hop := int(binary.LittleEndian.Uint32(f.head[55:]))
	at := func(fault int) bool { return carries && fault >= 0 && hop >= fault }
	if at(l.faults.silence) {
		l.faults.silent.Store(true)
	}
	if l.faults.silent.Load() {
		f.Free()
		return nil
	}
	if at(l.faults.reset) {
		l.reset()
	}
	if carries && l.faults.after.Load() > 0 && l.faults.after.Add(-1) == 0 {
		l.reset()
	}
	if at(l.faults.corrupt) && l.faults.corrupted.CompareAndSwap(false, true) {
		c := f.clone() // the same frame may be on its way elsewhere
		c.payload()[len(c.payload())-1] ^= 4
		f.Free()
		f = c
	}
	if at(l.faults.duplicate) && l.faults.duplicated.CompareAndSwap(false, true) {
		if err := l.send(ctx, f.clone()); err != nil {
			f.Free()
			return err
		}
	}
	if l.faults.delay != nil {
		select {
		case <-time.After(l.faults.delay()):
		case <-ctx.Done():
		}
	}
	return l.send(ctx, f)
}

// clone returns a frame equal to f with memory of its own.
func (f Frame) clone() Frame {
	c := newFrame(f.Len() - len(f.head))
	copy(c.head, f.head)
	f.copyTo(c.payload())
	return c
}

func (l *memLink) send(ctx context.Context, f Frame) error {
	if f.mem.lent { // the peer may look at it later than the lender allows
		c := f.clone()
		f.Free()
		f = c
	}
	n := int64(f.Len())
	select {
	case <-l.closed:
		f.Free()
		return io.ErrClosedPipe
	case <-l.broken:
		f.Free()
		return errReset
	default:
	}
	select {
	case l.out <- f:
		l.sent.Add(n)
		return nil
	case <-l.closed:
		f.Free()
		return io.ErrClosedPipe
	case <-l.farClosed:
		f.Free()
		return io.EOF
	case <-l.broken:
		f.Free()
		return errReset
	case <-ctx.Done():
		f.Free()
		l.reset()
		return context.Cause(ctx)
	}
}

func (l *memLink) Recv() (Frame, error) {
	select {
	case f := <-l.in:
		return f, nil
	default:
	}
	select {
	case f := <-l.in:
		return f, nil
	case <-l.closed:
		return Frame{}, io.ErrClosedPipe
	case <-l.broken:
		return Frame{}, errReset
	case <-l.farClosed:
		select { // what was sent before the close
		case f := <-l.in:
			return f, nil
		default:
			return Frame{}, io.EOF
		}
	}
}

func (l *memLink) Close(context.Context) error {
	l.close()
	return nil
}

func (l *memLink) Sent() int64 { return l.sent.Load() }
