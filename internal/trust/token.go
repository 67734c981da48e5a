package trust

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
)

// Token lets whoever holds it join: the pin says which cluster, the secret that he may.
//
//	torc1.<pin>.<secret>     both base64url without padding, 32 bytes each
type Token struct {
	Pin    Pin
	Secret [sha256.Size]byte
}

const (
	tokenPrefix = "torc1"
	// maxTokenBytes is more than a token has.
	maxTokenBytes = 256
)

func (t Token) String() string {
	e := base64.RawURLEncoding
	return tokenPrefix + "." + e.EncodeToString(t.Pin[:]) + "." + e.EncodeToString(t.Secret[:])
}

// ParseToken reads what token create printed.
func ParseToken(text string) (Token, error) {
	var t Token
	text = strings.TrimSpace(text)
	bad := func(why string) (Token, error) {
		return Token{}, fmt.Errorf("read join token: %s: give all that `coordinator token create` printed, torc1.….…", why)
	}
	if len(text) > maxTokenBytes {
		return bad(fmt.Sprintf("it has %d characters", len(text)))
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 || parts[0] != tokenPrefix {
		return bad("it is not one")
	}
	for i, to := range [][]byte{t.Pin[:], t.Secret[:]} {
		b, err := base64.RawURLEncoding.Strict().DecodeString(parts[i+1])
		if err != nil || len(b) != len(to) {
			return bad("it is incomplete or has a wrong letter")
		}
		copy(to, b)
	}
	return t, nil
}

func newToken(p Pin) Token {
	t := Token{Pin: p}
	_, _ = rand.Read(t.Secret[:]) // never fails
	return t
}

// hash is what is kept of the secret, with a word before it so that it is no hash of anything else.
func (t Token) hash() [sha256.Size]byte {
	return sha256.Sum256(append([]byte("torc join token "), t.Secret[:]...))
}

// grant is a token as the Book keeps it.
type grant struct {
	ID      string    `json:"id"`     // for people: names the token, opens nothing
	Secret  string    `json:"secret"` // hash, hex
	Made    time.Time `json:"made"`
	Expires time.Time `json:"expires"`
	Uses    int       `json:"uses"` // how often it may be used; 0: any number of times
	Used    int       `json:"used,omitempty"`
	Last    string    `json:"last,omitempty"` // who used it last
}

func sameHash(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
