package main

import (
	"context"
	"sync"

	"google.golang.org/grpc"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/trust"
)

// neighbours know which names the coordinator's newest two views give to which addresses, so that a link ends at the member
// that the view means and not at whoever answers there. Who may link to this node, its seat says (allreduce.Server.Who).
type neighbours struct {
	mu    sync.Mutex           // guards what follows
	names [2]map[string]string // by address, of the newest view and of the one before it
}

func newNeighbours() *neighbours { return &neighbours{} }

// learn takes a view.
func (n *neighbours) learn(v *pb.View) {
	names := make(map[string]string, len(v.Members))
	for _, m := range v.Members {
		names[m.Addr] = m.GetNode().GetName()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names = [2]map[string]string{names, n.names[0]}
}

// accept wants at addr the member that the views put there; where they put nobody, any member.
func (n *neighbours) accept(addr string) func(trust.Identity) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, names := range n.names {
		if name, ok := names[addr]; ok {
			return cluster.AcceptNode(name)
		}
	}
	return cluster.AcceptMember
}

// linker says which member's certificate a link came with, for allreduce.Server.Who.
func linker(ctx context.Context) (name string, known bool) {
	c, ok := cluster.CallerOf(ctx)
	return c.Name, ok && c.Role == trust.Node
}

// follow are the options of a connection to the coordinator by which the views it orders are learned.
func (n *neighbours) follow() grpc.DialOption {
	return grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		stream, err := open(ctx, desc, conn, method, opts...)
		if err != nil {
			return nil, err
		}
		return &overheard{stream, n}, nil
	})
}

// overheard is a stream whose orders are read along.
type overheard struct {
	grpc.ClientStream
	n *neighbours
}

func (o *overheard) RecvMsg(m any) error {
	err := o.ClientStream.RecvMsg(m)
	if order, ok := m.(*pb.Order); ok && err == nil {
		if v := order.GetView(); v != nil {
			o.n.learn(v)
		}
	}
	return err
}

// dialRing connects to a neighbour for ring frames: by its unix socket if it has one here that belongs to this user, else
// by TLS, and then to the member that the view means.
func (m *membership) dialRing(ctx context.Context, target string) (*grpc.ClientConn, error) {
	if m.wallet == nil {
		return cluster.Dial(target, allreduce.DialOptions()...)
	}
	addr, local := cluster.IsLocal(target)
	switch {
	case !local:
		addr = target
	case cluster.LocalTarget(ctx, addr) == "": // somebody else's
		target = addr
	}
	return cluster.Dial(target, append(cluster.Secure(m.wallet, m.neighbours.accept(addr)), allreduce.DialOptions()...)...)
}

// dial connects to the coordinator or a member for everything else.
func (m *membership) dial(addr, coordinator string) (*grpc.ClientConn, error) {
	if m.wallet == nil {
		return cluster.Dial(addr, m.neighbours.follow(), m.figures.readAlong())
	}
	if addr != coordinator {
		return cluster.Dial(addr, cluster.Secure(m.wallet, m.neighbours.accept(addr))...)
	}
	return cluster.Dial(addr, append(cluster.Secure(m.wallet, cluster.AcceptRole(trust.Coordinator)), m.neighbours.follow(), m.figures.readAlong())...)
}
