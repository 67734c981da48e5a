package control

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/trust"
	"github.com/torctrain/torc/internal/view"
)

// trustees is the service pb.Trust: the coordinator's certificates, tokens and revocations, over the wire.
type trustees struct {
	pb.UnimplementedTrustServer
	*Server
	authority *trust.Authority
	attempts  attempts
}

const (
	maxAddrBytes    = 512
	maxVersionBytes = 128
	// watchEvery is how often what follows from time alone, the phases of a gossip key, is looked at.
	watchEvery = 2 * time.Second
)

// guards are the options of the coordinator's gRPC server.
func (s *Server) guards() []grpc.ServerOption {
	if s.cfg.Trust == nil {
		return s.calls.options()
	}
	return slices.Concat(cluster.Guard(s.cfg.Trust.Wallet(), roles()), s.recognise(), s.calls.options())
}

// recognise are options that note certificates which the book of a coordinator that lost its trust directory lacks.
func (s *Server) recognise() []grpc.ServerOption {
	note := func(ctx context.Context) error {
		c, ok := cluster.CallerOf(ctx)
		if !ok {
			return nil
		}
		if err := s.cfg.Trust.Recognise(c.Peer); err != nil {
			return status.Errorf(codes.Internal, "note the certificate of %s: %v", c.Identity, err)
		}
		return nil
	}
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			if err := note(ctx); err != nil {
				return nil, err
			}
			return handle(ctx, req)
		}),
		grpc.ChainStreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
			if err := note(stream.Context()); err != nil {
				return err
			}
			return handle(srv, stream)
		}),
	}
}

// locals are the unix sockets on which the coordinator serves too.
func (s *Server) locals() []net.Listener {
	if s.cfg.Trust == nil {
		return nil
	}
	return cluster.ListenLocals(s.addr, s.listener)
}

// registerTrust adds the service that gives out certificates.
func (s *Server) registerTrust(server *grpc.Server) {
	if s.cfg.Trust != nil {
		pb.RegisterTrustServer(server, &trustees{Server: s, authority: s.cfg.Trust, attempts: newAttempts()})
	}
}

// dialMember connects to a node, and to none but it; without a name to whichever has the address.
func (s *Server) dialMember(m view.Member) (*grpc.ClientConn, error) {
	if s.cfg.World != nil {
		return s.cfg.World.Dial(m.Addr)
	}
	if s.cfg.Trust == nil {
		return cluster.Dial(m.Addr)
	}
	accept := cluster.AcceptMember
	if m.Node.Name != "" {
		accept = cluster.AcceptNode(m.Node.Name)
	}
	return cluster.Dial(m.Addr, cluster.Secure(s.cfg.Trust.Wallet(), accept)...)
}

// dialCoordinator connects to a coordinator of this cluster at addr.
func (s *Server) dialCoordinator(addr string) (*grpc.ClientConn, error) {
	if s.cfg.World != nil {
		return s.cfg.World.Dial(addr)
	}
	if s.cfg.Trust == nil {
		return cluster.Dial(addr)
	}
	return cluster.Dial(addr, cluster.Secure(s.cfg.Trust.Wallet(), cluster.AcceptRole(trust.Coordinator))...)
}

// gossipKeys are those that count now, or nothing where there is no trust.
func (s *Server) gossipKeys() [][]byte {
	if s.cfg.Trust == nil {
		return nil
	}
	return s.cfg.Trust.State().Gossip
}

