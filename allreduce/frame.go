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
//	 0 magic "torc"   4 version   5 kind   6 flags
//	 7 run           15 view     23 ring  27 try
//	31 step          39 space    47 state
//	55 hop           59 from     63 segment  67 count
//	71 offset        79 total    87 side  91 length of payload
//	95 CRC32C of payload        99 CRC32C of the header up to here
//
// It is odd on purpose: gRPC puts 5 bytes in front and cuts a message every 16384, so all cuts fall between two values.
const headerBytes = 103

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

// put writes h over b[:headerBytes].
func (h *header) put(b []byte) {
	le := binary.LittleEndian
	b = b[:headerBytes]
	le.PutUint32(b, magic)
	b[4], b[5], b[6] = version, byte(h.kind), 0
	if h.packed {
		b[6] = flagPacked
	}
	le.PutUint64(b[7:], h.run)
	le.PutUint64(b[15:], h.view)
	le.PutUint32(b[23:], h.ring)
	le.PutUint32(b[27:], h.try)
	le.PutUint64(b[31:], h.step)
	le.PutUint64(b[39:], h.space)
	le.PutUint64(b[47:], h.state)
	le.PutUint32(b[55:], h.hop)
	le.PutUint32(b[59:], h.from)
	le.PutUint32(b[63:], h.segment)
	le.PutUint32(b[67:], h.count)
	le.PutUint64(b[71:], h.offset)
	le.PutUint64(b[79:], h.total)
	le.PutUint32(b[87:], h.side)
	le.PutUint32(b[91:], h.length)
	le.PutUint32(b[95:], h.crc)
	le.PutUint32(b[99:], crc32.Checksum(b[:99], castagnoli))
}

// parse reads the header of a frame and checks everything that can be checked without knowing what is expected, but for
// the payload's checksum: see intact.
func parse(f Frame) (header, error) {
	le, b := binary.LittleEndian, f.head
	if len(b) < headerBytes {
		return header{}, fmt.Errorf("%w: %d bytes", errCorrupt, len(b))
	}
	if m := le.Uint32(b); m != magic {
		return header{}, fmt.Errorf("%w: magic is %08x, want %08x", errCorrupt, m, uint32(magic))
	}
	if b[4] != version {
		return header{}, fmt.Errorf("%w: version is %d, this binary speaks %d: run the same release on every node", errCorrupt, b[4], version)
	}
	if got, want := crc32.Checksum(b[:99], castagnoli), le.Uint32(b[99:]); got != want {
		return header{}, fmt.Errorf("%w: checksum of the header is %08x, want %08x", errCorrupt, got, want)
	}
	h := header{
		kind: kind(b[5]), packed: b[6]&flagPacked != 0,
		run: le.Uint64(b[7:]), view: le.Uint64(b[15:]), ring: le.Uint32(b[23:]), try: le.Uint32(b[27:]),
		step: le.Uint64(b[31:]), space: le.Uint64(b[39:]), state: le.Uint64(b[47:]),
		hop: le.Uint32(b[55:]), from: le.Uint32(b[59:]), segment: le.Uint32(b[63:]), count: le.Uint32(b[67:]),
		offset: le.Uint64(b[71:]), total: le.Uint64(b[79:]), side: le.Uint32(b[87:]),
		length: le.Uint32(b[91:]), crc: le.Uint32(b[95:]),
	}
	length := f.Len() - headerBytes
	switch {
	case h.kind == 0 || h.kind >= kindEnd || b[6]&^flagPacked != 0:
		return header{}, fmt.Errorf("%w: kind %d flags %d", errCorrupt, b[5], b[6])
	case uint64(h.length) != uint64(length) || h.side > h.length:
		return header{}, fmt.Errorf("%w: payload is %d bytes, header says %d with %d of side values", errCorrupt, length, h.length, h.side)
	}
	return h, nil
}

// intact returns an error unless crc, the checksum of the payload that came, is the one that the header names.
func (h *header) intact(crc uint32) error {
	if crc != h.crc {
		return fmt.Errorf("%w: checksum of the payload is %08x, want %08x", errCorrupt, crc, h.crc)
	}
	return nil
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
