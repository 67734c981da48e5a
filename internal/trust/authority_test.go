package trust

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// stage is an Authority with a clock that the test turns.
type stage struct {
	*Authority
	t   *testing.T
	now time.Time
	dir string
}

func open(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t, now: time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC), dir: t.TempDir()}
	s.reopen()
	return s
}

func (s *stage) clock() time.Time { return s.now }

func (s *stage) reopen() {
	s.t.Helper()
	a, err := Open(Config{Dir: s.dir, Now: s.clock})
	if err != nil {
		s.t.Fatal(err)
	}
	s.Authority = a
}

func request(t *testing.T) (crypto.Signer, []byte) {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := Request(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, csr
}

func (s *stage) token(lifetime time.Duration, uses int) string {
	s.t.Helper()
	tok, _, err := s.CreateToken(lifetime, uses)
	if err != nil {
		s.t.Fatal(err)
	}
	return tok.String()
}

// join is a node that joins with a new key.
func (s *stage) join(name, token string) (*x509.Certificate, error) {
	s.t.Helper()
	_, csr := request(s.t)
	return s.Join(JoinRequest{Token: token, Name: name, CSR: csr}, false)
}

func refused(t *testing.T, err error, text string) {
	t.Helper()
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want a refusal with %q", err, text)
	}
}

func TestTokenAdmitsOnceAndIsKeptAsAHash(t *testing.T) {
	s := open(t)
	token := s.token(time.Hour, 1)
	leaf, err := s.join("ada", token)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := s.Wallet().Verify([]*x509.Certificate{leaf}); err != nil || p.Identity != (Identity{Node, "ada"}) {
		t.Errorf("certificate is that of %v, %v", p, err)
	}
	_, err = s.join("bob", token)
	refused(t, err, "was used already, by node ada")
	s.reopen() // replayed after a restart
	_, err = s.join("bob", token)
	refused(t, err, "was used already, by node ada")
	parsed, err := ParseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	book, err := os.ReadFile(filepath.Join(s.dir, bookFile))
	if err != nil {
		t.Fatal(err)
	}
	if secret := strings.Split(token, ".")[2]; bytes.Contains(book, []byte(secret)) || bytes.Contains(book, []byte(hex.EncodeToString(parsed.Secret[:]))) {
		t.Error("the book holds the secret of a token")
	}
}

func TestTokensAreRefusedWithWhatToDo(t *testing.T) {
	s := open(t)
	expired := s.token(time.Minute, 1)
	deleted := s.token(time.Hour, 1)
	twice := s.token(time.Hour, 2)
	if err := s.DeleteToken(s.Tokens()[1].ID); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if _, err := s.join(name, twice); err != nil {
			t.Fatal(err)
		}
	}
	s.now = s.now.Add(time.Minute)
	other := open(t).token(time.Hour, 1)
	for token, says := range map[string]string{
		"":             "a join token is needed",
		"open sesame":  "read join token",
		expired:        "expired at 2030-01-01T12:01:00Z",
		deleted:        "does not know this join token",
		other:          "does not know this join token",
		twice:          "used 2 times already",
		expired[:60]:   "read join token",
		expired + "==": "read join token",
	} {
		_, err := s.join("c", token)
		refused(t, err, says)
		refused(t, err, "coordinator token create")
	}
	if len(s.Certificates()) != 2 {
		t.Errorf("%d certificates were made, want those of a and b", len(s.Certificates()))
	}
}

func TestARefusedJoinDoesNotUseItsToken(t *testing.T) {
	s := open(t)
	if _, err := s.join("ada", s.token(time.Hour, 1)); err != nil {
		t.Fatal(err)
	}
	token := s.token(time.Hour, 1)
	_, err := s.join("ada", token) // another key for a live name
	refused(t, err, "--replace")
	_, err = s.join("a/b", token)
	refused(t, err, "use 1 to 63 letters")
	_, err = s.Join(JoinRequest{Token: token, Name: "bob", CSR: []byte("no request")}, false)
	refused(t, err, "certificate request")
	_, err = s.Join(JoinRequest{Token: token, Name: "bob", CSR: make([]byte, maxRequestBytes+1)}, false)
	refused(t, err, "at most 4096")
	if _, err := s.join("bob", token); err != nil {
		t.Errorf("the token no longer counts: %v", err)
	}
}

