package allreduce

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/torctrain/torc/internal/view"
)

// ErrFenced is returned for a frame of another run, view, ring, step, try, space or State. It is never added.
var ErrFenced = errors.New("allreduce: frame is from another place or state")

// errCorrupt is returned for bytes that are no frame, or a damaged one.
var errCorrupt = errors.New("allreduce: frame is damaged")

// Fence is what must be equal on all members for their values to be added.
type Fence struct {
	Space uint64 // hash of all sets and scales
	State uint64 // hash of State before the step
}

// kind says what a frame is for.
type kind uint8

const (
	kindHello    kind = 1 + iota // opens a link in both directions
	kindValues                   // a chunk on the ring
	kindSide                     // side values on the ring
	kindExchange                 // side values and the whole vector, to everyone
	kindBlob                     // part of a member's bytes in Gather
	kindProgress                 // nothing to say, still alive
	kindOver                     // the ring ends: payload is a farewell
	kindEnd                      // one past the last
)

// headerBytes is the length of a frame's header in wire form, little endian:
//
//	 0 magic "torc"   4 version   5 kind   6 flags   7 zero
//	 8 run           16 view     24 ring  28 try
//	32 step          40 space    48 state
//	56 hop           60 from     64 segment  68 count
//	72 offset        80 total    88 side  92 length of payload
//	96 CRC32C of payload        100 CRC32C of the header up to here
const headerBytes = 104

const (
	magic      = 0x63726f74 // "torc"
	version    = 1
	flagPacked = 1 // the values are packed
)

// header is what a frame says about its payload.
type header struct {
	kind   kind
	packed bool

	// The fence. The first three name the ring, the others what is being summed.
	run, view    uint64
	ring, try    uint32
	step         uint64
	space, state uint64

	hop, from, segment uint32
	count              uint32 // values in the payload; bytes of the blob in kindBlob
	offset, total      uint64 // where they belong in a whole of which length
	side               uint32 // bytes of side values in front of the values

	length, crc uint32 // of the payload
}

// fenced returns a header that carries the fence of one sum.
func (id Identity) fenced(at view.Position, f Fence) header {
	return header{run: hashRun(id.Run), view: id.View, ring: id.Ring, try: at.Try, step: at.Step, space: f.Space, state: f.State, from: uint32(id.Rank)}
}

// hashRun is the first eight bytes of SHA-256 over the name of the run.
func hashRun(run string) uint64 {
	sum := sha256.Sum256([]byte(run))
	return binary.LittleEndian.Uint64(sum[:])
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func crcOf(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// put writes h over b[:headerBytes].
func (h *header) put(b []byte) {
	le := binary.LittleEndian
	b = b[:headerBytes]
	le.PutUint32(b, magic)
	b[4], b[5], b[6], b[7] = version, byte(h.kind), 0, 0
	if h.packed {
		b[6] = flagPacked
	}
	le.PutUint64(b[8:], h.run)
	le.PutUint64(b[16:], h.view)
	le.PutUint32(b[24:], h.ring)
	le.PutUint32(b[28:], h.try)
	le.PutUint64(b[32:], h.step)
	le.PutUint64(b[40:], h.space)
	le.PutUint64(b[48:], h.state)
	le.PutUint32(b[56:], h.hop)
	le.PutUint32(b[60:], h.from)
	le.PutUint32(b[64:], h.segment)
	le.PutUint32(b[68:], h.count)
	le.PutUint64(b[72:], h.offset)
	le.PutUint64(b[80:], h.total)
	le.PutUint32(b[88:], h.side)
	le.PutUint32(b[92:], h.length)
	le.PutUint32(b[96:], h.crc)
	le.PutUint32(b[100:], crcOf(b[:100]))
}

// parse reads the header of a frame and checks everything that can be checked without knowing what is expected,
// the payload's checksum included. The payload is b[headerBytes:].
func parse(b []byte) (header, error) {
	le := binary.LittleEndian
	if len(b) < headerBytes {
		return header{}, fmt.Errorf("%w: %d bytes", errCorrupt, len(b))
	}
	if m := le.Uint32(b); m != magic {
		return header{}, fmt.Errorf("%w: magic is %08x, want %08x", errCorrupt, m, uint32(magic))
	}
	if b[4] != version {
		return header{}, fmt.Errorf("%w: version is %d, this binary speaks %d: run the same release on every node", errCorrupt, b[4], version)
	}
	if got, want := crcOf(b[:100]), le.Uint32(b[100:]); got != want {
		return header{}, fmt.Errorf("%w: checksum of the header is %08x, want %08x", errCorrupt, got, want)
	}
	h := header{
		kind: kind(b[5]), packed: b[6]&flagPacked != 0,
		run: le.Uint64(b[8:]), view: le.Uint64(b[16:]), ring: le.Uint32(b[24:]), try: le.Uint32(b[28:]),
		step: le.Uint64(b[32:]), space: le.Uint64(b[40:]), state: le.Uint64(b[48:]),
		hop: le.Uint32(b[56:]), from: le.Uint32(b[60:]), segment: le.Uint32(b[64:]), count: le.Uint32(b[68:]),
		offset: le.Uint64(b[72:]), total: le.Uint64(b[80:]), side: le.Uint32(b[88:]),
		length: le.Uint32(b[92:]), crc: le.Uint32(b[96:]),
	}
	payload := b[headerBytes:]
	switch {
	case h.kind == 0 || h.kind >= kindEnd || b[6]&^flagPacked != 0 || b[7] != 0:
		return header{}, fmt.Errorf("%w: kind %d flags %d", errCorrupt, b[5], b[6])
	case uint64(h.length) != uint64(len(payload)) || h.side > h.length:
		return header{}, fmt.Errorf("%w: payload is %d bytes, header says %d with %d of side values", errCorrupt, len(payload), h.length, h.side)
	}
	if got := crcOf(payload); got != h.crc {
		return header{}, fmt.Errorf("%w: checksum of the payload is %08x, want %08x", errCorrupt, got, h.crc)
	}
	return h, nil
}

// sameRing returns ErrFenced unless h comes from the ring of want.
func (h *header) sameRing(want *header) error {
	switch {
	case h.run != want.run:
		return fmt.Errorf("%w: run is %016x, want %016x", ErrFenced, h.run, want.run)
	case h.view != want.view:
		return fmt.Errorf("%w: view is %016x, want %016x", ErrFenced, h.view, want.view)
	case h.ring != want.ring:
		return fmt.Errorf("%w: ring is %d, want %d", ErrFenced, h.ring, want.ring)
	}
	return nil
}

// sameSum returns ErrFenced unless h belongs to the sum of want: the same ring, step, try, space and State.
func (h *header) sameSum(want *header) error {
	if err := h.sameRing(want); err != nil {
		return err
	}
	switch {
	case h.step != want.step || h.try != want.try:
		return fmt.Errorf("%w: rank %d is at step %d try %d, this member at step %d try %d", ErrFenced, h.from, h.step, h.try, want.step, want.try)
	case h.space != want.space:
		return fmt.Errorf("%w: space of rank %d is %016x, here %016x: sets or scales differ", ErrFenced, h.from, h.space, want.space)
	case h.state != want.state:
		return fmt.Errorf("%w: State of rank %d is %016x, here %016x: a member diverged", ErrFenced, h.from, h.state, want.state)
	}
	return nil
}
