package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/trust"
)

// membership is what makes this node one of the cluster's: its certificate, and what it knows of the others.
type membership struct {
	pb.UnimplementedTrustServer // of which a node serves Find alone

	wallet      *trust.Wallet // nil: the cluster is insecure
	path        string        // of the node's identity file
	key         crypto.Signer
	neighbours  *neighbours
	figures     *figures
	coordinator func() string // its present address
}

// applicant is a node that wants to join.
type applicant struct {
	addr string // given on the command line: the coordinator's, or any member's
	wait time.Duration
	req  *pb.EnrolRequest
	s    *config.Settings
}

// identityFile is where the certificate of a node lies; nodes that share a home have one each.
func identityFile(home, name string) string { return filepath.Join(home, "identity", name+".pem") }

// enrol returns the membership of an applicant: by the certificate that it has, else by its token, else because it runs on
// the coordinator's machine as the same user. Nothing is written before the coordinator has agreed.
func (a *applicant) enrol(ctx context.Context) (*membership, string, error) {
	m := &membership{path: identityFile(a.s.Home, a.req.Node.Name), neighbours: newNeighbours()}
	if a.s.Insecure {
		return m, a.addr, nil
	}
	token, err := a.token()
	if err != nil {
		return nil, "", config.Kind(config.ErrUsage, err)
	}
	held, err := trust.Load(m.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, "", err
	}
	if held != nil && (token == nil || token.Pin == held.Pin()) && time.Now().Before(held.Leaf.NotAfter) && !a.req.Replace {
		if token != nil || cluster.LocalTarget(ctx, a.addr) == "" {
			return a.resume(ctx, m, held)
		}
	}
	wallet, target := trust.NewWallet(nil), a.addr
	if token == nil {
		if target, err = a.local(ctx); err != nil {
			return nil, "", err
		}
		if target == "" && held != nil {
			return a.resume(ctx, m, held) // and be told why not
		}
		if target == "" {
			return nil, "", config.Kind(config.ErrRefused, fmt.Errorf("%s asks for a certificate, and this node has none: give it a token with --token (`coordinator token create` prints one)", a.addr))
		}
	} else {
		wallet.Expect(token.Pin)
		a.req.Token = token.String()
	}
	found, err := a.find(ctx, wallet, target)
	if err != nil {
		return nil, "", err
	}
	if held != nil && token == nil && held.Pin() == trust.Pin(found.Pin) && time.Now().Before(held.Leaf.NotAfter) && !a.req.Replace {
		return a.resume(ctx, m, held)
	}
	return a.apply(ctx, m, wallet, found.Coordinator, token == nil)
}

// token is what the settings say of it, or nil.
func (a *applicant) token() (*trust.Token, error) {
	text := a.s.Token
	if a.s.TokenFile != "" {
		b, err := os.ReadFile(a.s.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("read join token: %w", err)
		}
		text = string(b)
	}
	if text == "" && a.s.PoolToken != "" {
		return a.poolToken()
	}
	if text == "" {
		return nil, nil
	}
	if a.s.CA == "" {
		t, err := trust.ParseToken(text)
		return &t, err
	}
	ca, err := trust.LoadCA(a.s.CA)
	if err != nil {
		return nil, err
	}
	t, err := trust.ParseToken(text)
	t.Pin = trust.PinOf(ca)
	return &t, err
}

// poolToken is made of the secret that the whole pool shares.
func (a *applicant) poolToken() (*trust.Token, error) {
	secret, err := os.ReadFile(a.s.PoolToken)
	if err != nil {
		return nil, fmt.Errorf("read the pool's join secret: %w", err)
	}
	ca, err := trust.LoadCA(a.s.CA)
	if err != nil {
		return nil, err
	}
	t, err := trust.PoolToken(string(secret), trust.PinOf(ca))
	return &t, err
}

// local waits for somebody at the address and returns his unix socket, or nothing if he has none for this user.
func (a *applicant) local(ctx context.Context) (string, error) {
	const look, settled = 50 * time.Millisecond, 5 // a coordinator that starts opens its port a moment before its socket
	deadline := time.Now().Add(a.wait)
	for answered := 0; ; {
		if target := cluster.LocalTarget(ctx, a.addr); target != "" {
			return target, nil
		}
		c, err := (&net.Dialer{Deadline: deadline}).DialContext(ctx, "tcp", a.addr)
		if err == nil {
			_ = c.Close()
			if answered++; answered >= settled {
				return "", nil
			}
		}
		if err != nil && time.Now().Add(look).After(deadline) {
			return "", unanswered(a.addr, err)
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(look):
		}
	}
}

