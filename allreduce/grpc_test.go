package allreduce

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/torctrain/torc/internal/view"
)

// grpcNet is a set of nodes on loopback, each with its own gRPC server, whose sockets are counted.
type grpcNet struct {
	addrs   []string
	servers []*Server
	grpc    []*grpc.Server
	written []atomic.Int64 // by rank: bytes written to its sockets
}

func newGRPCNet(t testing.TB, n int) *grpcNet {
	g := &grpcNet{written: make([]atomic.Int64, n)}
	for rank := range n {
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s, gs := NewServer(), grpc.NewServer(ServerOptions()...)
		s.Register(gs)
		g.addrs, g.servers, g.grpc = append(g.addrs, lis.Addr().String()), append(g.servers, s), append(g.grpc, gs)
		done := make(chan error, 1)
		go func() { done <- gs.Serve(countingListener{lis, &g.written[rank]}) }()
		t.Cleanup(func() {
			gs.Stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	return g
}

func (g *grpcNet) mesh(id Identity) Mesh {
	return g.servers[id.Rank].Mesh(id, g.addrs, func(_ context.Context, addr string) (*grpc.ClientConn, error) {
		dialer := func(ctx context.Context, addr string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
			if err != nil {
				return nil, err
			}
			return countingConn{c, &g.written[id.Rank]}, nil
		}
		return grpc.NewClient("passthrough:///"+addr, append(DialOptions(),
			grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(dialer))...)
	})
}

func (g *grpcNet) members(order []int, c Config) members {
	rings := make(members, len(order))
	for rank := range order {
		id := identity(rank, order)
		rings[rank] = NewRing(id, g.mesh(id), c)
	}
	return rings
}

type countingListener struct {
	net.Listener
	n *atomic.Int64
}

func (l countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return countingConn{c, l.n}, nil
}

type countingConn struct {
	net.Conn
	n *atomic.Int64
}

func (c countingConn) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b))) // first: the peer may have it before Write returns
	return c.Conn.Write(b)
}

func TestSumOverGRPCEqualsTheOracle(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{1, 2, 3, 5} {
		for _, pack := range []bool{false, true} {
			c := Default()
			c.Pack, c.FrameBytes, c.DirectBytes = pack, 8192, 8192
			rings := newGRPCNet(t, n).members(rng.Perm(n), c)
			for step, length := range []int{100, 2000, 2500, 70_001, 0, 300_000} {
				w := newWorld(rng, n, 6, length)
				wantAll(t, rings.sumAll(t.Context(), w, uint64(step)))
			}
			wantAll(t, rings.each(func(rank int, r *Ring) error {
				got, err := r.Gather(t.Context(), at(9), Fence{}, []byte(fmt.Sprint("blob of ", rank)))
				if err != nil {
					return err
				}
				for i, b := range got {
					if string(b) != fmt.Sprint("blob of ", i) {
						return fmt.Errorf("blob of rank %d is %q", i, b)
					}
				}
				return nil
			}))
			rings.close()
		}
	}
}

// Unpacked, a sum above 256 KiB writes 2K(P−1)/P values per member and at most 3 % more, counted at the sockets; and
// BytesSent says what the sockets say.
func TestBytesOnTheWire(t *testing.T) {
	for _, n := range []int{2, 3, 4, 5} {
		for _, length := range []int{66_000, 300_000} {
			g := newGRPCNet(t, n)
			c := Default()
			c.Pack = false
			rings := g.members(natural(n), c)
			w := newWorld(rand.New(rand.NewPCG(1, 1)), n, 6, length)
			wantAll(t, rings.sumAll(t.Context(), w, 0)) // opens the links
			var before, sent int64
			for rank, r := range rings {
				before += g.written[rank].Load()
				sent -= r.BytesSent()
			}
			const rounds = 5
			for step := range uint64(rounds) {
				wantAll(t, rings.sumAll(t.Context(), w, step))
			}
			rings.close() // and all is flushed
			written := -before
			for rank, r := range rings {
				written += g.written[rank].Load()
				sent += r.BytesSent()
			}
			ideal := float64(rounds * n * 4 * length * 2 * (n - 1) / n)
			ratio := float64(written) / ideal
			t.Logf("%d members, %d values: %.4f of the ideal bytes", n, length, ratio)
			if ratio > 1.03 {
				t.Errorf("%d members, %d values: %.4f of the ideal bytes, want at most 1.03", n, length, ratio)
			}
			if ratio := float64(sent) / float64(written); ratio < 0.995 || ratio > 1.005 {
				t.Errorf("%d members, %d values: BytesSent is %d, the sockets count %d", n, length, sent, written)
			}
		}
	}
}

