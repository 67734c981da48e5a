package allreduce

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/internal/view"
)

// A link over gRPC is one bidirectional stream on a connection of its own. The member with the lower rank dials. Both
// begin with a hello frame that names run, view, ring and the two ranks; Mesh.Link returns when both have come. Frames
// bypass protobuf: they are messages of a codec of their own and are sent from the buffer they were made in.

const (
	ringService = "torc.v1.Ring"
	linkStream  = "Link"

	// windowBytes is how much may be on its way on a link: several frames, so that a hop never waits for the last.
	windowBytes = 4 << 20
	// ioBytes is the size of the buffers towards the socket.
	ioBytes = 256 << 10
	// dataBytes is the size at which gRPC cuts messages into HTTP/2 frames.
	dataBytes = 16 << 10

	// patience is how long an incoming link waits for its member to come to the ring.
	patience = 2 * time.Minute
	// maxWaiting bounds the incoming links that wait.
	maxWaiting = 1024
)

// DialOptions are needed by connections that carry links.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithInitialWindowSize(windowBytes),
		grpc.WithInitialConnWindowSize(2 * windowBytes),
		grpc.WithReadBufferSize(ioBytes),
		grpc.WithWriteBufferSize(ioBytes),
		grpc.WithDisableRetry(),
		experimental.WithBufferPool(new(dataPool)),
	}
}

// ServerOptions are needed by the gRPC server that a Server is registered with. The codec among them passes frames
// through and leaves all other messages to protobuf.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.InitialWindowSize(windowBytes),
		grpc.InitialConnWindowSize(2 * windowBytes),
		grpc.ReadBufferSize(ioBytes),
		grpc.WriteBufferSize(ioBytes),
		grpc.ForceServerCodecV2(codec{}),
		experimental.BufferPool(new(dataPool)),
	}
}

// Server takes the links that other members open and hands them to the rings of this process.
type Server struct {
	// Far says that every member is dialled by its address, also one on this machine. It is set before the first Mesh.
	Far bool
	// Who, if set, says which member's certificate an incoming link came with; false where there is none to go by: on a
	// unix socket, behind which is this user, or without trust. A link with a certificate must come from the member that
	// the view seats at the rank it claims. It is set before the first link.
	Who func(ctx context.Context) (name string, known bool)

	mu      sync.Mutex // guards the fields below
	seats   map[seatKey]*Seat
	sat     chan struct{} // closed and made anew with each seat
	claims  map[*claim]struct{}
	meets   map[linkKey]*meeting
	waiting int              // incoming links without a ring
	paces   map[string]*Pace // of the members met, by address
}

// linkKey names one link between two members.
type linkKey struct {
	run, view uint64
	ring      uint32
	from, to  int
}

// meeting is where the stream of a link and the ring that wants it find each other.
type meeting struct {
	link  chan *grpcLink // without room: both must be there
	over  chan struct{}  // closed by stale
	stale func()         // the members are at a later ring
	users int
}

// NewServer returns a Server without links.
func NewServer() *Server {
	return &Server{
		seats: make(map[seatKey]*Seat), sat: make(chan struct{}), claims: make(map[*claim]struct{}),
		meets: make(map[linkKey]*meeting), paces: make(map[string]*Pace),
	}
}

// Register adds the service to a gRPC server, which must have been made with ServerOptions.
func (s *Server) Register(g *grpc.Server) {
	g.RegisterService(&grpc.ServiceDesc{
		ServiceName: ringService,
		HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName: linkStream, ServerStreams: true, ClientStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error { return s.serve(stream) },
		}},
	}, s)
}

