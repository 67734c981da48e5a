package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/trust"
	"github.com/torctrain/torc/internal/view"
	"github.com/torctrain/torc/node/train"
)

// Every method has a rule: one that is added without is refused to everybody, and this test says so first.
func TestEveryMethodHasARule(t *testing.T) {
	rules := roles()
	server := grpc.NewServer(allreduce.ServerOptions()...)
	allreduce.NewServer().Register(server)
	new(train.Member).Register(server)
	(&membership{wallet: trust.NewWallet(nil)}).register(server)
	served := map[string]bool{"/grpc.health.v1.Health/Check": true} // cluster.Serve adds it

	for service, info := range server.GetServiceInfo() {
		for _, m := range info.Methods {
			method := "/" + service + "/" + m.Name
			served[method] = true
			unserved := service == "torc.v1.Trust" && m.Name != "Find" // a node tells where the coordinator is, no more
			if (rules[method] == nil) != unserved {
				t.Errorf("say in roles.go who may call %s", method)
			}
		}
	}
	open := []string{"/torc.v1.Trust/Find", "/grpc.health.v1.Health/Check"}
	for method, who := range rules {
		if !served[method] {
			t.Errorf("roles.go has a rule for %s, which is not served", method)
		}
		if slices.Contains(who, trust.Nobody) != slices.Contains(open, method) {
			t.Errorf("%s: open to callers without a certificate: %v", method, slices.Contains(who, trust.Nobody))
		}
		if (slices.Contains(who, trust.Viewer) || slices.Contains(who, trust.Operator)) && !slices.Contains(open, method) {
			t.Errorf("%s: people have no business with nodes: %v", method, who)
		}
	}
	if who := rules["/torc.v1.Pieces/Keep"]; !slices.Equal(who, []trust.Role{trust.Coordinator}) {
		t.Errorf("what is kept of checkpoints is for the coordinator to say, not for %v", who)
	}
}

// realm makes wallets of one cluster.
type realm struct {
	*trust.Authority
	t *testing.T
}

func newRealm(t *testing.T) realm {
	t.Helper()
	a, err := trust.Open(trust.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return realm{a, t}
}

func (r realm) node(name string) *membership {
	r.t.Helper()
	key, err := trust.NewKey()
	if err != nil {
		r.t.Fatal(err)
	}
	csr, err := trust.Request(key)
	if err != nil {
		r.t.Fatal(err)
	}
	leaf, err := r.Join(trust.JoinRequest{Name: name, CSR: csr}, true)
	if err != nil {
		r.t.Fatal(err)
	}
	b := &trust.Bundle{Key: key, Leaf: leaf, CA: r.CA()}
	w, err := b.Wallet()
	if err != nil {
		r.t.Fatal(err)
	}
	return &membership{wallet: w, key: key, neighbours: newNeighbours()}
}

// seat is a member of a ring of two, with a server for links.
type seat struct {
	own   *membership
	links *allreduce.Server
	addr  string
}

// sit opens a server for links; those who call it pass by the tap, if there is one.
func sit(t *testing.T, own *membership, tap *bytes.Buffer, mu *sync.Mutex) seat {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if tap != nil {
		l = tapped{l, tap, mu}
	}
	links := allreduce.NewServer()
	links.Who = linker
	server := cluster.NewServer(append(allreduce.ServerOptions(), own.options()...)...)
	links.Register(server)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- cluster.Serve(ctx, server, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return seat{own, links, addr}
}

// tapped is a listener that keeps all bytes of its connections.
type tapped struct {
	net.Listener
	to *bytes.Buffer
	mu *sync.Mutex
}

func (l tapped) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return tappedConn{c, l}, err
}

type tappedConn struct {
	net.Conn
	l tapped
}

func (c tappedConn) keep(b []byte) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.l.to.Write(b)
}

func (c tappedConn) Write(b []byte) (int, error) { c.keep(b); return c.Conn.Write(b) }

func (c tappedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.keep(b[:n])
	return n, err
}

// viewOf seats names at addresses.
func viewOf(names, addrs []string) *pb.View {
	v := &pb.View{Run: "r"}
	for i, n := range names {
		v.Members = append(v.Members, &pb.Member{Node: &pb.NodeID{Name: n}, Addr: addrs[i]})
	}
	return v
}

// sum makes one exact sum of two members' vectors and returns the errors of both.
func sum(t *testing.T, a, b seat, pattern int32) []error {
	t.Helper()
	addrs := []string{a.addr, b.addr}
	errs := make([]error, 2)
	var g errgroup.Group
	for rank, s := range []seat{a, b} {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			conf := allreduce.Default()
			conf.Pack, conf.HopTimeout = false, 10*time.Second
			defer s.links.Sit("r", 1, []string{"ada", "bob"}).Leave()
			id := allreduce.Identity{Run: "r", View: 1, Rank: rank, Members: 2, Order: []int{0, 1}}
			ring := allreduce.NewRing(id, s.links.Mesh(id, addrs, s.own.dialRing), conf)
			defer ring.Close()
			own, total := make([]int32, 1<<12), make([]int32, 1<<12)
			for i := range own {
				own[i] = pattern
			}
			side := allreduce.NewSide(1, 1)
			errs[rank] = ring.Sum(ctx, view.Position{View: 1}, allreduce.Fence{}, own, total, side, nil)
			if errs[rank] == nil && total[0] != 2*pattern {
				t.Errorf("rank %d has sum %d, want %d", rank, total[0], 2*pattern)
			}
			return errs[rank]
		})
	}
	_ = g.Wait() // errs has them
	return errs
}