// keepTrust renews the coordinator's own certificate and follows the gossip key, until ctx is done.
func (s *Server) keepTrust(ctx context.Context) error {
	if s.cfg.Trust == nil {
		return nil
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		if err := errors.Join(s.cfg.Trust.RenewOwn(), s.gossip.SetKeys(s.gossipKeys())); err != nil {
			s.log.Error("trust cannot be kept up", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.cfg.Trust.Changed():
		case <-tick.C:
		}
	}
}

// Find says where the coordinator is (pb.Trust).
func (t *trustees) Find(context.Context, *pb.FindRequest) (*pb.FindReply, error) {
	pin := trust.PinOf(t.authority.CA())
	return &pb.FindReply{Coordinator: t.addr, Pin: pin[:]}, nil
}

// Join gives a node its first certificate (pb.Trust). All that could keep the node from joining is looked at before its
// token is used up.
func (t *trustees) Join(ctx context.Context, req *pb.EnrolRequest) (*pb.EnrolReply, error) {
	reply, err := t.join(ctx, req)
	switch status.Code(err) {
	case codes.OK:
		t.calls.joins.WithLabelValues(admitted).Inc()
	case codes.ResourceExhausted:
		t.calls.joins.WithLabelValues(limited).Inc()
	default:
		t.calls.joins.WithLabelValues(refused).Inc()
	}
	return reply, err
}

func (t *trustees) join(ctx context.Context, req *pb.EnrolRequest) (*pb.EnrolReply, error) {
	caller, _ := cluster.CallerOf(ctx)
	local := caller.Role == trust.Local
	if !local && !t.attempts.allow(host(ctx), time.Now()) {
		return nil, status.Errorf(codes.ResourceExhausted, "too many attempts to join from %s: wait a moment", host(ctx))
	}
	if len(req.Addr) > maxAddrBytes || len(req.Version) > maxVersionBytes {
		return nil, status.Errorf(codes.InvalidArgument, "join: address has %d bytes and version %d: at most %d and %d", len(req.Addr), len(req.Version), maxAddrBytes, maxVersionBytes)
	}
	if err := t.sameProtocol(req.Version, req.Protocol); err != nil {
		return nil, err
	}
	if err := reachable(ctx, req.Addr); err != nil {
		return nil, err
	}
	id := req.Node.ID()
	if !req.Replace {
		var err error
		t.do(func(c *core, now time.Time) { err = c.admit(now, id) })
		if err != nil {
			return nil, wire(err)
		}
	}
	leaf, err := t.authority.Join(trust.JoinRequest{Token: req.Token, Name: id.Name, CSR: req.Csr, Replace: req.Replace}, local)
	if err != nil {
		t.log.Warn("node may not join", "node", id.Name, "from", host(ctx), "err", err)
		return nil, denied(err)
	}
	t.log.Info("node has a certificate", "node", id.Name, "from", host(ctx), "expires", leaf.NotAfter)
	return t.reply(leaf.Raw), nil
}

func (t *trustees) reply(leaf []byte) *pb.EnrolReply {
	return &pb.EnrolReply{Certificate: leaf, Ca: t.authority.CA().Raw}
}

func stateToPB(s trust.State) *pb.TrustState {
	return &pb.TrustState{GossipKeys: s.Gossip, Revoked: s.Revoked}
}

// Renew gives the caller the next certificate for its name (pb.Trust).
func (t *trustees) Renew(ctx context.Context, req *pb.RenewRequest) (*pb.EnrolReply, error) {
	caller, _ := cluster.CallerOf(ctx)
	leaf, err := t.authority.Renew(caller.Peer, req.Csr)
	if err != nil {
		return nil, denied(err)
	}
	t.log.Info("certificate renewed", "of", caller.Identity, "expires", leaf.NotAfter)
	return t.reply(leaf.Raw), nil
}

// Watch streams what every member must know (pb.Trust).
func (t *trustees) Watch(_ *pb.WatchRequest, stream grpc.ServerStreamingServer[pb.TrustState]) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var told *pb.TrustState
	for {
		changed := t.authority.Changed() // before the state, so that no change falls between
		if now := stateToPB(t.authority.State()); !proto.Equal(now, told) {
			if err := stream.Send(now); err != nil {
				return err
			}
			told = now
		}
		select {
		case <-stream.Context().Done():
			return nil
		case <-t.ending:
			return errEnding
		case <-changed:
		case <-tick.C:
		}
	}
}

// CreateToken makes a join token (pb.Trust).
func (t *trustees) CreateToken(ctx context.Context, req *pb.CreateTokenRequest) (*pb.CreateTokenReply, error) {
	token, g, err := t.authority.CreateToken(seconds(req.LifetimeSeconds), int(req.Uses))
	if err != nil {
		return nil, denied(err)
	}
	caller, _ := cluster.CallerOf(ctx)
	t.log.Info("join token created", "token", g.ID, "by", caller.Identity, "expires", g.Expires, "uses", g.Uses)
	return &pb.CreateTokenReply{Token: token.String(), Info: tokenToPB(g)}, nil
}

// Tokens lists join tokens without their secrets (pb.Trust).
func (t *trustees) Tokens(context.Context, *pb.TokensRequest) (*pb.TokensReply, error) {
	reply := &pb.TokensReply{}
	for _, g := range t.authority.Tokens() {
		reply.Tokens = append(reply.Tokens, tokenToPB(g))
	}
	return reply, nil
}