// find asks who answers where the coordinator is.
func (a *applicant) find(ctx context.Context, w *trust.Wallet, target string) (*pb.FindReply, error) {
	return call(ctx, a.wait, target, cluster.Secure(w, cluster.AcceptMember), func(ctx context.Context, conn *grpc.ClientConn) (*pb.FindReply, error) {
		found, err := pb.NewTrustClient(conn).Find(ctx, &pb.FindRequest{}, grpc.WaitForReady(true)) // the coordinator may start at the same moment
		if err == nil && len(found.Pin) != len(trust.Pin{}) {
			err = fmt.Errorf("%s answers as an older release: install the same release on all machines", a.addr)
		}
		return found, err
	})
}

// resume uses the certificate that the node has.
func (a *applicant) resume(ctx context.Context, m *membership, held *trust.Bundle) (*membership, string, error) {
	w, err := held.Wallet()
	if err != nil {
		return nil, "", err
	}
	if m.wallet, m.key = w, held.Key; time.Now().After(held.Leaf.NotAfter) {
		return nil, "", config.Kind(config.ErrRefused, fmt.Errorf("the certificate in %s expired at %s: join with a new token (--token), or set this machine's clock", m.path, held.Leaf.NotAfter.UTC().Format(time.RFC3339)))
	}
	found, err := a.find(ctx, w, a.addr)
	if err != nil {
		return nil, "", err
	}
	return m, found.Coordinator, nil
}

// apply gets a first certificate for a new key and keeps both.
func (a *applicant) apply(ctx context.Context, m *membership, w *trust.Wallet, coordinator string, local bool) (*membership, string, error) {
	target := coordinator
	if local {
		if target = cluster.LocalTarget(ctx, coordinator); target == "" {
			return nil, "", config.Kind(config.ErrRefused, fmt.Errorf("the coordinator of %s is at %s, on another machine or of another user: give this node a token with --token (`coordinator token create` prints one)", a.addr, coordinator))
		}
	}
	key, err := trust.NewKey()
	if err != nil {
		return nil, "", err
	}
	if a.req.Csr, err = trust.Request(key); err != nil {
		return nil, "", err
	}
	reply, err := call(ctx, a.wait, target, cluster.Secure(w, cluster.AcceptRole(trust.Coordinator)), func(ctx context.Context, conn *grpc.ClientConn) (*pb.EnrolReply, error) {
		return pb.NewTrustClient(conn).Join(ctx, a.req, grpc.WaitForReady(true))
	})
	if err != nil {
		return nil, "", err
	}
	bundle, err := trust.NewBundle(key, reply.Certificate, reply.Ca)
	if err != nil {
		return nil, "", err
	}
	if err := bundle.Save(m.path); err != nil {
		return nil, "", err
	}
	m.key = key
	m.wallet, err = bundle.Wallet()
	return m, coordinator, err
}

