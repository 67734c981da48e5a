package trust

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Lifetimes of certificates. Those of nodes and of the coordinator are renewed by themselves.
const (
	NodeLifetime   = 30 * 24 * time.Hour
	PersonLifetime = 90 * 24 * time.Hour
	MaxLifetime    = 366 * 24 * time.Hour
)

// Config says where an Authority keeps what it knows.
type Config struct {
	// Dir is the directory of the CA and the Book, made if it does not exist. Required; outside the data directory, so
	// that who copies the data does not copy the key.
	Dir string
	// CADir, if not empty, has the CA's certificate and key as ca.crt and ca.key or tls.crt and tls.key, and is only read.
	CADir string
	// PoolToken, if not empty, is a file with a secret of at least 16 characters: who shows it may join, as often as he
	// likes, for as long as it stands there.
	PoolToken string
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Authority is the coordinator's part: it admits, renews and revokes. It is safe for use by several goroutines.
type Authority struct {
	cfg    Config
	ca     *CA
	wallet *Wallet
	key    crypto.Signer // of the coordinator's own certificate

	mu      sync.Mutex // guards what follows
	book    *Book
	changed chan struct{} // closed and made anew when the book changed
}

// Open reads the CA and the Book, or founds them.
func Open(cfg Config) (*Authority, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	ca, err := openCA(cfg)
	if err != nil {
		return nil, err
	}
	book, err := readBook(cfg.Dir)
	if err != nil {
		return nil, err
	}
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	a := &Authority{cfg: cfg, ca: ca, wallet: NewWallet(cfg.Now), key: key, book: book, changed: make(chan struct{})}
	a.wallet.Revoke(book.revoked(cfg.Now()))
	return a, a.RenewOwn()
}

// Wallet is the coordinator's own: it shows its certificate and checks others.
func (a *Authority) Wallet() *Wallet { return a.wallet }

// CA is the certificate by which others recognise this cluster.
func (a *Authority) CA() *x509.Certificate { return a.ca.Cert }

// RenewOwn gives the coordinator a new certificate when its own has lived for two thirds of its life, or when it has none.
func (a *Authority) RenewOwn() error {
	if own := a.wallet.Certificate(); own != nil && a.cfg.Now().Before(RenewAt(own.Leaf)) {
		return nil
	}
	leaf, err := a.ca.issue(Identity{Coordinator, "coordinator"}, a.key.Public(), a.cfg.Now(), NodeLifetime)
	if err != nil {
		return err
	}
	return a.wallet.Keep(a.key, leaf, a.ca.Cert)
}

// Grant is a join token for people: everything but its secret.
type Grant struct {
	ID            string
	Made, Expires time.Time
	Uses, Used    int // Uses 0: any number
	Last          string
}

const (
	// DefaultTokenLifetime is how long a token counts, unless said otherwise.
	DefaultTokenLifetime = time.Hour
	maxUses              = 1 << 20
)

// CreateToken makes a token that counts for lifetime and may be used so many times; 0 is any number.
func (a *Authority) CreateToken(lifetime time.Duration, uses int) (Token, Grant, error) {
	if lifetime <= 0 || lifetime > MaxLifetime {
		return Token{}, Grant{}, refusef("token lifetime is %v: use more than 0 and at most %v", lifetime, MaxLifetime)
	}
	if uses < 0 || uses > maxUses {
		return Token{}, Grant{}, refusef("token may be used %d times: use 1 to %d, or 0 for any number", uses, maxUses)
	}
	t, now := newToken(pinOf(a.ca.Cert)), a.cfg.Now()
	hash := t.hash()
	g := grant{ID: "t" + strings.ToLower(rand.Text()[:7]), Secret: hex.EncodeToString(hash[:]), Made: now, Expires: now.Add(lifetime), Uses: uses}
	err := a.change(func(b *Book) error {
		if len(b.Grants) >= maxGrants {
			return refusef("there are %d join tokens already: delete some with `coordinator token delete`", len(b.Grants))
		}
		b.Grants = append(b.Grants, g)
		return nil
	})
	return t, g.public(), err
}

func (g grant) public() Grant { return Grant{g.ID, g.Made, g.Expires, g.Uses, g.Used, g.Last} }

// Tokens lists the tokens that have not been forgotten.
func (a *Authority) Tokens() []Grant {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []Grant
	for _, g := range a.book.Grants {
		all = append(all, g.public())
	}
	return all
}

// DeleteToken makes a token worthless.
func (a *Authority) DeleteToken(id string) error {
	return a.change(func(b *Book) error {
		for i, g := range b.Grants {
			if g.ID == id {
				b.Grants = append(b.Grants[:i], b.Grants[i+1:]...)
				return nil
			}
		}
		return refusef("no join token has the id %.20q: `coordinator token list` shows them", id)
	})
}

// JoinRequest asks for a node's first certificate.
type JoinRequest struct {
	Token   string // empty for a caller of the same user on the same machine
	Name    string
	CSR     []byte
	Replace bool // take the name over from a machine whose certificate still counts
}

// Join gives a node its certificate. trusted says that the caller needs no token: it is a process of the same user on the
// same machine. A token is used up only when a certificate was made and noted.
func (a *Authority) Join(r JoinRequest, trusted bool) (*x509.Certificate, error) {
	if err := CheckName(r.Name); err != nil {
		return nil, refusal{err.Error()}
	}
	public, err := parseRequest(r.CSR)
	if err != nil {
		return nil, err
	}
	now, id := a.cfg.Now(), Identity{Node, r.Name}
	var leaf *x509.Certificate
	err = a.change(func(b *Book) error {
		if !trusted {
			if err := a.spend(b, r.Token, id, now); err != nil {
				return err
			}
		}
		if held := b.holder(Node, r.Name, now); held != nil && !r.Replace && !trusted && held.Key != keyText(public) {
			return refusef("a node named %s has a certificate since %s whose key may still be in use: choose another --name, or give --replace if this machine takes that one's place",
				r.Name, held.Issued.UTC().Format(time.RFC3339))
		}
		if b.revoke(Node, r.Name, now) > 0 && r.Replace {
			b.rotate(now)
		}
		leaf, err = a.enter(b, id, public, now, NodeLifetime)
		return err
	})
	if err == nil {
		a.wallet.Revoke(a.State().Revoked)
	}
	return leaf, err
}

// spend uses a token for id.
func (a *Authority) spend(b *Book, text string, id Identity, now time.Time) error {
	if text == "" {
		return refusef("a join token is needed from another machine or user: `coordinator token create` prints one, give it with --token")
	}
	t, err := ParseToken(text)
	if err != nil {
		return refusal{err.Error()}
	}
	if pool, err := a.poolToken(); err != nil {
		return err
	} else if pool != nil && sameHash(hashText(*pool), hashText(t)) {
		return nil
	}
	g, err := b.admit(t, now)
	if err != nil {
		return err
	}
	g.Used++
	g.Last = fmt.Sprintf("%s at %s", id, now.UTC().Format(time.RFC3339))
	return nil
}

func hashText(t Token) string {
	h := t.hash()
	return hex.EncodeToString(h[:])
}

// minPoolBytes is the least length of a pool's secret.
const minPoolBytes = 16

// PoolToken makes a token of a secret that both sides have in a file.
func PoolToken(secret string, p Pin) (Token, error) {
	secret = strings.TrimSpace(secret)
	if len(secret) < minPoolBytes {
		return Token{}, fmt.Errorf("the pool's join secret has %d characters: use at least %d, by chance", len(secret), minPoolBytes)
	}
	return Token{Pin: p, Secret: sha256.Sum256([]byte("torc pool secret " + secret))}, nil
}

// poolToken reads the pool's secret afresh, so that it can be exchanged while the coordinator runs.
func (a *Authority) poolToken() (*Token, error) {
	if a.cfg.PoolToken == "" {
		return nil, nil
	}
	text, err := os.ReadFile(a.cfg.PoolToken)
	if err != nil {
		return nil, fmt.Errorf("read the pool's join secret: %w", err)
	}
	t, err := PoolToken(string(text), pinOf(a.ca.Cert))
	return &t, err
}

// Renew gives somebody whose certificate counts the next one, for the same name.
func (a *Authority) Renew(p Peer, csr []byte) (*x509.Certificate, error) {
	public, err := parseRequest(csr)
	if err != nil {
		return nil, err
	}
	lifetime := NodeLifetime
	if p.Role == Operator || p.Role == Viewer {
		lifetime = PersonLifetime
	}
	return a.give(p.Identity, public, lifetime, func(b *Book) error {
		if b.isRevoked(p.Serial) { // since its connection was made, which is about to be closed
			return refusef("the certificate of %s was revoked", p.Identity)
		}
		return nil
	})
}

// Person gives an operator or viewer a certificate.
func (a *Authority) Person(id Identity, csr []byte, lifetime time.Duration) (*x509.Certificate, error) {
	if err := CheckName(id.Name); err != nil {
		return nil, refusal{err.Error()}
	}
	if id.Role != Operator && id.Role != Viewer {
		return nil, refusef("role is %.20q: use viewer or operator", id.Role)
	}
	if lifetime <= 0 || lifetime > MaxLifetime {
		return nil, refusef("certificate lifetime is %v: use more than 0 and at most %v", lifetime, MaxLifetime)
	}
	public, err := parseRequest(csr)
	if err != nil {
		return nil, err
	}
	return a.give(id, public, lifetime, func(*Book) error { return nil })
}

// give makes a certificate and notes it, unless may, which looks at the Book that is noted in, has something against it.
func (a *Authority) give(id Identity, public crypto.PublicKey, lifetime time.Duration, may func(*Book) error) (*x509.Certificate, error) {
	var leaf *x509.Certificate
	err := a.change(func(b *Book) (err error) {
		if err := may(b); err != nil {
			return err
		}
		leaf, err = a.enter(b, id, public, a.cfg.Now(), lifetime)
		return err
	})
	return leaf, err
}

// enter makes a certificate and notes it.
func (a *Authority) enter(b *Book, id Identity, public crypto.PublicKey, now time.Time, lifetime time.Duration) (*x509.Certificate, error) {
	if len(b.Certs) >= maxCerts {
		return nil, refusef("%d certificates have been given out and not expired: revoke what is not needed", len(b.Certs))
	}
	leaf, err := a.ca.issue(id, public, now, lifetime)
	if err != nil {
		return nil, err
	}
	b.Certs = append(b.Certs, record{
		Serial: serialText(leaf), Role: id.Role, Name: id.Name, Key: keyText(public), Issued: now, Expires: leaf.NotAfter,
	})
	return leaf, nil
}

func keyText(public crypto.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		panic("trust: a key that was parsed cannot fail to encode: " + err.Error())
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// Recognise notes a certificate that counts though the Book does not know it: the Book was lost, and the CA was kept
// elsewhere. From then on it is listed and can be revoked. Its end is taken to be the latest that is possible.
func (a *Authority) Recognise(p Peer) error {
	lifetime := NodeLifetime
	switch p.Role {
	case Node:
	case Operator, Viewer:
		lifetime = MaxLifetime
	default:
		return nil
	}
	has := func(b *Book) bool {
		return slices.ContainsFunc(b.Certs, func(r record) bool { return r.Serial == p.Serial })
	}
	a.mu.Lock()
	known := has(a.book)
	a.mu.Unlock()
	if known {
		return nil
	}
	now := a.cfg.Now()
	return a.change(func(b *Book) error {
		if has(b) || len(b.Certs) >= maxCerts {
			return nil
		}
		b.Certs = append(b.Certs, record{Serial: p.Serial, Role: p.Role, Name: p.Name, Issued: now, Expires: now.Add(lifetime)})
		return nil
	})
}

// Certificate is a certificate for people.
type Certificate struct {
	Identity
	Serial                   string
	Issued, Expires, Revoked time.Time // Revoked is zero while it counts
}

// Certificates lists what was given out and has not been forgotten.
func (a *Authority) Certificates() []Certificate {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []Certificate
	for _, r := range a.book.Certs {
		all = append(all, Certificate{Identity{r.Role, r.Name}, r.Serial, r.Issued, r.Expires, r.Revoked})
	}
	return all
}

// Revoke ends all certificates of an identity and begins a new gossip key, which whoever is revoked does not get.
func (a *Authority) Revoke(id Identity) error {
	now := a.cfg.Now()
	err := a.change(func(b *Book) error {
		if b.revoke(id.Role, id.Name, now) == 0 {
			return refusef("%s has no certificate that counts: `coordinator identity list` shows them", id)
		}
		b.rotate(now)
		return nil
	})
	if err == nil {
		a.wallet.Revoke(a.State().Revoked)
	}
	return err
}

// Rotate begins a new gossip key.
func (a *Authority) Rotate() error {
	return a.change(func(b *Book) error { b.rotate(a.cfg.Now()); return nil })
}

// State is what every member must know, and may change at any time.
type State struct {
	Gossip  [][]byte // keys that count; the first is the one to send with
	Revoked []string // serials
}

// State is what counts now.
func (a *Authority) State() State {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.cfg.Now()
	s := State{Revoked: a.book.revoked(now)}
	for _, e := range a.book.epochs(now) {
		k, err := a.ca.gossipKey(e)
		if err != nil {
			panic("trust: a key that was parsed cannot fail to encode: " + err.Error())
		}
		s.Gossip = append(s.Gossip, k)
	}
	return s
}

// Changed returns a channel that is closed at the next change of State that time alone does not bring.
func (a *Authority) Changed() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}

// change lets f change the book, all of it or nothing, and writes it before anybody can see it.
func (a *Authority) change(f func(*Book) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	next := *a.book
	next.Grants = append([]grant(nil), a.book.Grants...)
	next.Certs = append([]record(nil), a.book.Certs...)
	next.forget(a.cfg.Now())
	if err := f(&next); err != nil {
		return err
	}
	if err := writeBook(a.cfg.Dir, &next); err != nil {
		return err
	}
	a.book = &next
	close(a.changed)
	a.changed = make(chan struct{})
	return nil
}
