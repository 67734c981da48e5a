package trust

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/torctrain/torc/internal/durable"
)

// Files of a trust directory. What has a key in it is readable by its owner alone.
const (
	caCertFile = "ca.crt"
	caKeyFile  = "ca.key"
	bookFile   = "book.json"
)

// openCA reads the CA, or founds one where nobody gave any.
func openCA(cfg Config) (*CA, error) {
	if cfg.CADir != "" {
		return readCA(cfg.CADir)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make trust directory: %w: name another with --trust", err)
	}
	ca, err := readCA(cfg.Dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return ca, err
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, bookFile)); err == nil {
		return nil, fmt.Errorf("the CA's key is missing from %s, though certificates were made with it: put %s and %s back, or remove the directory and let every machine join anew", cfg.Dir, caCertFile, caKeyFile)
	}
	if ca, err = NewCA(cfg.Now()); err != nil {
		return nil, err
	}
	key, err := keyPEM(ca.key)
	if err != nil {
		return nil, err
	}
	// The certificate last: it is what says that there is a CA.
	if err := durable.WriteFile(filepath.Join(cfg.Dir, caKeyFile), key, 0o600); err != nil {
		return nil, err
	}
	return ca, durable.WriteFile(filepath.Join(cfg.Dir, caCertFile), certPEM(ca.Cert), 0o644)
}

// readCA reads ca.crt and ca.key, or tls.crt and tls.key, from dir.
func readCA(dir string) (*CA, error) {
	for _, names := range [][2]string{{"tls.crt", "tls.key"}, {caCertFile, caKeyFile}} {
		cert, err := os.ReadFile(filepath.Join(dir, names[0]))
		if errors.Is(err, fs.ErrNotExist) && names[0] != caCertFile {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the CA's certificate: %w", err)
		}
		key, err := os.ReadFile(filepath.Join(dir, names[1]))
		if err != nil {
			return nil, fmt.Errorf("read the CA's key: %w", err)
		}
		ca, err := ParseCA(cert, key)
		if err != nil {
			return nil, fmt.Errorf("read the CA from %s and %s in %s: %w", names[0], names[1], dir, err)
		}
		return ca, nil
	}
	panic("trust: readCA: unreachable")
}

func readBook(dir string) (*Book, error) {
	path := filepath.Join(dir, bookFile)
	text, err := readSmall(path, maxBookBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return &Book{Version: bookVersion}, os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return nil, err
	}
	b, err := decodeBook(text)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return b, nil
}

func writeBook(dir string, b *Book) error {
	text, err := b.encode()
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, bookFile), text, 0o600)
}

// Bundle is what a node or a command keeps on disk: its key, its certificate and the CA's.
type Bundle struct {
	Key  crypto.Signer
	Leaf *x509.Certificate
	CA   *x509.Certificate
}

// NewBundle makes a bundle of a key and what the coordinator answered to its request.
func NewBundle(key crypto.Signer, leaf, ca []byte) (*Bundle, error) {
	own, err := x509.ParseCertificate(leaf)
	if err != nil {
		return nil, fmt.Errorf("read the certificate that the coordinator made: %w", err)
	}
	root, err := x509.ParseCertificate(ca)
	if err != nil {
		return nil, fmt.Errorf("read the coordinator's CA: %w", err)
	}
	return &Bundle{Key: key, Leaf: own, CA: root}, nil
}

// maxBundleBytes is more than a bundle has.
const maxBundleBytes = 64 << 10

// Wallet is a wallet with the bundle's content.
func (b *Bundle) Wallet() (*Wallet, error) {
	w := NewWallet(nil)
	return w, w.Keep(b.Key, b.Leaf, b.CA)
}

// Pin is that of the bundle's CA.
func (b *Bundle) Pin() Pin { return pinOf(b.CA) }

// Encode is the bundle in PEM.
func (b *Bundle) Encode() ([]byte, error) {
	key, err := keyPEM(b.Key)
	if err != nil {
		return nil, err
	}
	return slices.Concat(key, certPEM(b.Leaf), certPEM(b.CA)), nil
}

// DecodeBundle reads what Encode wrote.
func DecodeBundle(text []byte) (*Bundle, error) {
	key, err := parseKey(text)
	if err != nil {
		return nil, err
	}
	certs, err := parseCerts(text)
	if err != nil {
		return nil, err
	}
	if len(certs) != 2 {
		return nil, fmt.Errorf("%d certificates in it, want the own and the CA's", len(certs))
	}
	b := &Bundle{key, certs[0], certs[1]}
	if _, err := identityOf(b.Leaf); err != nil {
		return nil, err
	}
	if p, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !p.Equal(b.Leaf.PublicKey) {
		return nil, errors.New("certificate and key do not belong together")
	}
	return b, nil
}

// Load reads a bundle from a file, or from tls.key, tls.crt and ca.crt in a directory, as others make them. It is
// fs.ErrNotExist if there is none.
func Load(path string) (*Bundle, error) {
	parts := []string{path}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		parts = []string{filepath.Join(path, "tls.key"), filepath.Join(path, "tls.crt"), filepath.Join(path, caCertFile)}
	}
	var text []byte
	for _, p := range parts {
		part, err := readSmall(p, maxBundleBytes)
		if err != nil {
			return nil, err
		}
		text = append(append(text, part...), '\n')
	}
	b, err := DecodeBundle(text)
	if err != nil {
		return nil, fmt.Errorf("read identity %s: %w: remove it and join again, or ask for another", path, err)
	}
	return b, nil
}

// Save writes the bundle to a file that only its owner can read, whole or not at all.
func (b *Bundle) Save(path string) error {
	text, err := b.Encode()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("keep identity: %w", err)
	}
	return durable.WriteFile(path, text, 0o600)
}

// LoadCA reads a CA's certificate from a PEM file.
func LoadCA(path string) (*x509.Certificate, error) {
	text, err := readSmall(path, maxBundleBytes)
	if err != nil {
		return nil, err
	}
	certs, err := parseCerts(text)
	if err == nil && len(certs) == 0 {
		err = errors.New("no certificate in it")
	}
	if err != nil {
		return nil, fmt.Errorf("read CA certificate %s: %w", path, err)
	}
	return certs[0], nil
}

// PinOf is the pin of a CA's certificate.
func PinOf(ca *x509.Certificate) Pin { return pinOf(ca) }

// readSmall reads a file that must not be larger than limit.
func readSmall(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("read %s: it has %d bytes, more than %d", path, info.Size(), limit)
	}
	return os.ReadFile(path)
}
