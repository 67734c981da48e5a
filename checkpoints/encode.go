package checkpoints

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/torctrain/torc/methods"
)

const (
	magic   = "torcST"
	version = 1 // without ages
	aged    = 2 // with them
)

// WriteTo writes the canonical bytes. The state must not change meanwhile.
func (s *State) WriteTo(w io.Writer) (int64, error) {
	if err := s.check(); err != nil {
		return 0, fmt.Errorf("write state: %w", err)
	}
	e := encoder{w: w}
	e.bytes([]byte(magic))
	if len(s.Ages) == 0 {
		e.uint16(version)
	} else {
		e.uint16(aged)
	}
	e.bytes(s.Spec[:])
	e.uint64(s.Step)
	e.uint64(uint64(len(s.Theta)))
	e.floats(s.Theta)
	e.floats(s.M)
	e.floats(s.V)
	e.uint64(uint64(len(s.Pending)))
	e.floats(s.Pending)
	for _, a := range s.Ages {
		e.uint16(a)
	}
	e.uint32(uint32(len(s.Scales)))
	e.scales(s.Scales)
	e.uint32(uint32(len(s.Sets)))
	var buf []byte
	for _, set := range s.Sets {
		buf = e.set(buf, set)
	}
	e.uint32(uint32(len(s.Retired)))
	for _, r := range s.Retired {
		buf = e.set(buf, r.At)
		e.stored(r.Bits)
	}
	e.flush()
	if e.err != nil {
		return e.n, fmt.Errorf("write state: %w", e.err)
	}
	return e.n, nil
}

// encoder writes little-endian numbers through a buffer and remembers the first error.
type encoder struct {
	w   io.Writer
	buf [1 << 14]byte
	len int
	n   int64
	err error
}

func (e *encoder) flush() {
	if e.err == nil && e.len > 0 {
		var n int
		n, e.err = e.w.Write(e.buf[:e.len])
		e.n += int64(n)
	}
	e.len = 0
}

// room returns the free part of the buffer, which has at least n bytes.
func (e *encoder) room(n int) []byte {
	if len(e.buf)-e.len < n {
		e.flush()
	}
	return e.buf[e.len:]
}

func (e *encoder) bytes(b []byte) {
	for len(b) > 0 {
		n := copy(e.room(1), b)
		e.len += n
		b = b[n:]
	}
}

func (e *encoder) uint16(v uint16) {
	binary.LittleEndian.PutUint16(e.room(2), v)
	e.len += 2
}

func (e *encoder) uint32(v uint32) {
	binary.LittleEndian.PutUint32(e.room(4), v)
	e.len += 4
}

func (e *encoder) uint64(v uint64) {
	binary.LittleEndian.PutUint64(e.room(8), v)
	e.len += 8
}

func (e *encoder) floats(v []float32) {
	for len(v) > 0 {
		free := e.room(4)
		part := v[:min(len(v), len(free)/4)]
		free = free[:4*len(part)]
		for i, x := range part {
			binary.LittleEndian.PutUint32(free[4*i:4*i+4], math.Float32bits(x))
		}
		e.len += len(free)
		v = v[len(part):]
	}
}

func (e *encoder) words(v []uint32) {
	for len(v) > 0 {
		free := e.room(4)
		part := v[:min(len(v), len(free)/4)]
		free = free[:4*len(part)]
		for i, x := range part {
			binary.LittleEndian.PutUint32(free[4*i:4*i+4], x)
		}
		e.len += len(free)
		v = v[len(part):]
	}
}

func (e *encoder) scales(v []int16) {
	for _, x := range v {
		e.uint16(uint16(x))
	}
}

// set writes a sorted set: its length, the length of its encoding, the encoding. buf is scratch, and returned to be again.
func (e *encoder) set(buf []byte, set []uint32) []byte {
	buf = methods.EncodeSet(buf[:0], set)
	e.uint32(uint32(len(set)))
	e.uint64(uint64(len(buf)))
	e.bytes(buf)
	return buf
}

// stored writes the bits of stored values, 2 bytes each when all fit.
func (e *encoder) stored(bits []uint32) {
	if len(bits) == 0 || slices.Max(bits) <= math.MaxUint16 {
		e.bytes([]byte{2})
		for _, b := range bits {
			e.uint16(uint16(b))
		}
		return
	}
	e.bytes([]byte{4})
	e.words(bits)
}
