package control

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/trust"
	"github.com/torctrain/torc/internal/view"
)

// methods are those of the services that a server was given, as rules name them.
func methods(server *grpc.Server) []string {
	var all []string
	for service, info := range server.GetServiceInfo() {
		for _, m := range info.Methods {
			all = append(all, "/"+service+"/"+m.Name)
		}
	}
	slices.Sort(all)
	return all
}

// Every method has a rule: one that is added without is refused to everybody, and this test says so first.
func TestEveryMethodHasARule(t *testing.T) {
	g := serveGuarded(t)
	server := grpc.NewServer()
	g.register(server)
	rules, served := roles(), methods(server)
	for _, m := range served {
		if rules[m] == nil {
			t.Errorf("say in roles.go who may call %s", m)
		}
	}
	const health = "/grpc.health.v1.Health/Check"
	for method, who := range rules {
		if method != health && !slices.Contains(served, method) {
			t.Errorf("roles.go has a rule for %s, which is not served", method)
		}
		open := slices.Contains([]string{"/torc.v1.Trust/Find", "/torc.v1.Trust/Join", health}, method)
		if slices.Contains(who, trust.Nobody) != open {
			t.Errorf("%s: open to callers without a certificate: %v", method, !open)
		}
	}
}

// Whoever is neither operator nor the coordinator itself is refused, over the network, whatever does not stand here.
func TestCallersDoWhatTheirRoleDoesAndNoMore(t *testing.T) {
	g := serveGuarded(t)
	server := grpc.NewServer()
	g.register(server)
	ada, err := g.enrol("ada", g.token(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		who     string
		conn    *grpc.ClientConn
		service string
		may     []string
	}{
		{"viewer eve", g.person("eve", trust.Viewer), "Control", []string{"Runs", "Status", "Follow", "Logs", "History", "Audit"}},
		{"viewer max", g.person("max", trust.Viewer), "Checkpoints", []string{"List"}},
		{"viewer zoe", g.person("zoe", trust.Viewer), "Trust", []string{"Find", "Join", "Renew"}},
		{"node ada", ada, "Control", []string{"Join", "Attend", "Fetch"}},
		{"node ada", ada, "Checkpoints", nil},
		{"node ada", ada, "Trust", []string{"Find", "Join", "Renew", "Watch"}},
	} {
		refused := 0
		for _, method := range methods(server) {
			name, ok := strings.CutPrefix(method, "/torc.v1."+c.service+"/")
			if !ok || slices.Contains(c.may, name) {
				continue
			}
			refused++
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // one that is let in waits for what is not sent
			stream, err := c.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
			if err == nil {
				err = stream.RecvMsg(&pb.Chunk{})
			}
			cancel()
			wantCode(t, err, codes.PermissionDenied, c.who+" may not call "+method)
		}
		if refused == 0 {
			t.Errorf("%s is refused nothing of %s: is it served?", c.who, c.service)
		}
	}
}

// guarded is a coordinator with trust, with an operator.
type guarded struct {
	*Server
	t         *testing.T
	authority *trust.Authority
	operator  pb.TrustClient
}

func serveGuarded(t *testing.T) *guarded {
	t.Helper()
	return serveGuardedBy(t, trust.Config{Dir: t.TempDir()})
}

func serveGuardedBy(t *testing.T, conf trust.Config) *guarded {
	t.Helper()
	a, err := trust.Open(conf)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Home: t.TempDir(), Listen: "127.0.0.1:0", Version: "test", Timing: quick, Trust: a})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	g := &guarded{Server: s, t: t, authority: a}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	g.operator = pb.NewTrustClient(g.person("olga", trust.Operator))
	return g
}

