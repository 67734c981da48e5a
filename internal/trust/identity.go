package trust

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Role is what an identity may do.
type Role string

// The roles. Coordinator, Node, Operator and Viewer stand in certificates; Local is a process of the same user on the same
// machine, known by the credentials of its unix socket, and Nobody has shown nothing that could be believed.
const (
	Coordinator Role = "coordinator"
	Node        Role = "node"
	Operator    Role = "operator" // people and programs that launch, stop and admit
	Viewer      Role = "viewer"   // people and programs that look on
	Local       Role = "local"
	Nobody      Role = "nobody"
)

// certified are the roles that a certificate can have.
var certified = []Role{Coordinator, Node, Operator, Viewer}

// Identity is who somebody is.
type Identity struct {
	Role Role
	Name string
}

func (i Identity) String() string { return string(i.Role) + " " + i.Name }

// MaxNameBytes bounds the name of an identity.
const MaxNameBytes = 63

// CheckName says what is wrong with a name: it has 1 to 63 letters, digits, dots, underscores and hyphens. Files bear it, so that
// dots alone are none.
func CheckName(name string) error {
	ok := strings.Trim(name, ".") != "" && len(name) <= MaxNameBytes
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		ok = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_'
	}
	if !ok {
		return fmt.Errorf("name %.70q: use 1 to %d letters, digits, '.', '_' and '-', not dots alone", name, MaxNameBytes)
	}
	return nil
}

// scheme of the URI by which a certificate names its owner: torc://node/ada.
const scheme = "torc"

func (i Identity) uri() *url.URL {
	return &url.URL{Scheme: scheme, Host: string(i.Role), Path: "/" + i.Name}
}

// identityOf reads who a certificate belongs to.
func identityOf(c *x509.Certificate) (Identity, error) {
	for _, u := range c.URIs {
		if u.Scheme != scheme {
			continue
		}
		i := Identity{Role: Role(u.Host), Name: strings.TrimPrefix(u.Path, "/")}
		if !slices.Contains(certified, i.Role) {
			return Identity{}, fmt.Errorf("certificate has role %.20q, which this version does not know", i.Role)
		}
		return i, CheckName(i.Name)
	}
	return Identity{}, errors.New("certificate is not one of torc's: it names no torc identity")
}

// ErrRefused is in the chain of all errors that say that somebody is not trusted; calling again does not help.
var ErrRefused = errors.New("refused")

// refusal is an error whose text is for the one who is refused.
type refusal struct{ text string }

func (r refusal) Error() string        { return r.text }
func (r refusal) Is(target error) bool { return target == ErrRefused }

func refusef(format string, args ...any) error { return refusal{fmt.Sprintf(format, args...)} }

// maxChain bounds the certificates that a peer may show.
const maxChain = 4

// verify says who showed chain, at the time now by the clock of this machine.
func verify(chain []*x509.Certificate, roots []*x509.Certificate, now time.Time) (Identity, error) {
	if len(chain) == 0 {
		return Identity{}, refusef("no certificate was shown")
	}
	if len(chain) > maxChain {
		return Identity{}, refusef("%d certificates were shown: more than %d", len(chain), maxChain)
	}
	leaf, pool, between := chain[0], x509.NewCertPool(), x509.NewCertPool()
	for _, c := range roots {
		pool.AddCert(c)
	}
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	id, err := identityOf(leaf)
	if err != nil {
		return Identity{}, refusal{err.Error()}
	}
	// The chain first, at a time when it could be valid, so that a stranger's is not called expired.
	options := x509.VerifyOptions{Roots: pool, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		options.CurrentTime = leaf.NotBefore
	}
	if _, err := leaf.Verify(options); err != nil {
		return Identity{}, refusef("the certificate of %s belongs to another cluster: it was not made by this cluster's CA; join this one with a token of its own", id)
	}
	if now.Before(leaf.NotBefore) {
		return Identity{}, refusef("the certificate of %s is valid from %s, but this machine's clock says %s: set the clocks of both machines (NTP)",
			id, clockText(leaf.NotBefore), clockText(now))
	}
	if now.After(leaf.NotAfter) {
		return Identity{}, refusef("the certificate of %s expired at %s (this machine's clock says %s): join again with a new token, or set the clock",
			id, clockText(leaf.NotAfter), clockText(now))
	}
	return id, nil
}

// clockText is a time for people who compare clocks.
func clockText(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }
