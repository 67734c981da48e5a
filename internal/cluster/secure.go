package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/internal/trust"
)

// Caller is who is at the other end of a connection.
type Caller struct {
	credentials.CommonAuthInfo
	trust.Peer
	// Refused says why what the caller showed was not believed; its Role is then trust.Nobody.
	Refused error
}

// AuthType is part of credentials.AuthInfo.
func (Caller) AuthType() string { return "torc" }

// CallerOf says who makes a call, on a server made with Guard. It is false where connections carry no trust.
func CallerOf(ctx context.Context) (Caller, bool) {
	p, ok := grpcpeer.FromContext(ctx)
	if !ok {
		return Caller{}, false
	}
	c, ok := p.AuthInfo.(Caller)
	return c, ok
}

// shake are gRPC's transport credentials over a wallet: TLS 1.3 with certificates on both sides, or the credentials of a
// unix socket.
type shake struct {
	wallet    *trust.Wallet
	accept    func(trust.Identity) error // of a client: whether this is the server it wants
	strangers *strangers                 // of a server

	mu      sync.Mutex                       // guards what follows, which is of a client
	refused error                            // why the last handshake failed for good
	waiting map[*context.CancelFunc]struct{} // calls to end when one does
}

func (s *shake) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}
func (s *shake) Clone() credentials.TransportCredentials { return s }
func (s *shake) OverrideServerName(string) error         { return nil }

// config is what both sides of TLS have in common. Certificates are checked by the wallet, which knows roles, names and
// revocations; the library's own check, by host name, is off.
func (s *shake) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, InsecureSkipVerify: true, SessionTicketsDisabled: true,
		DynamicRecordSizingDisabled: true, // small records first would suit a browser
		ClientAuth:                  tls.RequestClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if c := s.wallet.Certificate(); c != nil {
				return c, nil
			}
			return nil, errors.New("this process has no certificate yet")
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if c := s.wallet.Certificate(); c != nil {
				return c, nil
			}
			return &tls.Certificate{}, nil // whoever has none yet may still join
		},
	}
}

var private = credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}

func localCaller() Caller {
	return Caller{private, trust.Peer{Identity: trust.Identity{Role: trust.Local, Name: "process of this user"}}, nil}
}

// ClientHandshake checks the server before anything is sent to it.
func (s *shake) ClientHandshake(ctx context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, caller, err := s.meet(ctx, raw)
	s.note(err)
	if err != nil {
		_ = raw.Close()
		return nil, nil, err
	}
	return conn, caller, nil
}

func (s *shake) meet(ctx context.Context, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if _, ok := raw.(*net.UnixConn); ok {
		if err := ours(raw); err != nil {
			return nil, nil, fmt.Errorf("unix socket %s: %w", raw.RemoteAddr(), err)
		}
		return raw, localCaller(), nil
	}
	var p trust.Peer
	conf := s.config()
	conf.VerifyConnection = func(state tls.ConnectionState) (err error) {
		if p, err = s.wallet.Verify(state.PeerCertificates); err != nil {
			return err
		}
		return s.accept(p.Identity)
	}
	below := widen(raw)
	conn := tls.Client(below, conf)
	if err := conn.HandshakeContext(ctx); err != nil {
		var plain tls.RecordHeaderError
		if errors.As(err, &plain) {
			err = refusedError{fmt.Sprintf("%s serves without TLS: is it torc's port? a coordinator that was started with --insecure wants --insecure here too", raw.RemoteAddr())}
		}
		return nil, nil, err
	}
	held, err := s.wallet.Watch(p, raw)
	if err != nil {
		return nil, nil, err
	}
	return &known{conn, below, held}, Caller{private, p, nil}, nil
}

// refusedError is an error whose text is for people and that calling again does not mend.
type refusedError struct{ text string }

func (e refusedError) Error() string        { return e.text }
func (e refusedError) Is(target error) bool { return target == trust.ErrRefused }

// ServerHandshake lets everybody in who speaks TLS 1.3, and knows afterwards who it is: what a caller may do is decided
// call by call, so that one who is refused learns why.
func (s *shake) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if _, ok := raw.(*net.UnixConn); ok {
		if err := ours(raw); err != nil {
			return nil, nil, fmt.Errorf("unix socket: %w", err)
		}
		return raw, localCaller(), nil
	}
	leave, err := s.strangers.enter(raw.RemoteAddr())
	if err != nil {
		return nil, nil, err
	}
	below := widen(raw)
	conn := tls.Server(below, s.config())
	if err := conn.Handshake(); err != nil {
		leave()
		return nil, nil, err
	}
	p, refused := s.wallet.Verify(conn.ConnectionState().PeerCertificates)
	if refused == nil {
		var held *trust.Watched
		if held, refused = s.wallet.Watch(p, raw); refused == nil {
			leave()
			return &known{conn, below, held}, Caller{private, p, nil}, nil
		}
	}
	p = trust.Peer{Identity: trust.Identity{Role: trust.Nobody, Name: "unknown"}}
	return newStranger(conn, leave), Caller{private, p, refused}, nil
}

