package cluster

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/trust"
)

// echo is a coordinator that says yes to everything.
type echo struct {
	pb.UnimplementedControlServer
}

func (echo) Runs(context.Context, *pb.RunsRequest) (*pb.RunsReply, error) {
	return &pb.RunsReply{}, nil
}

func (echo) Stop(context.Context, *pb.StopRequest) (*pb.StopReply, error) {
	return &pb.StopReply{}, nil
}

func (echo) Join(context.Context, *pb.JoinRequest) (*pb.JoinReply, error) {
	return &pb.JoinReply{}, nil
}

func (echo) Attend(s grpc.BidiStreamingServer[pb.Beat, pb.Order]) error {
	for {
		if _, err := s.Recv(); err != nil {
			return err
		}
		if err := s.Send(&pb.Order{}); err != nil {
			return err
		}
	}
}

var echoRules = Rules{
	"/torc.v1.Control/Runs":   {trust.Viewer, trust.Operator},
	"/torc.v1.Control/Stop":   {trust.Operator},
	"/torc.v1.Control/Join":   {trust.Node},
	"/torc.v1.Control/Attend": {trust.Node},
}

// realm is a cluster's CA with a server, by a clock that the test turns before anything runs.
type realm struct {
	*trust.Authority
	t    *testing.T
	addr string
}