// serve is one incoming link; it returns when the link is closed.
func (s *Server) serve(stream grpc.ServerStream) error {
	l := newGRPCLink(stream)
	over := make(chan struct{})
	l.abort = sync.OnceFunc(func() { close(over) })
	f, err := l.Recv()
	if err != nil {
		return err
	}
	h, err := parse(f)
	f.Free()
	if err != nil || h.kind != kindHello {
		return status.Errorf(codes.InvalidArgument, "read hello: kind %d: %v", h.kind, err)
	}
	if err := s.vouch(stream.Context(), &h); err != nil {
		return err
	}
	key := linkKey{h.run, h.view, h.ring, int(h.from), int(h.hop)}
	if present := s.named(h.run, h.view, h.ring); h.ring < present {
		return l.answer(&h, present)
	}
	meet, err := s.arrive(key, 1)
	if err != nil {
		return err
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case meet.link <- l:
		s.leave(key, 1)
	case <-stream.Context().Done():
		s.leave(key, 1)
		return stream.Context().Err()
	case <-meet.over:
		s.leave(key, 1)
		return l.answer(&h, s.named(h.run, h.view, 0))
	case <-timer.C:
		s.leave(key, 1)
		return status.Errorf(codes.DeadlineExceeded, "rank %d did not come to ring %d of view %016x", key.to, key.ring, key.view)
	}
	select {
	case <-over:
	case <-stream.Context().Done():
	}
	return nil
}

// arrive takes part in the meeting of a link, waiting ∈ {0, 1} streams more.
func (s *Server) arrive(key linkKey, waiting int) (*meeting, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting+waiting > maxWaiting {
		return nil, status.Errorf(codes.ResourceExhausted, "%d links wait for their rings already", s.waiting)
	}
	s.waiting += waiting
	m := s.meets[key]
	if m == nil {
		m = &meeting{link: make(chan *grpcLink), over: make(chan struct{})}
		m.stale = sync.OnceFunc(func() { close(m.over) })
		s.meets[key] = m
	}
	m.users++
	return m, nil
}

func (s *Server) leave(key linkKey, waiting int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting -= waiting
	m := s.meets[key]
	if m.users--; m.users == 0 {
		delete(s.meets, key)
	}
}

// Mesh returns the mesh of one member on this server. peers are the addresses by rank; dial makes a connection with
// DialOptions, which belongs to the link and is closed with it. What it dials is a gRPC target: the address of a peer, or
// a unix socket if that peer is on this machine and serves one (ListenLocal).
func (s *Server) Mesh(id Identity, peers []string, dial func(ctx context.Context, addr string) (*grpc.ClientConn, error)) Mesh {
	return &grpcMesh{server: s, id: id, peers: peers, dial: dial}
}

type grpcMesh struct {
	server *Server
	id     Identity
	peers  []string
	dial   func(ctx context.Context, addr string) (*grpc.ClientConn, error)
}

func (m *grpcMesh) Link(ctx context.Context, rank int) (Link, error) {
	if m.id.Rank < rank {
		return m.call(ctx, rank)
	}
	return m.accept(ctx, rank)
}

// maxPaces bounds the members of which a Server knows the pace. Beyond it all are learned anew.
const maxPaces = 1024

// Pace implements Mesh. A member goes by its address, so what is known of it holds in later views as well.
func (m *grpcMesh) Pace(rank int) *Pace {
	s, addr := m.server, m.peers[rank]
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.paces[addr]
	if p == nil {
		if len(s.paces) == maxPaces {
			clear(s.paces)
		}
		p = new(Pace)
		s.paces[addr] = p
	}
	return p
}

// hello is the first frame of a link from this member to rank.
func (m *grpcMesh) hello(rank int) Frame {
	h := header{kind: kindHello, run: hashRun(m.id.Run), view: m.id.View, ring: m.id.Ring, from: uint32(m.id.Rank), hop: uint32(rank)}
	f := newFrame(0)
	f.finish(&h)
	return f
}