func TestNoFrameIsReadableOnTheWire(t *testing.T) {
	const pattern = 0x0badcafe
	needle := bytes.Repeat(binary.LittleEndian.AppendUint32(nil, pattern), 4)
	for _, secure := range []bool{true, false} {
		r := newRealm(t)
		ada, bob := r.node("ada"), r.node("bob")
		if !secure {
			ada, bob = &membership{neighbours: newNeighbours()}, &membership{neighbours: newNeighbours()}
		}
		var seen bytes.Buffer
		var mu sync.Mutex
		a, b := sit(t, ada, nil, nil), sit(t, bob, &seen, &mu)
		for _, s := range []seat{a, b} {
			s.own.neighbours.learn(viewOf([]string{"ada", "bob"}, []string{a.addr, b.addr}))
		}
		for _, err := range sum(t, a, b, pattern) {
			if err != nil {
				t.Fatal(err)
			}
		}
		mu.Lock()
		if got := bytes.Contains(seen.Bytes(), needle); got == secure {
			t.Errorf("secure %v: frames are readable: %v, of %d bytes", secure, got, seen.Len())
		}
		mu.Unlock()
	}
}

// A link ends at the member that the view means, and takes none from elsewhere.
func TestALinkIsWithTheNeighbourInTheView(t *testing.T) {
	r := newRealm(t)
	a, mallory := sit(t, r.node("ada"), nil, nil), sit(t, r.node("mallory"), nil, nil)
	seats := viewOf([]string{"ada", "bob"}, []string{a.addr, mallory.addr})
	a.own.neighbours.learn(seats) // mallory answers where bob should be

	conn, err := a.own.dialRing(t.Context(), mallory.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, linkMethod)
	if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "node mallory answers where node bob should be") {
		t.Errorf("ada dials bob and finds mallory: %v", err)
	}
}

// A node's certificate is good for its own seat of a view and for no other, whatever its links claim.
func TestANodeCannotTakeAnothersSeat(t *testing.T) {
	r := newRealm(t)
	ada, bob, mallory := sit(t, r.node("ada"), nil, nil), sit(t, r.node("bob"), nil, nil), sit(t, r.node("mallory"), nil, nil)
	addrs := []string{ada.addr, bob.addr, mallory.addr}
	defer bob.links.Sit("r", 1, []string{"ada", "bob", "mallory"}).Leave()
	for _, c := range []struct {
		what, says string
		from       seat
		rank, size int
	}{
		{"a member in another's seat", `node "mallory" may not link as rank 0: the view seats node "ada" there`, mallory, 0, 3},
		{"a seat that is not there", `node "mallory" may not link as rank 3: the view has 3 members`, mallory, 3, 5},
	} {
		t.Run(c.what, func(t *testing.T) {
			to := slices.Clone(addrs)
			for len(to) < c.size {
				to = append(to, bob.addr)
			}
			order := make([]int, c.size)
			for i := range order {
				order[i] = i
			}
			peer := min(c.rank+1, c.size-1) // who is dialled: bob in each case
			id := allreduce.Identity{Run: "r", View: 1, Ring: 9, Rank: c.rank, Members: c.size, Order: order}
			_, err := c.from.links.Mesh(id, to, c.from.own.dialRing).Link(t.Context(), peer)
			if status.Code(errors.Unwrap(err)) != codes.PermissionDenied || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}

func TestARingOfAnotherClusterIsRefused(t *testing.T) {
	r, other := newRealm(t), newRealm(t)
	a, b := sit(t, r.node("ada"), nil, nil), sit(t, r.node("bob"), nil, nil)
	stranger := other.node("ada")
	stranger.neighbours.learn(viewOf([]string{"ada", "bob"}, []string{a.addr, b.addr}))
	conn, err := stranger.dialRing(t.Context(), b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, linkMethod)
	if err == nil {
		err = stream.RecvMsg(&pb.Chunk{})
	}
	if err == nil || err == io.EOF || !strings.Contains(err.Error(), "another cluster") {
		t.Errorf("a stranger's link: %v", err)
	}
	if _, err := b.own.wallet.Verify(chain(stranger)); err == nil {
		t.Error("a stranger's certificate counts")
	}
}

func chain(m *membership) []*x509.Certificate {
	return []*x509.Certificate{m.wallet.Certificate().Leaf}
}