func TestReplaceRevokesTheFormerHolder(t *testing.T) {
	s := open(t)
	former, err := s.join("ada", s.token(time.Hour, 1))
	if err != nil {
		t.Fatal(err)
	}
	_, csr := request(t)
	if _, err := s.Join(JoinRequest{Token: s.token(time.Hour, 1), Name: "ada", CSR: csr, Replace: true}, false); err != nil {
		t.Fatal(err)
	}
	_, err = s.Wallet().Verify([]*x509.Certificate{former})
	refused(t, err, "was revoked")
	if len(s.State().Gossip) != 2 {
		t.Error("the gossip key does not change when a machine is replaced")
	}
}

func TestPoolSecretAdmitsAsLongAsItsFileSaysSo(t *testing.T) {
	s := open(t)
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("correct horse battery staple\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.cfg.PoolToken = path
	tok, err := PoolToken("correct horse battery staple", PinOf(s.CA()))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if _, err := s.join(name, tok.String()); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, []byte("another secret of the pool"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = s.join("c", tok.String())
	refused(t, err, "does not know")
	if _, err := PoolToken("short", Pin{}); err == nil {
		t.Error("a short secret was taken")
	}
}

// A coordinator whose clock was set back, or whose CA has come to its end, says so instead of giving out what nobody believes.
func TestACAThatDoesNotCountNowIsSaidSo(t *testing.T) {
	s := open(t)
	founded := s.now
	for _, c := range []struct {
		now  time.Time
		want string
	}{
		{founded.Add(-backdate - time.Second), "valid from 2030-01-01 11:00:00 UTC, but the clock of the coordinator's machine says 2030-01-01 10:59:59 UTC"},
		{founded.Add(caLifetime + time.Second), "the cluster's CA expired at 2039-12-30 12:00:00 UTC"},
	} {
		s.now = c.now
		_, err := Open(Config{Dir: s.dir, Now: s.clock})
		refused(t, err, c.want)
	}
	s.now = founded
	s.reopen()
}

func TestCertificatesCountInTheirTimeAndClusterOnly(t *testing.T) {
	s := open(t)
	leaf, err := s.join("ada", s.token(time.Hour, 1))
	if err != nil {
		t.Fatal(err)
	}
	chain := []*x509.Certificate{leaf}
	s.now = s.now.Add(-backdate + time.Second) // a clock that is slow within reason
	if _, err := s.Wallet().Verify(chain); err != nil {
		t.Errorf("a clock that is 59 minutes slow: %v", err)
	}
	s.now = s.now.Add(-time.Minute)
	_, err = s.Wallet().Verify(chain)
	refused(t, err, "set the clocks of both machines")
	s.now = leaf.NotAfter.Add(time.Second)
	_, err = s.Wallet().Verify(chain)
	refused(t, err, "expired at 2030-01-31")
	_, err = open(t).Wallet().Verify(chain)
	refused(t, err, "belongs to another cluster")
	_, err = s.Wallet().Verify(nil)
	refused(t, err, "no certificate was shown")
	_, err = s.Wallet().Verify(slices.Repeat(chain, maxChain+1))
	refused(t, err, "more than 4")
	_, err = s.Wallet().Verify([]*x509.Certificate{s.CA()})
	refused(t, err, "names no torc identity")
}

func TestRenewalComesLongBeforeTheEnd(t *testing.T) {
	s := open(t)
	leaf, err := s.join("ada", s.token(time.Hour, 1))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := RenewAt(leaf), s.now.Add(NodeLifetime*2/3); got.Sub(want).Abs() > time.Second {
		t.Errorf("renewal at %v, want %v", got, want)
	}
	s.now = RenewAt(leaf)
	_, csr := request(t)
	next, err := s.Renew(Peer{Identity: Identity{Node, "ada"}, Serial: serialText(leaf)}, csr)
	if err != nil {
		t.Fatal(err)
	}
	s.now = leaf.NotAfter.Add(time.Hour)
	if p, err := s.Wallet().Verify([]*x509.Certificate{next}); err != nil || p.Name != "ada" {
		t.Errorf("the renewed certificate: %v, %v", p, err)
	}

	own := s.Wallet().Certificate()
	if err := s.RenewOwn(); err != nil {
		t.Fatal(err)
	}
	if again := s.Wallet().Certificate(); again == own || !again.Leaf.NotAfter.After(own.Leaf.NotAfter) {
		t.Error("the coordinator does not renew its own certificate")
	}
}

func TestRevocationCountsAtOnceAndSurvivesARestart(t *testing.T) {
	s := open(t)
	leaf, err := s.join("ada", s.token(time.Hour, 1))
	if err != nil {
		t.Fatal(err)
	}
	chain := []*x509.Certificate{leaf}
	p, err := s.Wallet().Verify(chain)
	if err != nil {
		t.Fatal(err)
	}
	var conn closer
	if _, err := s.Wallet().Watch(p, &conn); err != nil {
		t.Fatal(err)
	}
	changed := s.Changed()
	if err := s.Revoke(Identity{Node, "ada"}); err != nil {
		t.Fatal(err)
	}
	if !conn {
		t.Error("the connection of a revoked node goes on")
	}
	select {
	case <-changed:
	default:
		t.Error("nobody is told of the revocation")
	}
	_, err = s.Wallet().Verify(chain)
	refused(t, err, "was revoked")
	_, err = s.Wallet().Watch(p, &conn)
	refused(t, err, "was revoked")
	s.reopen()
	_, err = s.Wallet().Verify(chain)
	refused(t, err, "was revoked")
	refused(t, s.Revoke(Identity{Node, "ada"}), "has no certificate that counts")
	// A new token lets the machine come back under its name.
	if _, err := s.join("ada", s.token(time.Hour, 1)); err != nil {
		t.Error(err)
	}
}

type closer bool

func (c *closer) Close() error { *c = true; return nil }

func TestGossipKeyIsUnderstoodBeforeItIsUsed(t *testing.T) {
	s := open(t)
	old := s.State().Gossip
	if len(old) != 1 || len(old[0]) != gossipKeyBytes {
		t.Fatalf("%d gossip keys at first", len(old))
	}
	if err := s.Rotate(); err != nil {
		t.Fatal(err)
	}
	keys := s.State().Gossip
	if len(keys) != 2 || !bytes.Equal(keys[0], old[0]) {
		t.Error("the new key is used at once, before others know it")
	}
	s.now = s.now.Add(understood)
	next := s.State().Gossip
	if len(next) != 2 || !bytes.Equal(next[0], keys[1]) || !bytes.Equal(next[1], old[0]) {
		t.Error("the new key is not used after a while, or the old one not understood")
	}
	if err := s.Rotate(); err != nil { // again, before the first rotation is over
		t.Fatal(err)
	}
	if three := s.State().Gossip; len(three) != 3 || !bytes.Equal(three[0], keys[1]) {
		t.Errorf("%d keys in the second rotation", len(three))
	}
	s.now = s.now.Add(overlap)
	last := s.State().Gossip
	if len(last) != 1 || slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, last[0]) }) {
		t.Error("an old key still counts after both rotations")
	}
	s.reopen()
	if again := s.State().Gossip; len(again) != 1 || !bytes.Equal(again[0], last[0]) {
		t.Error("a restarted coordinator has another gossip key")
	}
}

