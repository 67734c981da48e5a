package allreduce

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
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
	}
}

// Server takes the links that other members open and hands them to the rings of this process.
type Server struct {
	pool pool

	mu      sync.Mutex // guards the fields below
	meets   map[linkKey]*meeting
	waiting int // incoming links without a ring
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
	users int
}

// NewServer returns a Server without links.
func NewServer() *Server { return &Server{meets: make(map[linkKey]*meeting)} }

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
	l := newGRPCLink(stream, &s.pool)
	over := make(chan struct{})
	l.abort = sync.OnceFunc(func() { close(over) })
	f, err := l.Recv()
	if err != nil {
		return err
	}
	h, err := parse(f.Bytes())
	f.Free()
	if err != nil || h.kind != kindHello {
		return status.Errorf(codes.InvalidArgument, "read hello: kind %d: %v", h.kind, err)
	}
	key := linkKey{h.run, h.view, h.ring, int(h.from), int(h.hop)}
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
		m = &meeting{link: make(chan *grpcLink)}
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
// DialOptions, which belongs to the link and is closed with it.
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

// hello is the first frame of a link from this member to rank.
func (m *grpcMesh) hello(rank int) Frame {
	h := header{kind: kindHello, run: hashRun(m.id.Run), view: m.id.View, ring: m.id.Ring, from: uint32(m.id.Rank), hop: uint32(rank)}
	f := newFrame(headerBytes, nil)
	f.finish(&h)
	return f
}

// call opens the link to a higher rank.
func (m *grpcMesh) call(ctx context.Context, rank int) (Link, error) {
	conn, err := m.dial(ctx, m.peers[rank])
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
	l := newGRPCLink(stream, &m.server.pool)
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
	h, err := parse(f.Bytes())
	if err != nil {
		return nil, err
	}
	want := m.id.fenced(view.Position{}, Fence{})
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
	pool *pool
	sent atomic.Int64

	sending   sync.Mutex // held by who calls SendMsg or closeSend
	receiving sync.Mutex // held by who calls RecvMsg
	abort     func()     // ends both directions at once
	closeSend func() error
	conn      *grpc.ClientConn // with closeSend, of the member that dialled
	once      sync.Once
}

func newGRPCLink(stream interface {
	SendMsg(any) error
	RecvMsg(any) error
}, p *pool,
) *grpcLink {
	return &grpcLink{stream: stream, pool: p}
}

func (l *grpcLink) Send(ctx context.Context, f Frame) error {
	n := len(f.Bytes())
	stop := context.AfterFunc(ctx, l.abort)
	l.sending.Lock()
	defer l.sending.Unlock()
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
	l.receiving.Lock()
	defer l.receiving.Unlock()
	w := wire{pool: l.pool}
	err := l.stream.RecvMsg(&w)
	return w.frame, err
}

// Close half-closes the stream if this end can, and waits for the other to do the same: who dialled sends an end of
// stream and awaits that of the server, whose end is that serve returns, after the end of the dialler.
func (l *grpcLink) Close(ctx context.Context) error {
	defer context.AfterFunc(ctx, l.abort)()
	l.once.Do(func() {
		if l.closeSend != nil {
			l.sending.Lock() // a Send that blocks ends with ctx
			_ = l.closeSend()
			l.sending.Unlock()
		}
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
type wire struct {
	frame Frame
	pool  *pool // of what is received
}

// codec hands frames to gRPC as they are, and leaves all else to protobuf.
type codec struct{}

func (codec) Name() string { return "torc-frame" }

// Marshal hands over the frame's buffer: gRPC calls its Put when the bytes are written.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	w, ok := v.(*wire)
	if !ok {
		return encoding.GetCodecV2(proto.Name).Marshal(v)
	}
	return mem.BufferSlice{mem.NewBuffer(&w.frame.buf.data, w.frame.buf)}, nil
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	w, ok := v.(*wire)
	if !ok {
		return encoding.GetCodecV2(proto.Name).Unmarshal(data, v)
	}
	w.frame = w.pool.get(data.Len())
	data.CopyTo(w.frame.Bytes())
	return nil
}

// Get and Put make a buffer the pool of its own memory, which is how it learns that gRPC no longer needs it.
func (b *buffer) Get(int) *[]byte { panic("allreduce: a frame's buffer is not for others") }
func (b *buffer) Put(*[]byte)     { Frame{b}.Free() }