func TestDeadMemberIsNamedOverGRPC(t *testing.T) {
	g := newGRPCNet(t, 3)
	c := Default()
	rings := g.members(natural(3), c)
	w := newWorld(rand.New(rand.NewPCG(1, 1)), 3, 6, 100_000)
	wantAll(t, rings.sumAll(t.Context(), w, 1))
	g.grpc[1].Stop() // its connections are gone, and with them its ring
	start := time.Now()
	for rank, err := range rings.each(func(rank int, r *Ring) error {
		if rank == 1 {
			r.Close()
			return nil
		}
		own, side := w.part(rank, 2)
		return r.Sum(t.Context(), at(2), Fence{}, own, make([]int32, len(own)), side, nil)
	}) {
		if rank == 1 {
			continue
		}
		// Rank 1 said goodbye where it still could, so not all accuse it; none may go on.
		if pe := (*PeerError)(nil); err == nil || errors.As(err, &pe) && pe.Rank != 1 {
			t.Errorf("rank %d got %v, want an error that names rank 1 or nobody", rank, err)
		}
	}
	if took := time.Since(start); took > 2*c.HopTimeout {
		t.Errorf("took %v", took)
	}
	rings.close()
}

func TestUnreachableMemberIsNamed(t *testing.T) {
	g := newGRPCNet(t, 2)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.addrs[1] = lis.Addr().String()
	if err := lis.Close(); err != nil { // nobody listens there now
		t.Fatal(err)
	}
	id := identity(0, natural(2))
	r := NewRing(id, g.mesh(id), Default())
	defer r.Close()
	err = r.Sum(t.Context(), at(1), Fence{}, make([]int32, 10), make([]int32, 10), nil, nil)
	if pe := (*PeerError)(nil); !errors.As(err, &pe) || pe.Rank != 1 {
		t.Fatalf("got %v, want PeerError of rank 1", err)
	}
}

func TestLinksOfAnotherRingStayApart(t *testing.T) {
	g := newGRPCNet(t, 2)
	other := identity(0, natural(2))
	other.Ring = 7
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	stray := make(chan error, 1)
	go func() {
		_, err := g.mesh(other).Link(ctx, 1) // nobody of ring 7 is at rank 1
		stray <- err
	}()
	rings := g.members(natural(2), Default())
	wantAll(t, rings.sumAll(t.Context(), newWorld(rand.New(rand.NewPCG(1, 1)), 2, 3, 1000), 1))
	rings.close()
	if err := <-stray; err == nil {
		t.Error("a ring without its other member was linked")
	}
}

// A program without ServerOptions is told what is missing.
func TestServerWithoutItsCodecSaysSo(t *testing.T) {
	g := newGRPCNet(t, 2)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gs := grpc.NewServer()
	g.servers[1].Register(gs)
	done := make(chan error, 1)
	go func() { done <- gs.Serve(lis) }()
	defer func() { gs.Stop(); <-done }()
	g.addrs[1] = lis.Addr().String()
	_, err = g.mesh(identity(0, natural(2))).Link(t.Context(), 1)
	if err == nil || !strings.Contains(err.Error(), "allreduce.ServerOptions") {
		t.Fatalf("got %v, want an error that names allreduce.ServerOptions", err)
	}
}

