package main

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/torctrain/torc/coordinator/control"
	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/trust"
	"github.com/torctrain/torc/internal/view"
)

// coordinate serves a cluster whose CA lies in dir.
func coordinate(t *testing.T, dir string) (*control.Server, *trust.Authority) {
	t.Helper()
	return coordinateBy(t, dir, time.Now)
}

// coordinateBy does it by another clock.
func coordinateBy(t *testing.T, dir string, clock func() time.Time) (*control.Server, *trust.Authority) {
	t.Helper()
	a, err := trust.Open(trust.Config{Dir: dir, Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	s, err := control.New(control.Config{Home: t.TempDir(), Listen: "127.0.0.1:0", Version: version, Trust: a})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, a
}

func apply(t *testing.T, s *control.Server, name string, settings config.Settings, edit func(*applicant)) (*membership, error) {
	t.Helper()
	a := &applicant{addr: s.Addr(), wait: 10 * time.Second, s: &settings, req: &pb.EnrolRequest{
		Node: &pb.NodeID{Name: name, Boot: 1}, Addr: "127.0.0.1:1", Version: version, Protocol: pb.Protocol,
	}}
	if edit != nil {
		edit(a)
	}
	m, _, err := a.enrol(t.Context())
	return m, err
}

func TestACertificateIsRenewedWithoutARestart(t *testing.T) {
	dir, home := t.TempDir(), t.TempDir()
	// Made 21 days ago: to be renewed, and still good for nine.
	past, err := trust.Open(trust.Config{Dir: dir, Now: func() time.Time { return time.Now().Add(-21 * 24 * time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	m := realm{past, t}.node("ada")
	m.path = identityFile(home, "ada")
	old := m.wallet.Certificate().Leaf
	s, a := coordinate(t, dir)
	m.coordinator = s.Addr
	gossip, err := cluster.OpenGossip(cluster.GossipConfig{
		Cluster: "test", Self: cluster.Peer{Node: view.NodeID{Name: "ada"}, Role: cluster.Node, Addr: "127.0.0.1:1"},
		Bind: "127.0.0.1:0", Keys: a.State().Gossip, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer gossip.Close()
	ctx, cancel := context.WithCancel(t.Context())
	followed := make(chan struct{}, 64) // states that arrive; more than a test makes
	done := make(chan error, 1)
	go func() {
		done <- m.watch(ctx, gossip, slog.New(slog.NewTextHandler(io.Discard, nil)), func() { followed <- struct{}{} })
	}()
	<-followed
	next := m.wallet.Certificate().Leaf
	if !next.NotAfter.After(old.NotAfter) || next.Equal(old) {
		t.Errorf("the certificate still ends at %v", next.NotAfter)
	}
	if kept, err := trust.Load(m.path); err != nil || !kept.Leaf.Equal(next) {
		t.Errorf("on disk: %v", err)
	}
	// And a revocation of another arrives on the same session.
	bob := realm{a, t}.node("bob")
	if err := a.Revoke(trust.Identity{Role: trust.Node, Name: "bob"}); err != nil {
		t.Fatal(err)
	}
	<-followed
	if _, err := m.wallet.Verify(chain(bob)); err == nil || !strings.Contains(err.Error(), "was revoked") {
		t.Errorf("a member is not told of a revocation: %v", err)
	}
	cancel()
	<-done // its error is that it was ended
}

func TestANodeComesBackWithItsCertificateAndNoToken(t *testing.T) {
	s, a := coordinate(t, t.TempDir())
	home := t.TempDir()
	token, _, err := a.CreateToken(time.Hour, 1)
	if err != nil {
		t.Fatal(err)
	}
	first, err := apply(t, s, "ada", config.Settings{Home: home, Token: token.String()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	// The same command again, as a service manager repeats it: the used token does no harm.
	for what, settings := range map[string]config.Settings{
		"with its used token": {Home: home, Token: token.String()}, "without a token": {Home: home},
	} {
		again, err := apply(t, s, "ada", settings, nil)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if !again.wallet.Certificate().Leaf.Equal(first.wallet.Certificate().Leaf) {
			t.Errorf("%s: it has another certificate", what)
		}
	}
	// From elsewhere the token is worthless, and leaves nothing behind.
	elsewhere := t.TempDir()
	_, err = apply(t, s, "bob", config.Settings{Home: elsewhere, Token: token.String()}, nil)
	if config.ExitCode(err) != config.ExitRefused || !strings.Contains(err.Error(), "was used already, by node ada") {
		t.Errorf("a replayed token: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(elsewhere, "*")); len(left) != 0 {
		t.Errorf("a refused node leaves %q", left)
	}
	for text, says := range map[string]string{"nonsense": "read join token", token.String()[:40]: "read join token"} {
		_, err = apply(t, s, "bob", config.Settings{Home: elsewhere, Token: text}, nil)
		if config.ExitCode(err) != config.ExitUsage || !strings.Contains(err.Error(), says) {
			t.Errorf("token %q: %v", text, err)
		}
	}
	_, other := coordinate(t, t.TempDir())
	foreign, _, err := other.CreateToken(time.Hour, 1)
	if err != nil {
		t.Fatal(err)
	}
	_, err = apply(t, s, "bob", config.Settings{Home: elsewhere, Token: foreign.String()}, nil)
	if config.ExitCode(err) != config.ExitRefused || !strings.Contains(config.Text(err), "token is for another cluster") {
		t.Errorf("another cluster's token: %v", err)
	}
}

func TestANodeIsToldThatItsClockIsBehind(t *testing.T) {
	s, a := coordinateBy(t, t.TempDir(), func() time.Time { return time.Now().Add(3 * time.Hour) })
	token, _, err := a.CreateToken(time.Hour, 1)
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	_, err = apply(t, s, "ada", config.Settings{Home: home, Token: token.String()}, nil)
	if config.ExitCode(err) != config.ExitRefused || !strings.Contains(config.Text(err), "but this machine's clock says") {
		t.Errorf("a node whose clock is three hours behind: %v", err)
	}
	if _, err := trust.Load(identityFile(home, "ada")); err == nil || a.Tokens()[0].Used != 0 {
		t.Errorf("it has a certificate (%v), or its token is used: %+v", err, a.Tokens())
	}
}

func TestANodeTakesANameOverWhenToldTo(t *testing.T) {
	s, a := coordinate(t, t.TempDir())
	join := func(home string, replace bool) (*membership, error) {
		token, _, err := a.CreateToken(time.Hour, 1)
		if err != nil {
			t.Fatal(err)
		}
		return apply(t, s, "ada", config.Settings{Home: home, Token: token.String()}, func(a *applicant) { a.req.Replace = replace })
	}
	old, err := join(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := join(t.TempDir(), false); config.ExitCode(err) != config.ExitRefused || !strings.Contains(config.Text(err), "--replace") {
		t.Errorf("a second machine of that name: %v", err)
	}
	if _, err := join(t.TempDir(), true); err != nil {
		t.Errorf("with --replace: %v", err)
	}
	if _, err := a.Wallet().Verify(chain(old)); err == nil {
		t.Error("the first machine's certificate still counts")
	}
}
