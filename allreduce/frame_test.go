package allreduce

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/torctrain/torc/internal/view"
)

func someFrame() Frame {
	h := identity(2, natural(4)).fenced(view.Position{View: testView, Step: 7, Try: 1}, Fence{11, 12})
	h.kind, h.hop, h.segment, h.offset, h.total, h.count = kindValues, 3, 1, 64, 1000, 64
	f := newFrame(headerBytes+256, nil)
	for i := range f.payload() {
		f.payload()[i] = byte(i * 7)
	}
	f.finish(&h)
	return f
}

func TestHeaderSurvivesItsEncoding(t *testing.T) {
	h, err := parse(someFrame().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	again := make([]byte, headerBytes)
	h.put(again)
	if string(again) != string(someFrame().Bytes()[:headerBytes]) {
		t.Fatalf("%x became %x", someFrame().Bytes()[:headerBytes], again)
	}
}

// Whatever single byte is damaged, the frame is refused.
func TestEveryDamagedByteIsSeen(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	good := someFrame().Bytes()
	for i := range good {
		b := append([]byte(nil), good...)
		b[i] ^= byte(1 + rng.IntN(255))
		if _, err := parse(b); !errors.Is(err, errCorrupt) {
			t.Errorf("byte %d changed: err is %v", i, err)
		}
	}
	for n := range good {
		if _, err := parse(good[:n]); !errors.Is(err, errCorrupt) {
			t.Errorf("cut to %d bytes: err is %v", n, err)
		}
	}
}

// protocol.md I6.
func TestFrameOfAnotherPlaceIsFenced(t *testing.T) {
	want := identity(1, natural(4)).fenced(view.Position{View: testView, Step: 7, Try: 1}, Fence{11, 12})
	good, err := parse(someFrame().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if err := good.sameSum(&want); err != nil {
		t.Fatalf("own frame is refused: %v", err)
	}
	for name, change := range map[string]func(*header){
		"run":   func(h *header) { h.run++ },
		"view":  func(h *header) { h.view++ },
		"ring":  func(h *header) { h.ring++ },
		"step":  func(h *header) { h.step++ },
		"try":   func(h *header) { h.try++ },
		"space": func(h *header) { h.space++ },
		"state": func(h *header) { h.state++ },
	} {
		h := good
		change(&h)
		if err := h.sameSum(&want); !errors.Is(err, ErrFenced) {
			t.Errorf("%s: err is %v, want ErrFenced", name, err)
		}
	}
}

func FuzzFrameIsNeverTrusted(f *testing.F) {
	f.Add(someFrame().Bytes(), false)
	f.Add(someFrame().Bytes(), true)
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		if mend && len(b) >= headerBytes { // get past the checksums
			h := header{kind: kind(b[5]), length: uint32(len(b) - headerBytes), crc: crcOf(b[headerBytes:])}
			h.run, h.view, h.side = hashRun("r"), testView, uint32(b[88])
			h.hop, h.segment, h.offset, h.count, h.total = uint32(b[56]), uint32(b[64]), uint64(b[72]), uint32(b[68]), 600
			h.packed = b[6] != 0
			h.put(b)
		}
		h, err := parse(b)
		if err != nil {
			return
		}
		s := &sum{call: &call{Ring: &Ring{id: identity(1, natural(3)), pos: 1}}, plan: newSchedule(3, 600, 64), out: newOutbox(), seen: make([]uint64, 9)}
		s.own, s.total, s.mine, s.side = make([]int32, 600), make([]int32, 600), NewSide(2, 8), NewSide(0, 0)
		s.head = s.id.fenced(view.Position{}, Fence{})
		s.head.total = 600
		fr := newFrame(len(b), nil)
		copy(fr.Bytes(), b)
		m := message{h, fr}
		if _, err := s.check(&m); err == nil {
			_ = s.take(m)
		}
		g := &gathering{call: s.call, head: s.head, blobs: make([][]byte, 3), prev: &peer{}}
		_ = g.check(&m, 0, 0, -1)
	})
}
