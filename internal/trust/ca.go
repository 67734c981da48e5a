package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"time"
)

// Pin is the SHA-256 of a CA's public key: who knows it knows the CA.
type Pin [sha256.Size]byte

func pinOf(c *x509.Certificate) Pin { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

func (p Pin) String() string { return hex.EncodeToString(p[:]) }

const (
	caLifetime = 10 * 365 * 24 * time.Hour
	// backdate is how far another machine's clock may be behind that of the coordinator.
	backdate = time.Hour
)

// CA signs the certificates of one cluster.
type CA struct {
	Cert *x509.Certificate
	key  crypto.Signer
}

// NewKey makes a private key.
func NewKey() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// NewCA makes a CA.
func NewCA(now time.Time) (*CA, error) {
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	serial := newSerial()
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "torc cluster " + hex.EncodeToString(serial.Bytes()[:4])},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(caLifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the CA's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &CA{Cert: cert, key: key}, nil
}

// ParseCA reads a CA from its certificate and key in PEM, whoever made them.
func ParseCA(certPEM, keyPEM []byte) (*CA, error) {
	certs, err := parseCerts(certPEM)
	if err != nil {
		return nil, err
	}
	if len(certs) == 0 {
		return nil, errors.New("no certificate in it")
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	ca := &CA{Cert: certs[0], key: key}
	if !ca.Cert.IsCA {
		return nil, errors.New("the certificate is not that of a CA: it may not sign others")
	}
	if p, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !p.Equal(ca.Cert.PublicKey) {
		return nil, errors.New("certificate and key do not belong together")
	}
	return ca, nil
}

// issue makes a certificate for a public key. It does not outlive the CA, and none is made that nobody would believe because
// the CA does not count at that time.
func (ca *CA) issue(id Identity, public crypto.PublicKey, now time.Time, lifetime time.Duration) (*x509.Certificate, error) {
	switch {
	case now.Before(ca.Cert.NotBefore):
		return nil, refusef("the cluster's CA is valid from %s, but the clock of the coordinator's machine says %s: set it (NTP)", clockText(ca.Cert.NotBefore), clockText(now))
	case now.After(ca.Cert.NotAfter):
		return nil, refusef("the cluster's CA expired at %s (the clock of the coordinator's machine says %s): found a new one (remove the trust directory, and let all join anew), or set the clock",
			clockText(ca.Cert.NotAfter), clockText(now))
	}
	usage := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if id.Role == Node || id.Role == Coordinator {
		usage = append(usage, x509.ExtKeyUsageServerAuth)
	}
	end := now.Add(lifetime)
	if end.After(ca.Cert.NotAfter) {
		end = ca.Cert.NotAfter
	}
	t := &x509.Certificate{
		SerialNumber: newSerial(), Subject: pkix.Name{CommonName: id.String()}, URIs: []*url.URL{id.uri()},
		NotBefore: now.Add(-backdate), NotAfter: end, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: usage,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca.Cert, public, ca.key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate for %s: %w", id, err)
	}
	return x509.ParseCertificate(der)
}

// gossipKeyBytes makes gossip use AES-256.
const gossipKeyBytes = 32

// gossipKey is the key of an epoch: it follows from the CA's key, so that a coordinator that lost everything else still
// has it, and who knows one epoch's knows no other's.
func (ca *CA) gossipKey(epoch uint64) ([]byte, error) {
	secret, err := x509.MarshalPKCS8PrivateKey(ca.key)
	if err != nil {
		return nil, err
	}
	return hkdf.Key(sha256.New, secret, nil, fmt.Sprintf("torc gossip key %d", epoch), gossipKeyBytes)
}

// newSerial is 128 bits of chance.
func newSerial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:])
}

// maxRequestBytes bounds a certificate request.
const maxRequestBytes = 4 << 10

// Request is a certificate request for a key: the key's public half, signed by its private one.
func Request(key crypto.Signer) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	return der, nil
}

// parseRequest returns the public key for which a certificate is requested. Nothing else of a request counts: the name is
// that of the call, which has been checked.
func parseRequest(der []byte) (crypto.PublicKey, error) {
	if len(der) > maxRequestBytes {
		return nil, refusef("certificate request has %d bytes: use at most %d", len(der), maxRequestBytes)
	}
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, refusef("read certificate request: %v", err)
	}
	key, ok := r.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, refusef("certificate request is for a key other than ECDSA P-256: install the same release on all machines")
	}
	if err := r.CheckSignature(); err != nil {
		return nil, refusef("certificate request is not signed by its own key: %v", err)
	}
	return key, nil
}

const (
	certBlock = "CERTIFICATE"
	keyBlock  = "PRIVATE KEY"
)

func parseCerts(text []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for b, rest := pem.Decode(text); b != nil; b, rest = pem.Decode(rest) {
		if b.Type != certBlock {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read certificate: %w", err)
		}
		all = append(all, c)
	}
	return all, nil
}

func parseKey(text []byte) (crypto.Signer, error) {
	for b, rest := pem.Decode(text); b != nil; b, rest = pem.Decode(rest) {
		if !strings.HasSuffix(b.Type, keyBlock) {
			continue
		}
		if k, err := x509.ParseECPrivateKey(b.Bytes); err == nil {
			return k, nil
		}
		if k, err := x509.ParsePKCS1PrivateKey(b.Bytes); err == nil {
			return k, nil
		}
		k, err := x509.ParsePKCS8PrivateKey(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read private key: %w", err)
		}
		if s, ok := k.(crypto.Signer); ok {
			return s, nil
		}
		return nil, errors.New("read private key: it cannot sign")
	}
	return nil, errors.New("no private key in it")
}

func certPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certBlock, Bytes: c.Raw})
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}), nil
}
