package cluster

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/trust"
)

// Rules say which roles may call a method, named as gRPC does: /torc.v1.Control/Launch. A method that is not listed is
// refused to everybody but Local, who may call all of them.
type Rules map[string][]trust.Role

// Everyone may call a method that is open to callers without a certificate.
func Everyone() []trust.Role {
	return []trust.Role{trust.Nobody, trust.Viewer, trust.Operator, trust.Node, trust.Coordinator}
}

const (
	// handshakeTime bounds the handshake of a new connection.
	handshakeTime = 10 * time.Second
	maxStreams    = 1 << 10 // at once, on one connection
)

// Guard are the options of a server that shows what the wallet has, knows its callers and lets them call what the rules
// say. A call is refused before any of its message is read. A node can only speak in its own name.
func Guard(w *trust.Wallet, rules Rules) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(&shake{wallet: w, strangers: &strangers{hosts: map[string]int{}}}),
		grpc.ConnectionTimeout(handshakeTime),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.InTapHandle(func(ctx context.Context, info *tap.Info) (context.Context, error) {
			return ctx, rules.permit(ctx, info.FullMethodName)
		}),
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			if err := check(ctx, req); err != nil {
				return nil, err
			}
			return handle(ctx, req)
		}),
		grpc.ChainStreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
			return handle(srv, &checked{stream})
		}),
	}
}

// permit says whether who calls may call method.
func (r Rules) permit(ctx context.Context, method string) error {
	c, ok := CallerOf(ctx)
	if !ok {
		return status.Error(codes.Unauthenticated, "the connection does not say who calls")
	}
	allowed, listed := r[method]
	switch {
	case c.Role == trust.Local || slices.Contains(allowed, c.Role):
		return nil
	case c.Role == trust.Nobody && c.Refused != nil && listed:
		return status.Error(codes.PermissionDenied, c.Refused.Error())
	case !listed:
		return status.Errorf(codes.PermissionDenied, "nobody may call %s", method)
	}
	return status.Errorf(codes.PermissionDenied, "%s may not call %s: that is for %s; ask for a certificate with that role", c.Identity, method, either(allowed))
}

func either(roles []trust.Role) string {
	text := ""
	for i, r := range roles {
		if i > 0 {
			text += " or "
		}
		text += string(r)
	}
	return text
}

// speaksForItself refuses the message of a node in another's name.
func speaksForItself(ctx context.Context, m any) error {
	named, ok := m.(interface{ GetNode() *pb.NodeID })
	if !ok {
		return nil
	}
	c, ok := CallerOf(ctx)
	if !ok || c.Role != trust.Node {
		return nil
	}
	if name := named.GetNode().GetName(); name != c.Name {
		return status.Error(codes.PermissionDenied, fmt.Sprintf("%s speaks in the name of node %.70q: a certificate counts for its own name only", c.Identity, name))
	}
	return nil
}

// checked is a stream whose messages are checked as they come.
type checked struct{ grpc.ServerStream }

func (s *checked) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return check(s.Context(), m)
}

// check is what every message must pass.
func check(ctx context.Context, m any) error {
	if err := Bounded(m); err != nil {
		return err
	}
	return speaksForItself(ctx, m)
}
