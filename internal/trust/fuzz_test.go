package trust

import (
	"testing"
	"time"
)

func FuzzParseToken(f *testing.F) {
	f.Add(Token{}.String())
	f.Add("torc1..")
	f.Add("torc1.a.b.c")
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := ParseToken(text)
		if err != nil {
			return
		}
		if again, err := ParseToken(tok.String()); err != nil || again != tok {
			t.Errorf("%q reads as %v, written and read again %v, %v", text, tok, again, err)
		}
	})
}

func FuzzParseRequest(f *testing.F) {
	key, err := NewKey()
	if err != nil {
		f.Fatal(err)
	}
	csr, err := Request(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(csr)
	f.Add(csr[:len(csr)/2])
	f.Fuzz(func(t *testing.T, der []byte) {
		if key, err := parseRequest(der); (key == nil) == (err == nil) {
			t.Errorf("key %v and error %v", key, err)
		}
	})
}

func FuzzDecodeBundle(f *testing.F) {
	ca, err := NewCA(time.Unix(1<<31, 0))
	if err != nil {
		f.Fatal(err)
	}
	key, err := NewKey()
	if err != nil {
		f.Fatal(err)
	}
	leaf, err := ca.issue(Identity{Node, "ada"}, key.Public(), time.Unix(1<<31, 0), time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	text, err := (&Bundle{key, leaf, ca.Cert}).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		if b, err := DecodeBundle(text); err == nil {
			if _, err := b.Encode(); err != nil {
				t.Error(err)
			}
		}
	})
}

func FuzzDecodeBook(f *testing.F) {
	f.Add([]byte(`{"version":1,"epoch":3,"rotated":["2030-01-01T00:00:00Z"]}`))
	f.Add([]byte(`{"version":1,"epoch":1,"rotated":["2030-01-01T00:00:00Z","2030-01-01T00:00:00Z"]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := decodeBook(text)
		if err != nil {
			return
		}
		if n := len(b.epochs(time.Unix(1<<31, 0))); n == 0 || n > len(b.Rotated)+1 {
			t.Errorf("%d gossip keys of %d rotations", n, len(b.Rotated))
		}
		b.forget(time.Unix(1<<31, 0))
	})
}