func TestPersonsHaveRolesAndNothingElse(t *testing.T) {
	s := open(t)
	_, csr := request(t)
	leaf, err := s.Person(Identity{Viewer, "eve"}, csr, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := s.Wallet().Verify([]*x509.Certificate{leaf}); err != nil || p.Role != Viewer {
		t.Errorf("got %v, %v", p, err)
	}
	for _, role := range []Role{Node, Coordinator, Local, "root", ""} {
		_, err := s.Person(Identity{role, "eve"}, csr, time.Hour)
		refused(t, err, "use viewer or operator")
	}
	_, err = s.Person(Identity{Viewer, "eve"}, csr, MaxLifetime+1)
	refused(t, err, "lifetime")
}

func TestTheCAIsNeitherMadeTwiceNorReplaced(t *testing.T) {
	s := open(t)
	pin := PinOf(s.CA())
	s.reopen()
	if PinOf(s.CA()) != pin {
		t.Fatal("a restarted coordinator has another CA")
	}
	info, err := os.Stat(filepath.Join(s.dir, caKeyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the CA's key has mode %v, %v", info.Mode(), err)
	}
	s.token(time.Hour, 1)
	if err := os.Remove(filepath.Join(s.dir, caCertFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: s.dir}); err == nil || !strings.Contains(err.Error(), "put ca.crt and ca.key back") {
		t.Errorf("a lost CA: %v", err)
	}
}

func TestAGivenCAIsOnlyRead(t *testing.T) {
	s := open(t)
	given := t.TempDir()
	for from, to := range map[string]string{caCertFile: "tls.crt", caKeyFile: "tls.key"} {
		text, err := os.ReadFile(filepath.Join(s.dir, from))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(given, to), text, 0o400); err != nil {
			t.Fatal(err)
		}
	}
	a, err := Open(Config{Dir: filepath.Join(t.TempDir(), "new"), CADir: given, Now: s.clock})
	if err != nil || PinOf(a.CA()) != PinOf(s.CA()) {
		t.Fatalf("open with a given CA: %v", err)
	}
	other := open(t)
	text, err := os.ReadFile(filepath.Join(other.dir, caKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, caKeyFile), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: s.dir}); err == nil || !strings.Contains(err.Error(), "do not belong together") {
		t.Errorf("a CA with another's key: %v", err)
	}
}