// call makes a call that waits for the server to answer, and says what to do when none does.
func call[T any](ctx context.Context, wait time.Duration, target string, opts []grpc.DialOption, f func(context.Context, *grpc.ClientConn) (T, error)) (T, error) {
	var none T
	conn, err := cluster.Dial(target, opts...)
	if err != nil {
		return none, config.Kind(config.ErrUsage, err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		reply, err := f(ctx, conn)
		if status.Code(err) == codes.ResourceExhausted && ctx.Err() == nil { // others join too
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
			continue
		}
		if err != nil && config.ExitCode(err) == config.ExitUnreachable {
			return none, unanswered(target, err)
		}
		return reply, err
	}
}

func unanswered(addr string, err error) error {
	return config.Kind(config.ErrUnreachable, fmt.Errorf("nobody answers at %s: is the coordinator running, and is this its address? (%s)", addr, config.Text(err)))
}

// options are those of the node's gRPC server.
func (m *membership) options() []grpc.ServerOption {
	if m.wallet == nil {
		return nil
	}
	return cluster.Guard(m.wallet, roles())
}

// listeners are all that the node serves on.
func (m *membership) listeners(self string, l net.Listener) []net.Listener {
	if m.wallet == nil {
		return []net.Listener{l}
	}
	return append(cluster.ListenLocals(self, l), l)
}

// register adds the service by which a node may join by this node's address.
func (m *membership) register(s *grpc.Server) {
	if m.wallet != nil {
		pb.RegisterTrustServer(s, m)
	}
}

// Find says where the coordinator is (pb.Trust).
func (m *membership) Find(context.Context, *pb.FindRequest) (*pb.FindReply, error) {
	pin := m.wallet.Pin()
	return &pb.FindReply{Coordinator: m.coordinator(), Pin: pin[:]}, nil
}

// first asks the coordinator for the gossip keys and for who is revoked, before the node takes part in anything.
func (m *membership) first(ctx context.Context, coordinator string, wait time.Duration) ([][]byte, error) {
	if m.wallet == nil {
		return nil, nil
	}
	state, err := call(ctx, wait, coordinator, m.secure(), func(ctx context.Context, conn *grpc.ClientConn) (*pb.TrustState, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := pb.NewTrustClient(conn).Watch(ctx, &pb.WatchRequest{}, grpc.WaitForReady(true))
		if err != nil {
			return nil, err
		}
		return stream.Recv()
	})
	if err != nil {
		return nil, err
	}
	m.wallet.Revoke(state.Revoked)
	return state.GossipKeys, nil
}

// secure are the options of a connection to the coordinator.
func (m *membership) secure() []grpc.DialOption {
	return cluster.Secure(m.wallet, cluster.AcceptRole(trust.Coordinator))
}

// keep follows revocations and gossip keys and renews the certificate, until ctx is done. While the coordinator is away
// everything stays as it is; a certificate has ten days left when its renewal is first tried.
func (m *membership) keep(ctx context.Context, gossip *cluster.Gossip, log *slog.Logger) error {
	if m.wallet == nil {
		return nil
	}
	const patience, most = time.Second, 15 * time.Second
	for wait := patience; ; wait = min(2*wait, most) {
		err := m.watch(ctx, gossip, log, func() { wait = patience })
		if ctx.Err() != nil {
			return nil
		}
		log.Debug("trust is not followed, calling again", "coordinator", m.coordinator(), "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// watch is one connection of keep; it ends when the certificate is to be renewed, after which the next begins.
func (m *membership) watch(ctx context.Context, gossip *cluster.Gossip, log *slog.Logger, alive func()) error {
	conn, err := cluster.Dial(m.coordinator(), m.secure()...)
	if err != nil {
		return err
	}
	defer conn.Close()
	client, renewAt := pb.NewTrustClient(conn), trust.RenewAt(m.wallet.Certificate().Leaf)
	if !time.Now().Before(renewAt) {
		if err := m.renew(ctx, client, log); err != nil {
			log.Warn("certificate is not renewed yet", "expires", m.wallet.Certificate().Leaf.NotAfter, "err", err)
			return err
		}
		renewAt = trust.RenewAt(m.wallet.Certificate().Leaf)
	}
	ctx, cancel := context.WithDeadline(ctx, renewAt)
	defer cancel()
	stream, err := client.Watch(ctx, &pb.WatchRequest{})
	if err != nil {
		return err
	}
	for {
		state, err := stream.Recv()
		if err != nil {
			return err
		}
		alive()
		m.wallet.Revoke(state.Revoked)
		if err := gossip.SetKeys(state.GossipKeys); err != nil {
			log.Error("gossip key is not understood", "err", err)
		}
	}
}

// renew gets the next certificate, for the same key, and keeps it.
func (m *membership) renew(ctx context.Context, client pb.TrustClient, log *slog.Logger) error {
	csr, err := trust.Request(m.key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	reply, err := client.Renew(ctx, &pb.RenewRequest{Csr: csr})
	if err != nil {
		return err
	}
	bundle, err := trust.NewBundle(m.key, reply.Certificate, reply.Ca)
	if err != nil {
		return err
	}
	if err := m.wallet.Keep(bundle.Key, bundle.Leaf, bundle.CA); err != nil {
		return err
	}
	log.Info("certificate renewed", "expires", bundle.Leaf.NotAfter)
	return bundle.Save(m.path)
}