// call opens the link to a higher rank.
func (m *grpcMesh) call(ctx context.Context, rank int) (Link, error) {
	to := m.peers[rank]
	if !m.server.Far {
		to = target(ctx, to)
	}
	conn, err := m.dial(ctx, to)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", m.peers[rank], err)
	}
	life, abort := context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, abort)
	l, err := m.open(life, conn, rank)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		abort()
		_ = conn.Close()
		return nil, fmt.Errorf("link to %s: %w", m.peers[rank], err)
	}
	l.abort, l.conn = abort, conn
	return l, nil
}

func (m *grpcMesh) open(life context.Context, conn *grpc.ClientConn, rank int) (*grpcLink, error) {
	desc := &grpc.StreamDesc{StreamName: linkStream, ServerStreams: true, ClientStreams: true}
	stream, err := conn.NewStream(life, desc, "/"+ringService+"/"+linkStream, grpc.ForceCodecV2(codec{}))
	if err != nil {
		return nil, err
	}
	l := newGRPCLink(stream)
	l.closeSend, l.abort = stream.CloseSend, func() {}
	if err := l.Send(life, m.hello(rank)); err != nil && err != io.EOF {
		return nil, err
	}
	f, err := l.Recv() // also says why Send failed
	if status.Code(err) == codes.Internal {
		return nil, fmt.Errorf("%w: is the peer's gRPC server made with allreduce.ServerOptions?", err)
	}
	if err != nil {
		return nil, err
	}
	defer f.Free()
	h, err := parse(f)
	if err != nil {
		return nil, err
	}
	want := m.id.fenced(view.Position{}, Fence{})
	if h.kind == kindHello && h.run == want.run && h.view == want.view && h.ring > want.ring {
		m.server.named(h.run, h.view, h.ring)
		return nil, fmt.Errorf("%w: rank %d is at ring %d", ErrOver, rank, h.ring)
	}
	if err := h.sameRing(&want); err != nil {
		return nil, err
	}
	if h.kind != kindHello || int(h.from) != rank || int(h.hop) != m.id.Rank {
		return nil, fmt.Errorf("%w: rank %d answers rank %d", ErrFenced, h.from, h.hop)
	}
	return l, nil
}