func tokenToPB(g trust.Grant) *pb.TokenInfo {
	return &pb.TokenInfo{Id: g.ID, MadeUnix: g.Made.Unix(), ExpiresUnix: g.Expires.Unix(), Uses: int32(g.Uses), Used: int32(g.Used), Last: g.Last}
}

// DeleteToken makes a token worthless (pb.Trust).
func (t *trustees) DeleteToken(ctx context.Context, req *pb.DeleteTokenRequest) (*pb.DeleteTokenReply, error) {
	if err := t.authority.DeleteToken(req.Id); err != nil {
		return nil, denied(err)
	}
	caller, _ := cluster.CallerOf(ctx)
	t.log.Info("join token deleted", "token", req.Id, "by", caller.Identity)
	return &pb.DeleteTokenReply{}, nil
}

// CreateIdentity gives a person or program a certificate (pb.Trust).
func (t *trustees) CreateIdentity(ctx context.Context, req *pb.CreateIdentityRequest) (*pb.EnrolReply, error) {
	id := trust.Identity{Role: trust.Role(req.Role), Name: req.Name}
	leaf, err := t.authority.Person(id, req.Csr, seconds(req.LifetimeSeconds))
	if err != nil {
		return nil, denied(err)
	}
	caller, _ := cluster.CallerOf(ctx)
	t.log.Info("identity created", "of", id, "by", caller.Identity, "expires", leaf.NotAfter)
	return t.reply(leaf.Raw), nil
}

// Identities lists the certificates that were given out (pb.Trust).
func (t *trustees) Identities(context.Context, *pb.IdentitiesRequest) (*pb.IdentitiesReply, error) {
	reply := &pb.IdentitiesReply{}
	for _, c := range t.authority.Certificates() {
		i := &pb.IdentityInfo{Role: string(c.Role), Name: c.Name, Serial: c.Serial, IssuedUnix: c.Issued.Unix(), ExpiresUnix: c.Expires.Unix()}
		if !c.Revoked.IsZero() {
			i.RevokedUnix = c.Revoked.Unix()
		}
		reply.Identities = append(reply.Identities, i)
	}
	return reply, nil
}

// Revoke ends the certificates of an identity (pb.Trust).
func (t *trustees) Revoke(ctx context.Context, req *pb.RevokeRequest) (*pb.RevokeReply, error) {
	id := trust.Identity{Role: trust.Role(req.Role), Name: req.Name}
	if err := t.authority.Revoke(id); err != nil {
		return nil, denied(err)
	}
	caller, _ := cluster.CallerOf(ctx)
	t.log.Warn("identity revoked", "of", id, "by", caller.Identity)
	return &pb.RevokeReply{}, nil
}

// seconds bounds a number of seconds so that it is a duration; what is out of range is refused by whoever takes it.
func seconds(n int64) time.Duration {
	return time.Duration(min(max(n, -1), int64(2*trust.MaxLifetime/time.Second))) * time.Second
}

// denied gives a refusal its kind on the wire.
func denied(err error) error {
	if errors.Is(err, trust.ErrRefused) {
		return status.Error(codes.PermissionDenied, err.Error())
	}
	return status.Error(codes.Internal, err.Error())
}

// host is the machine that calls.
func host(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "unknown"
	}
	if h, _, err := net.SplitHostPort(p.Addr.String()); err == nil {
		return h
	}
	return p.Addr.String()
}

// attempts bounds how often hosts try to join: a secret of 32 bytes is not guessed, but each attempt costs a signature.
type attempts struct {
	all   *rate.Limiter
	mu    *sync.Mutex // guards hosts
	hosts map[string]*rate.Limiter
}

const (
	attemptsPerSecond     = 50
	hostAttemptsPerSecond = 2
	hostAttemptsAtOnce    = 20
	maxAttemptHosts       = 4096
)

func newAttempts() attempts {
	return attempts{rate.NewLimiter(attemptsPerSecond, attemptsPerSecond), &sync.Mutex{}, map[string]*rate.Limiter{}}
}

func (a attempts) allow(host string, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.hosts[host]
	if h == nil {
		if len(a.hosts) >= maxAttemptHosts { // those that have been quiet lose nothing
			for other := range a.hosts {
				if a.hosts[other].TokensAt(now) >= hostAttemptsAtOnce {
					delete(a.hosts, other)
				}
			}
		}
		if len(a.hosts) >= maxAttemptHosts {
			return false
		}
		h = rate.NewLimiter(hostAttemptsPerSecond, hostAttemptsAtOnce)
		a.hosts[host] = h
	}
	return h.AllowN(now, 1) && a.all.AllowN(now, 1)
}