// known is a connection with somebody whose certificate was checked.
type known struct {
	*tls.Conn
	below *wide
	held  *trust.Watched
}

func (k *known) Write(p []byte) (int, error) { return k.below.through(k.Conn, p) }

func (k *known) Close() error {
	k.held.Forget()
	return k.Conn.Close()
}

// note keeps why a handshake failed, if trying again will not help, and ends the calls that wait for it.
func (s *shake) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused = nil; !errors.Is(err, trust.ErrRefused) {
		return
	}
	s.refused = err
	for cancel := range s.waiting {
		(*cancel)()
	}
}

// enter lets note end a call.
func (s *shake) enter(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting[&cancel] = struct{}{}
	return ctx, func() {
		s.mu.Lock()
		delete(s.waiting, &cancel)
		s.mu.Unlock()
		cancel()
	}
}

// explain is why a call failed: the reason that the handshake had, if it was that.
func (s *shake) explain(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		if s.refused != nil {
			return status.Error(codes.PermissionDenied, s.refused.Error())
		}
	}
	return err
}

// Secure are the options with which Dial shows what the wallet has and calls only a server that accept has nothing
// against.
func Secure(w *trust.Wallet, accept func(trust.Identity) error) []grpc.DialOption {
	s := &shake{wallet: w, accept: accept, waiting: map[*context.CancelFunc]struct{}{}}
	return []grpc.DialOption{
		grpc.WithTransportCredentials(s),
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			ctx, leave := s.enter(ctx)
			defer leave()
			return s.explain(call(ctx, method, req, reply, conn, opts...))
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			stream, err := open(ctx, desc, conn, method, opts...)
			return stream, s.explain(err)
		}),
	}
}

// AcceptRole wants a server of this role.
func AcceptRole(r trust.Role) func(trust.Identity) error {
	return func(id trust.Identity) error {
		if id.Role != r {
			return refusedError{fmt.Sprintf("%s answers instead of a %s: check the address", id, r)}
		}
		return nil
	}
}

// AcceptNode wants the node of this name.
func AcceptNode(name string) func(trust.Identity) error {
	return func(id trust.Identity) error {
		if want := (trust.Identity{Role: trust.Node, Name: name}); id != want {
			return refusedError{fmt.Sprintf("%s answers where %s should be: its certificate is not that of the neighbour in the view", id, want)}
		}
		return nil
	}
}

// AcceptMember wants any node, or the coordinator.
func AcceptMember(id trust.Identity) error {
	if id.Role != trust.Node && id.Role != trust.Coordinator {
		return refusedError{fmt.Sprintf("%s answers where a node should be", id)}
	}
	return nil
}

const (
	// strangerBytes and strangerTime are what somebody without a certificate may send and how long he may take: a join
	// needs two kilobytes and a round trip.
	strangerBytes = 64 << 10
	strangerTime  = 30 * time.Second
	// maxStrangers and maxStrangersPerHost are how many connections may be under way that have proven nothing.
	maxStrangers        = 256
	maxStrangersPerHost = 32
)

// strangers counts connections of those who have proven nothing.
type strangers struct {
	mu    sync.Mutex // guards what follows
	hosts map[string]int
	all   int
}

func (s *strangers) enter(addr net.Addr) (leave func(), err error) {
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		host = addr.String()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= maxStrangers || s.hosts[host] >= maxStrangersPerHost {
		return nil, fmt.Errorf("too many connections without a certificate: %d, %d of them from %s", s.all, s.hosts[host], host)
	}
	s.all++
	s.hosts[host]++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if s.hosts[host]--; s.hosts[host] == 0 {
			delete(s.hosts, host)
		}
	}), nil
}

// stranger is a connection with somebody who has proven nothing: little may come by it, and not for long.
type stranger struct {
	*tls.Conn
	left  int // bytes; touched by the one reader of the connection
	late  *time.Timer
	leave func()
}

func newStranger(conn *tls.Conn, leave func()) *stranger {
	return &stranger{Conn: conn, left: strangerBytes, leave: leave, late: time.AfterFunc(strangerTime, func() { _ = conn.NetConn().Close() })}
}

func (s *stranger) Read(p []byte) (int, error) {
	if s.left <= 0 {
		return 0, fmt.Errorf("a caller without a certificate sent more than %d bytes", strangerBytes)
	}
	n, err := s.Conn.Read(p[:min(len(p), s.left)])
	s.left -= n
	return n, err
}

func (s *stranger) Close() error {
	s.late.Stop()
	s.leave()
	return s.Conn.Close()
}