func newRealm(t *testing.T, now func() time.Time) *realm {
	t.Helper()
	a, err := trust.Open(trust.Config{Dir: t.TempDir(), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	r := &realm{Authority: a, t: t}
	l, addr, err := Listen("127.0.0.1:0", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	r.addr = addr
	server := NewServer(Guard(a.Wallet(), echoRules)...)
	pb.RegisterControlServer(server, echo{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, server, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

// wallet is that of a new identity of this cluster.
func (r *realm) wallet(id trust.Identity) *trust.Wallet {
	r.t.Helper()
	key, csr := newRequest(r.t)
	var leaf *x509.Certificate
	var err error
	if id.Role == trust.Node {
		leaf, err = r.Join(trust.JoinRequest{Name: id.Name, CSR: csr}, true)
	} else {
		leaf, err = r.Person(id, csr, time.Hour)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	w := trust.NewWallet(nil)
	if err := w.Keep(key, leaf, r.CA()); err != nil {
		r.t.Fatal(err)
	}
	return w
}

func newRequest(t *testing.T) (crypto.Signer, []byte) {
	t.Helper()
	key, err := trust.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := trust.Request(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, csr
}

// client calls the realm's server with what is in a wallet.
func (r *realm) client(w *trust.Wallet) pb.ControlClient {
	r.t.Helper()
	return connect(r.t, r.addr, Secure(w, AcceptRole(trust.Coordinator))...)
}

func connect(t *testing.T, addr string, opts ...grpc.DialOption) pb.ControlClient {
	t.Helper()
	conn, err := Dial(addr, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return pb.NewControlClient(conn)
}

func wantDenied(t *testing.T, what string, err error, says string) {
	t.Helper()
	if status.Code(err) != codes.PermissionDenied || !strings.Contains(status.Convert(err).Message(), says) {
		t.Errorf("%s: got %v, want PermissionDenied with %q", what, err, says)
	}
}

func TestRolesDecideWhoMayCallWhat(t *testing.T) {
	r := newRealm(t, nil)
	viewer := r.client(r.wallet(trust.Identity{Role: trust.Viewer, Name: "eve"}))
	operator := r.client(r.wallet(trust.Identity{Role: trust.Operator, Name: "olga"}))
	ada := r.client(r.wallet(trust.Identity{Role: trust.Node, Name: "ada"}))
	ctx := t.Context()
	runs := func(c pb.ControlClient) error { _, err := c.Runs(ctx, &pb.RunsRequest{}); return err }
	stop := func(c pb.ControlClient) error { _, err := c.Stop(ctx, &pb.StopRequest{}); return err }
	join := func(c pb.ControlClient) error {
		_, err := c.Join(ctx, &pb.JoinRequest{Node: &pb.NodeID{Name: "ada"}})
		return err
	}
	for what, err := range map[string]error{
		"a viewer looks": runs(viewer), "an operator looks": runs(operator), "an operator stops": stop(operator), "a node joins": join(ada),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	wantDenied(t, "a viewer stops", stop(viewer), "viewer eve may not call /torc.v1.Control/Stop: that is for operator")
	wantDenied(t, "a node stops", stop(ada), "that is for operator")
	wantDenied(t, "an operator joins", join(operator), "that is for node")
	_, err := operator.Logs(ctx, &pb.LogsRequest{})
	if err == nil {
		stream, _ := operator.Logs(ctx, &pb.LogsRequest{})
		_, err = stream.Recv()
	}
	wantDenied(t, "a method without a rule", err, "nobody may call /torc.v1.Control/Logs")
}

func TestStrangersLearnWhyTheyAreRefused(t *testing.T) {
	now := time.Now()
	r := newRealm(t, func() time.Time { return now })
	other := newRealm(t, nil)
	ctx := t.Context()
	runs := func(c pb.ControlClient) error { _, err := c.Runs(ctx, &pb.RunsRequest{}); return err }

	// Without a certificate, though knowing the CA.
	w := trust.NewWallet(nil)
	w.Expect(trust.PinOf(r.CA()))
	wantDenied(t, "no certificate", runs(r.client(w)), "no certificate was shown")
	// Of another cluster, and each side finds out for itself.
	stranger := other.wallet(trust.Identity{Role: trust.Operator, Name: "olga"})
	wantDenied(t, "another cluster's server", runs(r.client(stranger)), "belongs to another cluster")
	blind := trust.NewWallet(nil)
	key, csr := newRequest(t)
	leaf, err := other.Person(trust.Identity{Role: trust.Operator, Name: "olga"}, csr, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := blind.Keep(key, leaf, r.CA()); err != nil { // another's certificate, this one's CA
		t.Fatal(err)
	}
	wantDenied(t, "another cluster's certificate", runs(r.client(blind)), "the certificate of operator olga belongs to another cluster")
	// Nothing at all.
	wantDenied(t, "nothing", runs(r.client(trust.NewWallet(nil))), "coordinator identity create")
	// Waiting for the server to be ready does not outlast a refusal.
	_, err = r.client(stranger).Runs(ctx, &pb.RunsRequest{}, grpc.WaitForReady(true))
	wantDenied(t, "waiting", err, "belongs to another cluster")
}

func TestExpiredAndRevokedCertificatesAreRefused(t *testing.T) {
	now := time.Now().Add(-100 * 24 * time.Hour)
	r := newRealm(t, func() time.Time { return now })
	old := r.wallet(trust.Identity{Role: trust.Operator, Name: "olga"})
	now = time.Now()
	if err := r.RenewOwn(); err != nil {
		t.Fatal(err)
	}
	_, err := r.client(old).Runs(t.Context(), &pb.RunsRequest{})
	wantDenied(t, "expired", err, "the certificate of operator olga expired at")

	ada := r.client(r.wallet(trust.Identity{Role: trust.Node, Name: "ada"}))
	stream, err := ada.Attend(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	beat := &pb.Beat{Node: &pb.NodeID{Name: "ada"}}
	if err := stream.Send(beat); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	if err := r.Revoke(trust.Identity{Role: trust.Node, Name: "ada"}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err == nil { // ends with the connection, though nobody hung up
		t.Error("a revoked node goes on attending")
	}
	_, err = ada.Join(t.Context(), &pb.JoinRequest{Node: &pb.NodeID{Name: "ada"}}, grpc.WaitForReady(true))
	wantDenied(t, "revoked", err, "the certificate of node ada was revoked")
}

func TestANodeSpeaksInItsOwnNameOnly(t *testing.T) {
	r := newRealm(t, nil)
	ada := r.client(r.wallet(trust.Identity{Role: trust.Node, Name: "ada"}))
	_, err := ada.Join(t.Context(), &pb.JoinRequest{Node: &pb.NodeID{Name: "bob"}})
	wantDenied(t, "join", err, `node ada speaks in the name of node "bob"`)
	stream, err := ada.Attend(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ada", "bob"} { // also later in a stream
		if err := stream.Send(&pb.Beat{Node: &pb.NodeID{Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	wantDenied(t, "attend", err, "a certificate counts for its own name only")
}

func TestAServerMustBeWhoItShouldBe(t *testing.T) {
	r := newRealm(t, nil) // shows the coordinator's certificate
	ada := r.wallet(trust.Identity{Role: trust.Node, Name: "ada"})
	_, err := connect(t, r.addr, Secure(ada, AcceptNode("bob"))...).Runs(t.Context(), &pb.RunsRequest{})
	wantDenied(t, "another neighbour", err, "coordinator coordinator answers where node bob should be")
	for _, c := range []struct {
		id trust.Identity
		ok bool
	}{
		{trust.Identity{Role: trust.Node, Name: "bob"}, true},
		{trust.Identity{Role: trust.Node, Name: "cleo"}, false},
		{trust.Identity{Role: trust.Operator, Name: "bob"}, false},
	} {
		if err := AcceptNode("bob")(c.id); (err == nil) != c.ok {
			t.Errorf("AcceptNode(bob)(%v) = %v", c.id, err)
		}
	}
	if AcceptMember(trust.Identity{Role: trust.Viewer, Name: "eve"}) == nil {
		t.Error("a viewer passes for a member")
	}
}

func TestOversizedMessagesAreRefused(t *testing.T) {
	r := newRealm(t, nil)
	operator := r.client(r.wallet(trust.Identity{Role: trust.Operator, Name: "olga"}))
	_, err := operator.Stop(t.Context(), &pb.StopRequest{Run: strings.Repeat("x", maxTextBytes+1)})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "StopRequest.run has 65537 bytes") {
		t.Errorf("a long field: %v", err)
	}
	labels := map[string]string{}
	for i := range maxMapItems + 1 {
		labels[strings.Repeat("k", i+1)] = "v"
	}
	for what, m := range map[string]any{
		"labels":         &pb.Beat{Labels: labels},
		"a long label":   &pb.Beat{Labels: map[string]string{"k": strings.Repeat("v", maxTextBytes+1)}},
		"steps":          &pb.Beat{Steps: make([]*pb.StepReport, maxListItems+1)},
		"a line of log":  &pb.Beat{Logs: []*pb.LogLine{{Text: strings.Repeat("x", maxTextBytes+1)}}},
		"revoked":        &pb.TrustState{Revoked: []string{strings.Repeat("x", maxTextBytes+1)}},
		"a node's name":  &pb.JoinRequest{Node: &pb.NodeID{Name: strings.Repeat("x", maxTextBytes+1)}},
		"owners of many": &pb.View{Owner: make([]int32, maxListItems+1)},
	} {
		if err := Bounded(m); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: got %v", what, err)
		}
	}
	if err := Bounded(&pb.Chunk{Data: make([]byte, 1<<20)}); err != nil {
		t.Errorf("a chunk: %v", err)
	}
}

// Whoever has proven nothing cannot make the server keep what he sends.
func TestAStrangerIsCutOffAfterALittle(t *testing.T) {
	r := newRealm(t, nil)
	conn, err := tls.Dial("tcp", r.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	preface := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	ping := "\x00\x00\x08\x06\x00\x00\x00\x00\x00abcdefgh"
	if _, err := io.WriteString(conn, preface); err != nil {
		t.Fatal(err)
	}
	sent := 0
	go func() { _, _ = io.Copy(io.Discard, conn) }() // ends with the connection
	for ; sent < 64*strangerBytes; sent += len(ping) {
		if _, err := io.WriteString(conn, ping); err != nil {
			return
		}
	}
	t.Errorf("a stranger could send %d bytes", sent)
}

func TestStrangersAreCounted(t *testing.T) {
	s := &strangers{hosts: map[string]int{}}
	from := func(host string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(host), Port: 1} }
	var leave func()
	for range maxStrangersPerHost {
		var err error
		if leave, err = s.enter(from("10.0.0.1")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.enter(from("10.0.0.1")); err == nil {
		t.Error("one host may have any number of connections")
	}
	if _, err := s.enter(from("10.0.0.2")); err != nil {
		t.Errorf("one host keeps another out: %v", err)
	}
	leave()
	leave() // counts once
	if _, err := s.enter(from("10.0.0.1")); err != nil {
		t.Error(err)
	}
	if _, err := s.enter(from("10.0.0.1")); err == nil {
		t.Error("a connection was forgotten twice")
	}
}

func TestPlaintextAndTLSExplainThemselves(t *testing.T) {
	l, addr, err := Listen("127.0.0.1:0", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	plain := NewServer()
	pb.RegisterControlServer(plain, echo{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, plain, l) }()
	defer func() { cancel(); <-done }()
	r := newRealm(t, nil)
	_, err = connect(t, addr, Secure(r.wallet(trust.Identity{Role: trust.Viewer, Name: "eve"}), AcceptRole(trust.Coordinator))...).Runs(ctx, &pb.RunsRequest{})
	wantDenied(t, "TLS to an insecure coordinator", err, "--insecure")
	if _, err := connect(t, r.addr).Runs(ctx, &pb.RunsRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("plaintext to a secure coordinator: %v", err)
	}
}

func TestProcessesOfOneUserKnowEachOtherByTheirSocket(t *testing.T) {
	a, err := trust.Open(trust.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	tcp, addr, err := Listen("127.0.0.1:0", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	listeners := append(ListenLocals(addr, tcp), tcp)
	if runtime.GOOS != "linux" {
		return // no abstract unix sockets
	}
	server := NewServer(Guard(a.Wallet(), echoRules)...)
	pb.RegisterControlServer(server, echo{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, server, listeners...) }()
	defer func() { cancel(); <-done }()
	target := LocalTarget(ctx, addr)
	if back, ok := IsLocal(target); !ok || back != addr {
		t.Fatalf("LocalTarget(%s) = %q", addr, target)
	}
	client := connect(t, target, Secure(trust.NewWallet(nil), AcceptRole(trust.Coordinator))...)
	if _, err := client.Stop(ctx, &pb.StopRequest{}); err != nil {
		t.Errorf("a process of this user: %v", err)
	}
	if got := LocalTarget(ctx, "127.0.0.1:1"); got != "" {
		t.Errorf("nobody's socket is %q", got)
	}
}

// proxy passes TCP connections on to an address and keeps what goes by.
type proxy struct {
	addr string
	seen chan []byte // one per connection and direction, when it ends
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, addr, err := Listen("127.0.0.1:0", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	p := &proxy{addr, make(chan []byte, 64)} // more directions than a test has
	pass := func(dst, src net.Conn) {
		var all bytes.Buffer
		_, _ = io.Copy(io.MultiWriter(dst, &all), src)
		_ = dst.(*net.TCPConn).CloseWrite()
		p.seen <- all.Bytes()
	}
	go func() { // ends with the listener
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				return
			}
			go pass(out, in)
			go pass(in, out)
		}
	}()
	return p
}

func TestTheWireShowsNothing(t *testing.T) {
	r := newRealm(t, nil)
	w := r.wallet(trust.Identity{Role: trust.Operator, Name: "olga"})
	secret := "the-name-of-a-run-that-nobody-should-read"
	capture := func(addr string, opts ...grpc.DialOption) []byte {
		p := newProxy(t, addr)
		conn, err := Dial(p.addr, opts...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pb.NewControlClient(conn).Stop(t.Context(), &pb.StopRequest{Run: secret}); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		return append(<-p.seen, <-p.seen...)
	}
	seen := capture(r.addr, Secure(w, AcceptRole(trust.Coordinator))...)
	for _, text := range []string{secret, "PRI * HTTP/2.0", "torc.v1", "olga"} {
		if bytes.Contains(seen, []byte(text)) {
			t.Errorf("%q is on the wire", text)
		}
	}
	// The same without trust shows that the proxy would have seen it.
	l, addr, err := Listen("127.0.0.1:0", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	plain := NewServer()
	pb.RegisterControlServer(plain, echo{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, plain, l) }()
	defer func() { cancel(); <-done }()
	if seen := capture(addr); !bytes.Contains(seen, []byte(secret)) {
		t.Error("the proxy does not see what is on the wire")
	}
}

func FuzzServerReadsAnything(f *testing.F) {
	a, err := trust.Open(trust.Config{Dir: f.TempDir()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	f.Add([]byte{22, 3, 1, 0, 5, 1, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, sent []byte) {
		s := &shake{wallet: a.Wallet(), strangers: &strangers{hosts: map[string]int{}}}
		here, there := net.Pipe()
		go func() {
			_, _ = there.Write(sent)
			_ = there.Close()
		}()
		go func() { _, _ = io.Copy(io.Discard, there) }()
		if _, _, err := s.ServerHandshake(here); err == nil {
			t.Errorf("%q is a handshake", sent)
		}
		_ = here.Close()
		if s.strangers.all != 0 {
			t.Errorf("%d strangers are left", s.strangers.all)
		}
	})
}
