package methods

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestSetSurvivesItsEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 1<<31).Draw(t, "limit")
		set := drawSet(t, "set", rapid.IntRange(0, min(limit, 40)).Draw(t, "k"), limit)
		b := append(EncodeSet(nil, set), 1, 2, 3)
		got, rest, err := DecodeSet(b, len(set), uint64(limit))
		if err != nil || !slices.Equal(got, set) || !bytes.Equal(rest, []byte{1, 2, 3}) {
			t.Fatalf("got %v, rest %v, error %v; want %v", got, rest, err, set)
		}
	})
	last := []uint32{0, 1<<32 - 1}
	if got, _, err := DecodeSet(EncodeSet(nil, last), 2, 1<<32); err != nil || !slices.Equal(got, last) {
		t.Errorf("the largest index: got %v, %v", got, err)
	}
}

func TestMalformedSetsAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		b     []byte
		count int
		limit uint64
	}{
		"more indices than bytes": {[]byte{0, 0}, 3, 100},
		"a negative count":        {[]byte{0, 0}, -1, 100},
		"an index cut off":        {[]byte{0x80}, 1, 100},
		"a varint that is longer": {[]byte{0x81, 0}, 1, 100},
		"an index at the limit":   {[]byte{100}, 1, 100},
		"a gap beyond the limit":  {[]byte{98, 1}, 2, 100},
		"more indices than limit": {[]byte{0, 0, 0}, 3, 2},
		"a varint above 64 bits":  {bytes.Repeat([]byte{0xff}, 11), 1, 100},
		"a gap that would wrap":   {append([]byte{5}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), 2, 100},
		"an index above 32 bits":  {[]byte{0x80, 0x80, 0x80, 0x80, 0x10}, 1, 1 << 32},
	} {
		if _, _, err := DecodeSet(c.b, c.count, c.limit); !errors.Is(err, errSet) {
			t.Errorf("%s: error is %v, want %v", name, err, errSet)
		}
	}
}

func FuzzDecodeSet(f *testing.F) {
	f.Add(EncodeSet(nil, []uint32{0, 1, 5, 1000, 70000}), 5, uint64(1<<17))
	f.Add([]byte{0x80, 0x80}, 1, uint64(9))
	f.Fuzz(func(t *testing.T, b []byte, count int, limit uint64) {
		limit = min(limit, 1<<32)
		set, rest, err := DecodeSet(b, count, limit)
		if err != nil {
			return
		}
		if err := checkSet(set, count, int(limit)); err != nil {
			t.Fatalf("a set came back that is none: %v", err)
		}
		if got := append(EncodeSet(nil, set), rest...); !bytes.Equal(got, b) {
			t.Fatalf("%x decodes to what encodes as %x", b, got)
		}
	})
}
