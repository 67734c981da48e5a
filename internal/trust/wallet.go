package trust

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"io"
	"sync"
	"time"
)

// Wallet is what a process shows to others and knows of them. Its content may change while connections use it: a renewed
// certificate counts from the next connection on, a revocation at once. It is safe for use by several goroutines.
type Wallet struct {
	now func() time.Time

	mu      sync.RWMutex // guards what follows
	own     *tls.Certificate
	id      Identity
	roots   []*x509.Certificate
	pin     *Pin // counts while there are no roots
	revoked map[string]bool
	open    map[*Watched]struct{}
}

// NewWallet returns an empty Wallet, which trusts nobody. The clock is time.Now where it is nil.
func NewWallet(now func() time.Time) *Wallet {
	if now == nil {
		now = time.Now
	}
	return &Wallet{now: now, revoked: map[string]bool{}, open: map[*Watched]struct{}{}}
}

// Peer is somebody whose certificate was checked.
type Peer struct {
	Identity
	Serial string // of the certificate, hex
}

// Keep puts an own key with its certificate into the wallet, and the CA that made it.
func (w *Wallet) Keep(key crypto.Signer, leaf, ca *x509.Certificate) error {
	id, err := identityOf(leaf)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.own = &tls.Certificate{Certificate: [][]byte{leaf.Raw, ca.Raw}, PrivateKey: key, Leaf: leaf}
	w.id, w.roots = id, []*x509.Certificate{ca}
	return nil
}

// Expect makes the wallet trust the CA with this pin, until Keep says more.
func (w *Wallet) Expect(p Pin) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pin = &p
}

// Own is who this process is; Nobody while the wallet is empty.
func (w *Wallet) Own() Identity {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.own == nil {
		return Identity{Role: Nobody}
	}
	return w.id
}

// Certificate is what this process shows, or nil.
func (w *Wallet) Certificate() *tls.Certificate {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.own
}

// Pin is that of the CA that made the own certificate.
func (w *Wallet) Pin() Pin {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if len(w.roots) == 0 {
		return Pin{}
	}
	return pinOf(w.roots[0])
}

// Verify says who showed these certificates. Its errors are ErrRefused and are for the one who showed them.
func (w *Wallet) Verify(chain []*x509.Certificate) (Peer, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	roots := w.roots
	if len(roots) == 0 && w.pin != nil {
		for _, c := range chain[:min(len(chain), maxChain)] {
			if c.IsCA && pinOf(c) == *w.pin {
				roots = append(roots, c)
			}
		}
		if len(roots) == 0 {
			return Peer{}, refusef("the join token is for another cluster: its CA is not the one that answers; ask this cluster's operator for a token, or check the address")
		}
	}
	if len(roots) == 0 {
		return Peer{}, refusef("the cluster asks for an identity and there is none here: let an operator make one (`coordinator identity create`), and give it with --identity")
	}
	id, err := verify(chain, roots, w.now())
	if err != nil {
		return Peer{}, err
	}
	p := Peer{Identity: id, Serial: serialText(chain[0])}
	if w.revoked[p.Serial] {
		return Peer{}, refusef("the certificate of %s was revoked: join again with a new token, if it should come back", id)
	}
	return p, nil
}

func serialText(c *x509.Certificate) string { return c.SerialNumber.Text(16) }

// Watched is a connection that ends when its peer is revoked.
type Watched struct {
	serial string
	conn   io.Closer
	w      *Wallet
}

// Watch closes conn if p is revoked before Forget is called. It is an error if p is revoked already.
func (w *Wallet) Watch(p Peer, conn io.Closer) (*Watched, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.revoked[p.Serial] {
		return nil, refusef("the certificate of %s was revoked", p.Identity)
	}
	c := &Watched{p.Serial, conn, w}
	w.open[c] = struct{}{}
	return c, nil
}

// Forget ends the watch.
func (c *Watched) Forget() {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	delete(c.w.open, c)
}

// Revoke replaces the list of revoked serials and closes the connections of those on it.
func (w *Wallet) Revoke(serials []string) {
	var ended []io.Closer
	w.mu.Lock()
	w.revoked = make(map[string]bool, len(serials))
	for _, s := range serials {
		w.revoked[s] = true
	}
	for c := range w.open {
		if w.revoked[c.serial] {
			ended = append(ended, c.conn)
		}
	}
	w.mu.Unlock()
	for _, c := range ended {
		_ = c.Close() // whose connection it was is not trusted: how it ends is of no interest
	}
}

// RenewAt is when a certificate should be renewed: after two thirds of its life.
func RenewAt(c *x509.Certificate) time.Time {
	begun := c.NotBefore.Add(backdate)
	return begun.Add(c.NotAfter.Sub(begun) * 2 / 3)
}
