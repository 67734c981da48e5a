package main

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/trust"
)

// neighbours know which names the coordinator's views give to which addresses, so that a link ends at the member that the
// view means and not at whoever answers there, or calls.
type neighbours struct {
	mu      sync.Mutex         // guards what follows
	names   map[string]string  // by address
	views   [2]map[string]bool // names in the newest view and in the one before it
	changed chan struct{}      // closed and made anew with each view
}

func newNeighbours() *neighbours {
	return &neighbours{names: map[string]string{}, changed: make(chan struct{})}
}

// learn takes a view.
func (n *neighbours) learn(v *pb.View) {
	n.mu.Lock()
	defer n.mu.Unlock()
	members := make(map[string]bool, len(v.Members))
	names := make(map[string]string, 2*len(v.Members))
	for addr, name := range n.names {
		if n.views[0][name] {
			names[addr] = name
		}
	}
	for _, m := range v.Members {
		members[m.GetNode().GetName()] = true
		names[m.Addr] = m.GetNode().GetName()
	}
	n.names, n.views = names, [2]map[string]bool{members, n.views[0]}
	close(n.changed)
	n.changed = make(chan struct{})
}

// accept wants at addr the member that the views put there; where they put nobody, any member.
func (n *neighbours) accept(addr string) func(trust.Identity) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if name, ok := n.names[addr]; ok {
		return cluster.AcceptNode(name)
	}
	return cluster.AcceptMember
}

// viewPatience is how long a link waits for the view that seats its caller: views reach members at different moments.
const viewPatience = 10 * time.Second

// await returns when name is a member of the newest views, or after viewPatience with an error.
func (n *neighbours) await(ctx context.Context, name string) error {
	late := time.NewTimer(viewPatience)
	defer late.Stop()
	for {
		n.mu.Lock()
		seated, changed := n.views[0][name] || n.views[1][name], n.changed
		n.mu.Unlock()
		if seated {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-late.C:
			return status.Errorf(codes.PermissionDenied, "node %.70q is not a member of this node's view: it may not link", name)
		}
	}
}

// links are the options that let only members of the view link to this node.
func (n *neighbours) links() grpc.ServerOption {
	return grpc.ChainStreamInterceptor(func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		if c, ok := cluster.CallerOf(stream.Context()); ok && c.Role == trust.Node && info.FullMethod == linkMethod {
			if err := n.await(stream.Context(), c.Name); err != nil {
				return err
			}
		}
		return handle(srv, stream)
	})
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