func TestBundlesAreKeptForTheirOwnerAlone(t *testing.T) {
	s := open(t)
	key, csr := request(t)
	leaf, err := s.Join(JoinRequest{Name: "ada", CSR: csr}, true)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "identity", "ada.pem")
	if err := (&Bundle{key, leaf, s.CA()}).Save(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	b, err := Load(path)
	if err != nil || !b.Leaf.Equal(leaf) || b.Pin() != PinOf(s.CA()) {
		t.Errorf("read back %v, %v", b, err)
	}
	parts := t.TempDir() // as others lay them out
	text, err := b.Encode()
	if err != nil {
		t.Fatal(err)
	}
	cut := strings.SplitAfter(string(text), "-----END PRIVATE KEY-----\n")
	certs := strings.SplitAfter(cut[1], "-----END CERTIFICATE-----\n")
	for name, part := range map[string]string{"tls.key": cut[0], "tls.crt": certs[0], "ca.crt": certs[1]} {
		if err := os.WriteFile(filepath.Join(parts, name), []byte(part), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if again, err := Load(parts); err != nil || !again.Leaf.Equal(leaf) {
		t.Errorf("read from a directory: %v", err)
	}
	other, _ := request(t)
	if err := (&Bundle{other, leaf, s.CA()}).Save(path); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "join again") {
		t.Errorf("a key of another certificate: %v", err)
	}
}

func TestAnExpectedPinIsAllThatCounts(t *testing.T) {
	s, other := open(t), open(t)
	tok, _, err := s.CreateToken(time.Hour, 1)
	if err != nil {
		t.Fatal(err)
	}
	chainOf := func(a *Authority) []*x509.Certificate {
		return []*x509.Certificate{a.Wallet().Certificate().Leaf, a.CA()}
	}
	w := NewWallet(s.clock)
	_, err = w.Verify(chainOf(s.Authority))
	refused(t, err, "coordinator identity create")
	w.Expect(tok.Pin)
	if p, err := w.Verify(chainOf(s.Authority)); err != nil || p.Role != Coordinator {
		t.Errorf("the pinned coordinator: %v, %v", p, err)
	}
	_, err = w.Verify(chainOf(other.Authority))
	refused(t, err, "token is for another cluster")
	_, err = w.Verify([]*x509.Certificate{other.Wallet().Certificate().Leaf, s.CA()}) // the right CA beside a stranger's leaf
	refused(t, err, "belongs to another cluster")
}

// Calls that are under way when their caller is revoked come to nothing: a flood of them must not win the race with a revocation.
func TestWhoeverIsRevokedIsNotRenewed(t *testing.T) {
	s := open(t)
	leaf, err := s.join("ada", s.token(time.Hour, 1))
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Wallet().Verify([]*x509.Certificate{leaf}) // as a connection knows its peer
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Revoke(Identity{Node, "ada"}); err != nil {
		t.Fatal(err)
	}
	_, csr := request(t)
	next, err := s.Renew(p, csr)
	refused(t, err, "the certificate of node ada was revoked")
	if next != nil {
		t.Error("a certificate was made")
	}
	if live := s.book.holder(Node, "ada", s.now); live != nil {
		t.Errorf("ada has a certificate that counts, %s", live.Serial)
	}
}