// accept waits for the link from a lower rank.
func (m *grpcMesh) accept(ctx context.Context, rank int) (Link, error) {
	key := linkKey{hashRun(m.id.Run), m.id.View, m.id.Ring, rank, m.id.Rank}
	meet, err := m.server.arrive(key, 0)
	if err != nil {
		return nil, err
	}
	defer m.server.leave(key, 0)
	select {
	case l := <-meet.link:
		if err := l.Send(ctx, m.hello(rank)); err != nil {
			l.abort()
			return nil, err
		}
		return l, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// grpcLink is one end of a stream.
type grpcLink struct {
	stream interface {
		SendMsg(any) error
		RecvMsg(any) error
	}
	sent atomic.Int64

	sending   turn // held by who calls SendMsg or closeSend; guards closed
	closed    bool
	receiving turn   // held by who calls RecvMsg
	abort     func() // ends both directions at once
	closeSend func() error
	conn      *grpc.ClientConn // with closeSend, of the member that dialled
	once      *once
}

func newGRPCLink(stream interface {
	SendMsg(any) error
	RecvMsg(any) error
},
) *grpcLink {
	return &grpcLink{stream: stream, sending: newTurn(), receiving: newTurn(), once: newOnce()}
}

// answer tells who asked for a link, by h, that the members are at another ring.
func (l *grpcLink) answer(h *header, ring uint32) error {
	a := header{kind: kindHello, run: h.run, view: h.view, ring: ring, from: h.hop, hop: h.from}
	f := newFrame(0)
	f.finish(&a)
	return l.Send(context.Background(), f)
}

func (l *grpcLink) Send(ctx context.Context, f Frame) error {
	n := f.Len()
	stop := context.AfterFunc(ctx, l.abort)
	l.sending.take()
	defer l.sending.give()
	if l.closed {
		stop()
		f.Free()
		return io.ErrClosedPipe
	}
	err := l.stream.SendMsg(&wire{frame: f})
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		l.sent.Add(int64(wireBytes(n)))
	}
	return err
}

// wireBytes is what a message of n bytes takes on the connection: five bytes in front of it, nine in front of each
// HTTP/2 frame.
func wireBytes(n int) int {
	n += 5
	return n + 9*ceilDiv(n, dataBytes)
}

func (l *grpcLink) Recv() (Frame, error) {
	l.receiving.take()
	defer l.receiving.give()
	var w wire
	err := l.stream.RecvMsg(&w)
	return w.frame, err
}

// Close half-closes the stream if this end can, and waits for the other to do the same: who dialled sends an end of
// stream and awaits that of the server, whose end is that serve returns, after the end of the dialler.
func (l *grpcLink) Close(ctx context.Context) error {
	defer context.AfterFunc(ctx, l.abort)()
	l.once.do(func() {
		l.sending.take()
		if l.closed = true; l.closeSend != nil {
			_ = l.closeSend()
		}
		l.sending.give()
		for {
			f, err := l.Recv()
			if err != nil {
				break
			}
			f.Free()
		}
		l.abort()
		if l.conn != nil {
			_ = l.conn.Close()
		}
	})
	return nil
}

func (l *grpcLink) Sent() int64 { return l.sent.Load() }

// wire is what gRPC takes for a message.
type wire struct{ frame Frame }

// codec hands frames to gRPC as they are, and leaves all else to protobuf.
type codec struct{}

func (codec) Name() string { return "torc-frame" }

// smallPart is the size up to which gRPC does not tell when it is done with a buffer.
const smallPart = 1 << 10

// Marshal hands over the parts of the frame. gRPC calls Put of each when its bytes are written.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	w, ok := v.(*wire)
	if !ok {
		return encoding.GetCodecV2(proto.Name).Marshal(v)
	}
	f := w.frame
	out := make(mem.BufferSlice, 1, 1+len(f.parts))
	out[0] = mem.SliceBuffer(f.head)
	for i := range f.parts {
		if p := f.parts[i]; cap(p) <= smallPart {
			out = append(out, mem.SliceBuffer(slices.Clone(p)))
		} else {
			out = append(out, mem.NewBuffer(&f.parts[i], returner(f.Ref())))
		}
	}
	f.Free()
	return out, nil
}

// returner is the pool of a part that was handed to gRPC: what comes back frees one reference to the frame.
type returner Frame

func (returner) Get(int) *[]byte { panic("allreduce: a frame's memory is not for others") }
func (r returner) Put(*[]byte)   { Frame(r).Free() }

// Unmarshal makes a frame of the buffers that gRPC read into.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	w, ok := v.(*wire)
	if !ok {
		return encoding.GetCodecV2(proto.Name).Unmarshal(data, v)
	}
	f := Frame{head: make([]byte, headerBytes), parts: make([][]byte, 0, len(data)), mem: &counted{free: data.Free}}
	f.head = f.head[:data.CopyTo(f.head)]
	skip := len(f.head)
	for _, b := range data {
		p := b.ReadOnlyData()
		n := min(skip, len(p))
		if skip -= n; n < len(p) {
			f.parts = append(f.parts, p[n:])
		}
	}
	data.Ref()
	f.mem.refs.Store(1)
	w.frame = f
	return nil
}

// dataPool keeps the buffers of HTTP/2 frames. Unlike gRPC's own it does not clear them: they are read into next.
type dataPool struct{ free sync.Pool }

func (p *dataPool) Get(n int) *[]byte {
	if n > dataBytes {
		b := make([]byte, n)
		return &b
	}
	b, ok := p.free.Get().(*[]byte)
	if !ok {
		full := make([]byte, dataBytes)
		b = &full
	}
	*b = (*b)[:n]
	return b
}

func (p *dataPool) Put(b *[]byte) {
	if cap(*b) >= dataBytes {
		p.free.Put(b)
	}
}
