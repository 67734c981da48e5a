package cluster

import (
	"context"
	"net"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/internal/pb"
)

func TestListenSaysWhereOthersReachIt(t *testing.T) {
	for _, c := range []struct {
		listen, advertise string
		at, addr          string // hosts; "" is any
	}{
		{"", "", "127.0.0.1", "127.0.0.1"},
		{"127.0.0.1", "", "127.0.0.1", "127.0.0.1"},
		{"127.0.0.1:0", "", "127.0.0.1", "127.0.0.1"},
		{"127.0.0.1:0", "trainer.example", "127.0.0.1", "trainer.example"},
		{"", "10.1.2.3", "::", "10.1.2.3"},
		{"[::1]:0", "", "::1", "::1"},
	} {
		l, addr, err := Listen(c.listen, c.advertise, 0)
		if err != nil {
			if strings.Contains(c.listen, "::1") { // no IPv6 on this machine
				continue
			}
			t.Errorf("Listen(%q, %q): %v", c.listen, c.advertise, err)
			continue
		}
		at := l.Addr().(*net.TCPAddr)
		host, port, err := net.SplitHostPort(addr)
		if err != nil || host != c.addr || at.IP.String() != c.at && !(c.at == "::" && at.IP.IsUnspecified()) {
			t.Errorf("Listen(%q, %q) is at %s, reached at %s; want %s, %s", c.listen, c.advertise, at, addr, c.at, c.addr)
		}
		if _, p, _ := net.SplitHostPort(at.String()); p != port || p == "0" {
			t.Errorf("Listen(%q, %q) is at %s, reached at %s: other ports", c.listen, c.advertise, at, addr)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestListenRefusesWhatItCannotOpen(t *testing.T) {
	l, addr, err := Listen("127.0.0.1:0", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range []struct{ listen, want string }{
		{addr, "choose another port with --listen"},
		{"127.0.0.1:many", `port "many"`},
		{"127.0.0.1:70000", `port "70000"`},
		{"a b", `address "a b"`},
	} {
		if l, _, err := Listen(c.listen, "", 0); err == nil {
			t.Errorf("Listen(%q) opened %s", c.listen, l.Addr())
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("Listen(%q): %v, want it to say %q", c.listen, err, c.want)
		}
	}
}

func TestOutwardPrefersPrivateIPv4(t *testing.T) {
	nets := func(s ...string) (all []net.Addr) {
		for _, a := range s {
			ip, n, err := net.ParseCIDR(a)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, &net.IPNet{IP: ip, Mask: n.Mask})
		}
		return all
	}
	for _, c := range []struct {
		addrs []net.Addr
		want  string
	}{
		{nets("127.0.0.1/8", "fe80::1/64"), ""},
		{nets("127.0.0.1/8", "2001:db8::1/64"), "2001:db8::1"},
		{nets("2001:db8::1/64", "198.51.100.7/24"), "198.51.100.7"},
		{nets("198.51.100.7/24", "10.0.0.2/8", "192.168.1.2/24"), "10.0.0.2"},
	} {
		if got := outward(c.addrs); got != c.want {
			t.Errorf("outward(%v) = %q, want %q", c.addrs, got, c.want)
		}
	}
}

func TestReachesTellsAnAddressOfOneMachineAlone(t *testing.T) {
	here, there := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)}
	for _, c := range []struct {
		from net.Addr
		addr string
		want bool
	}{
		{here, "127.0.0.1:1", true},
		{there, "10.0.0.2:1", true},
		{there, "host:1", true},
		{there, "127.0.0.1:1", false},
		{there, "localhost:1", false},
		{there, "[::1]:1", false},
		{there, "0.0.0.0:1", false},
		{there, "10.0.0.2", false},
	} {
		if got := Reaches(c.from, c.addr); got != c.want {
			t.Errorf("Reaches(%v, %q) = %v", c.from, c.addr, got)
		}
	}
}

func TestWithPortAddsThatOfACoordinator(t *testing.T) {
	for addr, want := range map[string]string{
		"host": "host:7170", "host:1": "host:1", "10.0.0.1": "10.0.0.1:7170", "::1": "[::1]:7170", "[::1]:5": "[::1]:5",
		"": "", ":7170": "", "a b": "", "host:many": "",
	} {
		if got, err := WithPort(addr); got != want || (err == nil) != (want != "") {
			t.Errorf("WithPort(%q) = %q, %v, want %q", addr, got, err, want)
		}
	}
}

func TestLocalTellsLoopback(t *testing.T) {
	for addr, want := range map[string]bool{"127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true, "10.0.0.1:1": false, "host:1": false} {
		if got := Local(addr); got != want {
			t.Errorf("Local(%q) = %v", addr, got)
		}
	}
}

// hanging is a peer whose calls last until their context is done.
type hanging struct {
	pb.UnimplementedPeerServer
	begun chan struct{}
	ended chan struct{}
}

func (h *hanging) Join(ctx context.Context, _ *pb.JoinRequest) (*pb.JoinReply, error) {
	close(h.begun)
	<-ctx.Done()
	close(h.ended)
	return nil, status.Error(codes.Canceled, "ended")
}

// protocol.md I7
func TestServeReturnsAfterItsHandlers(t *testing.T) {
	defer goleak.VerifyNone(t)
	l, addr, err := Listen("127.0.0.1:0", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer()
	h := &hanging{begun: make(chan struct{}), ended: make(chan struct{})}
	pb.RegisterPeerServer(s, h)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, s, l) }()

	conn, err := Dial(addr, grpc.WithUserAgent("test"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	called := make(chan error, 1)
	go func() {
		_, err := pb.NewPeerClient(conn).Join(t.Context(), &pb.JoinRequest{})
		called <- err
	}()
	<-h.begun
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	select {
	case <-h.ended:
	default:
		t.Error("Serve returned before a handler")
	}
	if err := <-called; err == nil {
		t.Error("call to a server that stopped returned no error")
	}
}

func TestServeThatEndsBeforeItBeganClosesItsPort(t *testing.T) {
	for range 20 { // whichever of the two is first
		l, addr, err := Listen("127.0.0.1:0", "", 0)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := Serve(ctx, NewServer(), l); err != nil {
			t.Error(err)
		}
		if l, _, err = Listen(addr, "", 0); err != nil {
			t.Fatalf("port stays open: %v", err)
		}
		l.Close()
	}
}