// person is a connection of somebody with that role.
func (g *guarded) person(name string, role trust.Role) *grpc.ClientConn {
	g.t.Helper()
	key, csr := newRequest(g.t)
	leaf, err := g.authority.Person(trust.Identity{Role: role, Name: name}, csr, time.Hour)
	if err != nil {
		g.t.Fatal(err)
	}
	w := trust.NewWallet(nil)
	if err := w.Keep(key, leaf, g.authority.CA()); err != nil {
		g.t.Fatal(err)
	}
	return g.dial(w)
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

func (g *guarded) dial(w *trust.Wallet) *grpc.ClientConn {
	g.t.Helper()
	conn, err := cluster.Dial(g.Addr(), cluster.Secure(w, cluster.AcceptRole(trust.Coordinator))...)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (g *guarded) token() string {
	g.t.Helper()
	reply, err := g.operator.CreateToken(g.t.Context(), &pb.CreateTokenRequest{LifetimeSeconds: 60, Uses: 1})
	if err != nil {
		g.t.Fatal(err)
	}
	return reply.Token
}

// enrol joins as node join does, over the network. Edit changes the request.
func (g *guarded) enrol(name, token string, edit func(*pb.EnrolRequest)) (*grpc.ClientConn, error) {
	g.t.Helper()
	w := trust.NewWallet(nil)
	if tok, err := trust.ParseToken(token); err == nil {
		w.Expect(tok.Pin)
	} else {
		w.Expect(trust.PinOf(g.authority.CA()))
	}
	key, csr := newRequest(g.t)
	req := &pb.EnrolRequest{
		Token: token, Node: &pb.NodeID{Name: name, Boot: 1}, Csr: csr, Addr: "127.0.0.1:1", Version: "test", Protocol: pb.Protocol,
	}
	if edit != nil {
		edit(req)
	}
	reply, err := pb.NewTrustClient(g.dial(w)).Join(g.t.Context(), req)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(reply.Certificate)
	if err != nil {
		return nil, err
	}
	if err := w.Keep(key, leaf, g.authority.CA()); err != nil {
		return nil, err
	}
	return g.dial(w), nil
}

func TestANodeJoinsByTokenOverTheNetwork(t *testing.T) {
	g := serveGuarded(t)
	token := g.token()
	conn, err := g.enrol("ada", token, nil)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := pb.NewControlClient(conn).Join(t.Context(), &pb.JoinRequest{Node: &pb.NodeID{Name: "ada", Boot: 1}, Protocol: pb.Protocol, Addr: "127.0.0.1:1"})
	if err != nil || reply.Coordinator != g.Addr() {
		t.Errorf("Control.Join = %v, %v", reply, err)
	}
	watch, err := pb.NewTrustClient(conn).Watch(t.Context(), &pb.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	state, err := watch.Recv()
	if err != nil || len(state.GossipKeys) != 1 || len(state.Revoked) != 0 {
		t.Fatalf("Watch = %v, %v", state, err)
	}

	// Revoked: told the others, and refused itself.
	bob, err := g.enrol("bob", g.token(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.operator.Revoke(t.Context(), &pb.RevokeRequest{Role: "node", Name: "bob"}); err != nil {
		t.Fatal(err)
	}
	state, err = watch.Recv()
	if err != nil || len(state.GossipKeys) != 2 || len(state.Revoked) != 1 {
		t.Errorf("after a revocation: %v, %v", state, err)
	}
	_, err = pb.NewControlClient(bob).Join(t.Context(), &pb.JoinRequest{Node: &pb.NodeID{Name: "bob"}, Protocol: pb.Protocol}, grpc.WaitForReady(true))
	wantCode(t, err, codes.PermissionDenied, "node bob was revoked")
	list, err := g.operator.Identities(t.Context(), &pb.IdentitiesRequest{})
	if err != nil || len(list.Identities) != 3 || list.Identities[2].Name != "bob" || list.Identities[2].RevokedUnix == 0 {
		t.Errorf("Identities = %v, %v", list, err)
	}
}

// A coordinator that lost its trust directory but not its CA sees who is there when they call, and can revoke them.
func TestACoordinatorThatForgotCertificatesKnowsThemAgain(t *testing.T) {
	outside := t.TempDir()
	if _, err := trust.Open(trust.Config{Dir: outside}); err != nil { // makes a CA
		t.Fatal(err)
	}
	before, err := trust.Open(trust.Config{Dir: t.TempDir(), CADir: outside})
	if err != nil {
		t.Fatal(err)
	}
	key, csr := newRequest(t)
	leaf, err := before.Join(trust.JoinRequest{Name: "bob", CSR: csr}, true)
	if err != nil {
		t.Fatal(err)
	}
	w := trust.NewWallet(nil)
	if err := w.Keep(key, leaf, before.CA()); err != nil {
		t.Fatal(err)
	}
	if err := before.Revoke(trust.Identity{Role: trust.Node, Name: "bob"}); err != nil {
		t.Fatal(err)
	}

	after := t.TempDir() // the directory that knew of it is gone
	g := serveGuardedBy(t, trust.Config{Dir: after, CADir: outside})
	conn := pb.NewControlClient(g.dial(w))
	join := func() error {
		_, err := conn.Join(t.Context(), &pb.JoinRequest{
			Node: &pb.NodeID{Name: "bob", Boot: 1}, Addr: "127.0.0.1:1", Version: "test", Protocol: pb.Protocol,
		}, grpc.WaitForReady(true))
		return err
	}
	revoke := func() error {
		_, err := g.operator.Revoke(t.Context(), &pb.RevokeRequest{Role: "node", Name: "bob"})
		return err
	}
	wantCode(t, revoke(), codes.PermissionDenied, "no certificate that counts")
	if err := join(); err != nil {
		t.Fatalf("bob was forgotten, and comes in: %v", err)
	}
	if err := revoke(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, join(), codes.PermissionDenied, "node bob was revoked")
	again, err := trust.Open(trust.Config{Dir: after, CADir: outside})
	if err != nil {
		t.Fatal(err)
	}
	if revoked := again.State().Revoked; len(revoked) != 1 {
		t.Errorf("after a restart %v are revoked, want bob's", revoked)
	}
}

func TestWhoeverMayNotJoinIsToldWhyAndLeavesNothing(t *testing.T) {
	g := serveGuarded(t)
	used := g.token()
	if _, err := g.enrol("ada", used, nil); err != nil {
		t.Fatal(err)
	}
	token := g.token()
	before := len(g.authority.Certificates())
	for _, c := range []struct {
		what, token string
		edit        func(*pb.EnrolRequest)
		code        codes.Code
		says        string
	}{
		{"no token", "", nil, codes.PermissionDenied, "a join token is needed"},
		{"a used token", used, nil, codes.PermissionDenied, "was used already, by node ada"},
		{"a live name", token, func(r *pb.EnrolRequest) { r.Node.Name = "ada" }, codes.PermissionDenied, "--replace"},
		{"the coordinator's name", token, func(r *pb.EnrolRequest) { r.Node.Name = self }, codes.PermissionDenied, "choose another --name"},
		{"no name", token, func(r *pb.EnrolRequest) { r.Node = nil }, codes.PermissionDenied, "node name"},
		{"a bad name", token, func(r *pb.EnrolRequest) { r.Node.Name = "../ada" }, codes.PermissionDenied, "node name"},
		{"another protocol", token, func(r *pb.EnrolRequest) { r.Protocol, r.Version = 7, "v9" }, codes.PermissionDenied, "(release v9) speaks protocol 7, the coordinator (release test) 1: install the same release"},
		{"no address", token, func(r *pb.EnrolRequest) { r.Addr = "" }, codes.InvalidArgument, "host:port"},
		{"a long address", token, func(r *pb.EnrolRequest) { r.Addr = strings.Repeat("x", maxAddrBytes+1) }, codes.InvalidArgument, "at most 512"},
		{"a long version", token, func(r *pb.EnrolRequest) { r.Version = strings.Repeat("x", maxVersionBytes+1) }, codes.InvalidArgument, "at most"},
		{"no request", token, func(r *pb.EnrolRequest) { r.Csr = nil }, codes.PermissionDenied, "certificate request"},
		{"half a request", token, func(r *pb.EnrolRequest) { r.Csr = r.Csr[:len(r.Csr)/2] }, codes.PermissionDenied, "certificate request"},
		{"a large request", token, func(r *pb.EnrolRequest) { r.Csr = make([]byte, 32<<10) }, codes.PermissionDenied, "at most 4096"},
		{"a long token", token, func(r *pb.EnrolRequest) { r.Token = strings.Repeat("x", 1000) }, codes.PermissionDenied, "it has 1000 characters"},
	} {
		_, err := g.enrol("bob", c.token, c.edit)
		t.Run(c.what, func(t *testing.T) { wantCode(t, err, c.code, c.says) })
	}
	if after := len(g.authority.Certificates()); after != before {
		t.Errorf("%d certificates were made for who was refused", after-before)
	}
	if _, err := g.enrol("bob", token, nil); err != nil {
		t.Errorf("the token was used up by who was refused: %v", err)
	}
}

func TestAPersonGetsTheRoleThatWasAskedFor(t *testing.T) {
	g := serveGuarded(t)
	key, csr := newRequest(t)
	reply, err := g.operator.CreateIdentity(t.Context(), &pb.CreateIdentityRequest{Name: "eve", Role: "viewer", Csr: csr, LifetimeSeconds: 3600})
	if err != nil {
		t.Fatal(err)
	}
	b, err := trust.NewBundle(key, reply.Certificate, reply.Ca)
	if err != nil {
		t.Fatal(err)
	}
	w, err := b.Wallet()
	if err != nil {
		t.Fatal(err)
	}
	conn := g.dial(w)
	viewer := pb.NewControlClient(conn)
	if _, err := viewer.Status(t.Context(), &pb.StatusRequest{}); err != nil {
		t.Errorf("a viewer looks: %v", err)
	}
	_, err = viewer.Launch(t.Context(), &pb.LaunchRequest{})
	wantCode(t, err, codes.PermissionDenied, "viewer eve may not call /torc.v1.Control/Launch: that is for operator")
	_, err = pb.NewTrustClient(conn).CreateToken(t.Context(), &pb.CreateTokenRequest{LifetimeSeconds: 60})
	wantCode(t, err, codes.PermissionDenied, "that is for operator")
	_, err = pb.NewTrustClient(conn).CreateIdentity(t.Context(), &pb.CreateIdentityRequest{Name: "eve", Role: "operator", Csr: csr, LifetimeSeconds: 60})
	wantCode(t, err, codes.PermissionDenied, "that is for operator")
	_, err = g.operator.CreateIdentity(t.Context(), &pb.CreateIdentityRequest{Name: "eve", Role: "node", Csr: csr, LifetimeSeconds: 60})
	wantCode(t, err, codes.PermissionDenied, "use viewer or operator")
	// Renewal keeps name and role, whatever is asked.
	renewed, err := pb.NewTrustClient(conn).Renew(t.Context(), &pb.RenewRequest{Csr: csr})
	if err != nil {
		t.Fatal(err)
	}
	next, err := trust.NewBundle(key, renewed.Certificate, renewed.Ca)
	if err != nil {
		t.Fatal(err)
	}
	if w, err := next.Wallet(); err != nil || w.Own() != (trust.Identity{Role: trust.Viewer, Name: "eve"}) {
		t.Errorf("renewed to %v, %v", w.Own(), err)
	}
}

func TestTokensAreListedAndDeletedWithoutTheirSecret(t *testing.T) {
	g := serveGuarded(t)
	token := g.token()
	list, err := g.operator.Tokens(t.Context(), &pb.TokensRequest{})
	if err != nil || len(list.Tokens) != 1 || strings.Contains(list.String(), strings.Split(token, ".")[2]) {
		t.Fatalf("Tokens = %v, %v", list, err)
	}
	if _, err := g.operator.DeleteToken(t.Context(), &pb.DeleteTokenRequest{Id: list.Tokens[0].Id}); err != nil {
		t.Fatal(err)
	}
	_, err = g.enrol("ada", token, nil)
	wantCode(t, err, codes.PermissionDenied, "does not know this join token")
	for _, seconds := range []int64{0, -5, 1 << 62} {
		_, err := g.operator.CreateToken(t.Context(), &pb.CreateTokenRequest{LifetimeSeconds: seconds})
		wantCode(t, err, codes.PermissionDenied, "token lifetime")
	}
	_, err = g.operator.CreateToken(t.Context(), &pb.CreateTokenRequest{LifetimeSeconds: 60, Uses: -1})
	wantCode(t, err, codes.PermissionDenied, "token may be used -1 times")
}

func TestAttemptsToJoinAreLimitedPerHost(t *testing.T) {
	a, now := newAttempts(), time.Unix(1<<31, 0)
	for i := range hostAttemptsAtOnce {
		if !a.allow("10.0.0.1", now) {
			t.Fatalf("attempt %d is refused", i)
		}
	}
	if a.allow("10.0.0.1", now) {
		t.Error("a host may try as often as it likes")
	}
	if !a.allow("10.0.0.2", now) {
		t.Error("one host keeps another out")
	}
	if !a.allow("10.0.0.1", now.Add(time.Second)) {
		t.Error("a second later it is still refused")
	}
	for i := range 2 * maxAttemptHosts {
		a.allow(fmt.Sprint(i), now)
	}
	if len(a.hosts) > maxAttemptHosts {
		t.Errorf("%d hosts are remembered", len(a.hosts))
	}
	if later := now.Add(time.Hour); !a.allow("10.0.0.3", later) || len(a.hosts) > maxAttemptHosts {
		t.Error("hosts that were quiet are not forgotten")
	}
}

func TestAGuardedCoordinatorDialsTheMemberItMeans(t *testing.T) {
	g := serveGuarded(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// Somebody else's node answers at the member's address.
	key, csr := newRequest(t)
	leaf, err := g.authority.Join(trust.JoinRequest{Name: "mallory", CSR: csr}, true)
	if err != nil {
		t.Fatal(err)
	}
	w := trust.NewWallet(nil)
	if err := w.Keep(key, leaf, g.authority.CA()); err != nil {
		t.Fatal(err)
	}
	server := cluster.NewServer(cluster.Guard(w, cluster.Rules{"/torc.v1.Peer/State": {trust.Coordinator}})...)
	pb.RegisterPeerServer(server, pb.UnimplementedPeerServer{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- cluster.Serve(ctx, server, l) }()
	defer func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}()
	for name, says := range map[string]string{"ada": "node mallory answers where node ada should be", "mallory": "not implemented"} {
		conn, err := g.dialMember(memberAt(name, l.Addr().String()))
		if err != nil {
			t.Fatal(err)
		}
		stream, err := pb.NewPeerClient(conn).State(ctx, &pb.StateRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", name, err, says)
		}
		_ = conn.Close()
	}
}

func memberAt(name, addr string) view.Member {
	return view.Member{Node: view.NodeID{Name: name}, Addr: addr}
}
