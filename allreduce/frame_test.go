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
	f := newFrame(256)
	for i := range f.payload() {
		f.payload()[i] = byte(i * 7)
	}
	f.finish(&h)
	return f
}

// bytes is the wire form of f.
func (f Frame) bytes() []byte {
	b := make([]byte, f.Len())
	f.copyTo(b[copy(b, f.head):])
	return b
}

// frameOf reads b as a transport does, with the payload cut at some places.
func frameOf(b []byte, cuts ...int) Frame {
	f := Frame{head: b[:min(headerBytes, len(b))], mem: &counted{}}
	f.mem.refs.Store(1)
	b = b[len(f.head):]
	for _, n := range cuts {
		n = min(n, len(b))
		f.parts, b = append(f.parts, b[:n]), b[n:]
	}
	f.parts = append(f.parts, b)
	return f
}

// whole returns why f is damaged.
func whole(f Frame) error {
	h, err := parse(f)
	if err != nil {
		return err
	}
	return h.intact(f.checksum())
}

func TestHeaderSurvivesItsEncoding(t *testing.T) {
	h, err := parse(someFrame())
	if err != nil {
		t.Fatal(err)
	}
	again := make([]byte, headerBytes)
	h.put(again)
	if want := someFrame().head; string(again) != string(want) {
		t.Fatalf("%x became %x", want, again)
	}
}

// Whatever single byte is damaged, the frame is refused.
func TestEveryDamagedByteIsSeen(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	good := someFrame().bytes()
	for i := range good {
		b := append([]byte(nil), good...)
		b[i] ^= byte(1 + rng.IntN(255))
		if err := whole(frameOf(b)); !errors.Is(err, errCorrupt) {
			t.Errorf("byte %d changed: err is %v", i, err)
		}
	}
	for n := range good {
		if err := whole(frameOf(good[:n])); !errors.Is(err, errCorrupt) {
			t.Errorf("cut to %d bytes: err is %v", n, err)
		}
	}
}

// protocol.md I6.
func TestFrameOfAnotherPlaceIsFenced(t *testing.T) {
	want := identity(1, natural(4)).fenced(view.Position{View: testView, Step: 7, Try: 1}, Fence{11, 12})
	good, err := parse(someFrame())
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
	f.Add(someFrame().bytes(), false, 5)
	f.Add(someFrame().bytes(), true, 0)
	f.Fuzz(func(t *testing.T, b []byte, mend bool, cut int) {
		if cut < 0 {
			return
		}
		if mend && len(b) >= headerBytes { // get past the checksums
			h := header{kind: kind(b[5]), run: hashRun("r"), view: testView, side: uint32(b[87]), packed: b[6] != 0}
			h.hop, h.segment, h.offset, h.count, h.total = uint32(b[55]), uint32(b[63]), uint64(b[71]), uint32(b[67]), 600
			frameOf(b).finish(&h)
		}
		fr := frameOf(b, cut, cut)
		h, err := parse(fr)
		if err != nil {
			return
		}
		s := &sum{call: &call{Ring: &Ring{id: identity(1, natural(3)), pos: 1}}, plan: newSchedule(3, 600, 64), out: newOutbox(), seen: make([]uint64, 9)}
		s.own, s.total, s.mine, s.side = make([]int32, 600), make([]int32, 600), NewSide(2, 8), NewSide(0, 0)
		s.head = s.id.fenced(view.Position{}, Fence{})
		s.head.total = 600
		m := message{h, fr.Ref()}
		if _, err := s.check(&m); err == nil {
			_ = s.take(m)
		}
		g := &gathering{call: s.call, head: s.head, blobs: make([][]byte, 3), prev: &peer{}}
		_ = g.check(&m, 0, 0, -1)
	})
}
