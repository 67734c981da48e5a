package trust

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Book is what an Authority remembers: the tokens and certificates it gave out. All of it is plain values, decided about
// with the time as an argument.
type Book struct {
	Version int         `json:"version"`
	Epoch   uint64      `json:"epoch"`   // of the newest gossip key
	Rotated []time.Time `json:"rotated"` // when the last epochs began, the newest last
	Grants  []grant     `json:"tokens"`
	Certs   []record    `json:"certificates"`
}

const (
	bookVersion = 1
	// maxBookBytes bounds the file, maxGrants and maxCerts what is in it.
	maxBookBytes = 64 << 20
	maxGrants    = 4096
	maxCerts     = 1 << 16
	// remembered is how long what has expired is kept, so that who shows it learns why it does not count.
	remembered = 7 * 24 * time.Hour
)

// record is a certificate as the Book keeps it.
type record struct {
	Serial  string    `json:"serial"` // hex
	Role    Role      `json:"role"`
	Name    string    `json:"name"`
	Key     string    `json:"key"` // hash of the public key, hex
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
	Revoked time.Time `json:"revoked,omitzero"`
}

func (r record) live(now time.Time) bool { return r.Revoked.IsZero() && now.Before(r.Expires) }

func (b *Book) encode() ([]byte, error) { return json.MarshalIndent(b, "", "\t") }

func decodeBook(text []byte) (*Book, error) {
	b := &Book{}
	if err := json.Unmarshal(text, b); err != nil {
		return nil, err
	}
	switch {
	case b.Version != bookVersion:
		return nil, fmt.Errorf("it is version %d, this program reads %d: use the release that wrote it, or a newer one", b.Version, bookVersion)
	case len(b.Grants) > maxGrants || len(b.Certs) > maxCerts || uint64(len(b.Rotated)) > min(b.Epoch, maxGrants):
		return nil, fmt.Errorf("it has %d tokens, %d certificates and %d rotations in %d epochs: more than this program writes", len(b.Grants), len(b.Certs), len(b.Rotated), b.Epoch)
	}
	return b, nil
}

// forget drops what expired long ago.
func (b *Book) forget(now time.Time) {
	b.Grants = slices.DeleteFunc(b.Grants, func(g grant) bool { return now.Sub(g.Expires) > remembered })
	b.Certs = slices.DeleteFunc(b.Certs, func(r record) bool { return now.Sub(r.Expires) > remembered })
}

// admit finds the grant of a token and says whether it still opens anything. It uses nothing up.
func (b *Book) admit(t Token, now time.Time) (*grant, error) {
	hash := t.hash()
	for i := range b.Grants {
		g := &b.Grants[i]
		if !sameHash(g.Secret, hex.EncodeToString(hash[:])) {
			continue
		}
		const ask = "make a new one with `coordinator token create`"
		switch {
		case g.Uses > 0 && g.Used >= g.Uses && g.Uses == 1:
			return nil, refusef("join token %s was used already, by %s: %s", g.ID, g.Last, ask)
		case g.Uses > 0 && g.Used >= g.Uses:
			return nil, refusef("join token %s was used %d times already, the last time by %s: %s", g.ID, g.Used, g.Last, ask)
		case !now.Before(g.Expires):
			return nil, refusef("join token %s expired at %s: %s", g.ID, g.Expires.UTC().Format(time.RFC3339), ask)
		}
		return g, nil
	}
	return nil, refusef("the cluster does not know this join token: it was made by another, deleted, or expired long ago: make one with `coordinator token create`")
}

// holder is the certificate with which name is at work, or nil.
func (b *Book) holder(role Role, name string, now time.Time) *record {
	for i := range b.Certs {
		if r := &b.Certs[i]; r.Role == role && r.Name == name && r.live(now) {
			return r
		}
	}
	return nil
}

// revoke ends all live certificates of a name and says how many there were.
func (b *Book) revoke(role Role, name string, now time.Time) int {
	n := 0
	for i := range b.Certs {
		if r := &b.Certs[i]; r.Role == role && r.Name == name && r.live(now) {
			r.Revoked = now
			n++
		}
	}
	return n
}

// isRevoked says whether the certificate with this serial was revoked.
func (b *Book) isRevoked(serial string) bool {
	return slices.ContainsFunc(b.Certs, func(r record) bool { return r.Serial == serial && !r.Revoked.IsZero() })
}

// revoked are the serials that no longer count though their certificates have not expired.
func (b *Book) revoked(now time.Time) []string {
	var all []string
	for _, r := range b.Certs {
		if !r.Revoked.IsZero() && now.Before(r.Expires.Add(backdate)) {
			all = append(all, r.Serial)
		}
	}
	return all
}

const (
	// A new gossip key is first understood by everyone, then used, and the old one is understood for a while longer.
	understood = 10 * time.Second
	overlap    = 60 * time.Second
)

// rotate begins a new epoch of the gossip key.
func (b *Book) rotate(now time.Time) {
	rotated := slices.DeleteFunc(slices.Clone(b.Rotated), func(t time.Time) bool { return now.Sub(t) >= overlap })
	b.Epoch, b.Rotated = b.Epoch+1, append(rotated, now)
}

// epochs are the epochs whose gossip keys count at now; the first is the one to send with.
func (b *Book) epochs(now time.Time) []uint64 {
	before := b.Epoch - uint64(len(b.Rotated)) // began long ago
	began := func(e uint64) time.Duration { return now.Sub(b.Rotated[e-before-1]) }
	send, all := before, []uint64(nil)
	for e := before; e <= b.Epoch; e++ {
		if e > before && began(e) >= understood {
			send = e
		}
		if e == b.Epoch || began(e+1) < overlap {
			all = append(all, e)
		}
	}
	all = slices.DeleteFunc(all, func(e uint64) bool { return e == send })
	return append([]uint64{send}, all...)
}
