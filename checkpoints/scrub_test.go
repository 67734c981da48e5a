package checkpoints

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
)

// Scrub finds every flipped byte, and Rebuild mends it.
func TestScrubFindsWhatIsDamaged(t *testing.T) {
	m := newMemFS()
	s := openStore(t, m, Default())
	manifest := mustCheckpoint(t, s, stateAt(100, 20))
	if _, err := s.Save(t.Context(), stateAt(200, 20), []int{3}); err != nil { // not committed
		t.Fatal(err)
	}
	found, err := s.Scrub(t.Context(), "a", nil)
	if err != nil || len(found) != 0 {
		t.Fatalf("a sound store: %v, error %v", found, err)
	}
	for name, d := range m.names {
		for at := range d.bytes {
			d.bytes[at] ^= 0x10
			found, err := s.Scrub(t.Context(), "a", nil)
			d.bytes[at] ^= 0x10
			if strings.HasSuffix(name, manifestSuffix) && err != nil { // another version
				continue
			}
			if err != nil || len(found) != 1 || s.path(found[0].Name) != name || found[0].Err == nil {
				t.Fatalf("byte %d of %s: found %v, error %v", at, name, found, err)
			}
		}
	}
	lost := manifest.Piece(2)
	if err := m.Remove(s.path(lost.String())); err != nil {
		t.Fatal(err)
	}
	forge(m.bytesOf(s.path(manifest.Piece(4).String())), manifest.layout(), manifest.Spec)
	found, err = s.Scrub(t.Context(), "a", nil)
	if err != nil || len(found) != 2 {
		t.Fatalf("found %v, error %v", found, err)
	}
	if found[0].Piece != manifest.Piece(4) || !errors.Is(found[0].Err, ErrDamaged) || found[1].Piece != lost || !errors.Is(found[1].Err, fs.ErrNotExist) {
		t.Errorf("found %v", found)
	}
	for _, d := range found {
		if _, err := s.Rebuild(t.Context(), manifest, d.Piece.Index, s); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := s.Scrub(t.Context(), "a", nil); err != nil || len(found) != 0 {
		t.Errorf("after rebuilding: %v, error %v", found, err)
	}
}

// quota is a limiter that lets some bytes pass.
type quota struct{ n, max int }

func (c *quota) WaitN(_ context.Context, n int) error {
	if n > pieceBlock {
		return errors.New("too much at once")
	}
	if c.n += n; c.n > c.max {
		return errBroken
	}
	return nil
}

func TestScrubAsksItsLimiter(t *testing.T) {
	m := newMemFS()
	s := openStore(t, m, Default())
	mustCheckpoint(t, s, stateAt(100, 60_000))
	all := 0
	for name, d := range m.names {
		if strings.HasSuffix(name, pieceSuffix) {
			all += len(d.bytes)
		}
	}
	limit := &quota{max: all}
	if found, err := s.Scrub(t.Context(), "a", limit); err != nil || len(found) > 0 || limit.n != all {
		t.Errorf("it asked for %d of %d bytes: %v, %v", limit.n, all, found, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Scrub(ctx, "a", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}