// TestLinkSuite is what every implementation of Mesh and Link promises.
func TestLinkSuite(t *testing.T) {
	for name, mesh := range map[string]func(t *testing.T) func(Identity) Mesh{
		"memory": func(*testing.T) func(Identity) Mesh { return MemNet(2).Mesh },
		"grpc":   func(t *testing.T) func(Identity) Mesh { return newGRPCNet(t, 2).mesh },
	} {
		pair := func(t *testing.T) (a, b Link) {
			t.Helper()
			m := mesh(t)
			type result struct {
				l   Link
				err error
			}
			far := make(chan result, 1)
			go func() {
				l, err := m(identity(1, natural(2))).Link(t.Context(), 0)
				far <- result{l, err}
			}()
			a, err := m(identity(0, natural(2))).Link(t.Context(), 1)
			r := <-far
			if err != nil || r.err != nil {
				t.Fatal(err, r.err)
			}
			return a, r.l
		}
		frame := func(i int) Frame {
			h := identity(0, natural(2)).fenced(view.Position{}, Fence{})
			h.kind, h.segment = kindBlob, uint32(i)
			f := newFrame(i * 1000)
			f.finish(&h)
			return f
		}
		takes := func(t *testing.T, l Link, from, to int) {
			t.Helper()
			for i := from; i < to; i++ {
				f, err := l.Recv()
				if err != nil {
					t.Fatalf("frame %d: %v", i, err)
				}
				if h, err := parse(f); err != nil || int(h.segment) != i {
					t.Fatalf("frame %d: got %d, %v", i, h.segment, err)
				}
				f.Free()
			}
		}
		t.Run(name+"/order", func(t *testing.T) {
			a, b := pair(t)
			for _, ends := range [][2]Link{{a, b}, {b, a}} {
				sent := make(chan error, 1)
				go func() {
					for i := range 40 {
						if err := ends[0].Send(t.Context(), frame(i)); err != nil {
							sent <- err
							return
						}
					}
					sent <- nil
				}()
				takes(t, ends[1], 0, 40)
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
			}
			if a.Sent() == 0 || b.Sent() == 0 {
				t.Errorf("sent %d and %d bytes", a.Sent(), b.Sent())
			}
			both := make(chan error, 1)
			go func() { both <- a.Close(t.Context()) }()
			if err := errors.Join(b.Close(t.Context()), <-both, a.Close(t.Context()), b.Close(t.Context())); err != nil {
				t.Error(err)
			}
		})
		t.Run(name+"/close is cut by its context", func(t *testing.T) {
			a, b := pair(t)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := errors.Join(b.Close(ctx), a.Close(ctx)); err != nil {
				t.Error(err)
			}
		})
		for _, first := range []int{0, 1} {
			t.Run(fmt.Sprintf("%s/closing side %d flushes", name, first), func(t *testing.T) {
				var ends [2]Link
				ends[0], ends[1] = pair(t)
				near, far := ends[first], ends[1-first]
				for i := range 3 {
					if err := near.Send(t.Context(), frame(i)); err != nil {
						t.Fatal(err)
					}
				}
				closed := make(chan error, 1)
				go func() { closed <- near.Close(t.Context()) }()
				takes(t, far, 0, 3)
				if err := errors.Join(far.Close(t.Context()), <-closed); err != nil {
					t.Error(err)
				}
				for i, end := range ends {
					if _, err := end.Recv(); err == nil {
						t.Errorf("end %d received after both were closed", i)
					}
				}
			})
			t.Run(fmt.Sprintf("%s/blocked send of side %d ends with its context", name, first), func(t *testing.T) {
				var ends [2]Link
				ends[0], ends[1] = pair(t)
				ctx, cancel := context.WithCancel(t.Context())
				stop := time.AfterFunc(50*time.Millisecond, cancel)
				defer stop.Stop()
				for {
					if err := ends[first].Send(ctx, frame(900)); err != nil {
						break
					}
				}
				both := make(chan error, 1)
				go func() { both <- ends[0].Close(t.Context()) }()
				if err := errors.Join(ends[1].Close(t.Context()), <-both); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func BenchmarkSum(b *testing.B) {
	for _, n := range []int{2, 4} {
		for _, bytes := range []int{4 << 10, 1 << 20, 16 << 20, 64 << 20} {
			for _, pack := range []bool{false, true} {
				b.Run(fmt.Sprintf("%dmembers/%dKiB/pack=%v", n, bytes>>10, pack), func(b *testing.B) {
					c := Default()
					c.Pack = pack
					rings := newGRPCNet(b, n).members(natural(n), c)
					defer rings.close()
					own := heavyTail(bytes/4, 24, 1)
					totals := make([][]int32, n)
					for i := range totals {
						totals[i] = make([]int32, len(own))
					}
					b.SetBytes(int64(bytes * 2 * (n - 1) / n)) // bus bandwidth of one member
					step := uint64(0)
					for b.Loop() {
						step++
						wantAll(b, rings.each(func(rank int, r *Ring) error {
							return r.Sum(b.Context(), at(step), Fence{}, own, totals[rank], nil, nil)
						}))
					}
				})
			}
		}
	}
}

// Rings that end one after the other do not wait for each other: an idle ring answers a goodbye by itself.
func TestClosingInTurnDoesNotLinger(t *testing.T) {
	for _, first := range []int{0, 1, 2} {
		rings := newGRPCNet(t, 3).members(natural(3), Default())
		for step, length := range []int{100, 200_000} {
			wantAll(t, rings.sumAll(t.Context(), newWorld(rand.New(rand.NewPCG(1, 1)), 3, 3, length), uint64(step)))
		}
		start := time.Now()
		for i := range rings {
			rings[(first+i)%3].Close()
		}
		if took := time.Since(start); took >= linger {
			t.Errorf("rank %d first: closing took %v", first, took)
		}
	}
}
