package checkpoints

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/torctrain/torc/methods"
)

// ErrMalformed is the kind of error of bytes that are not the canonical ones of any state.
var ErrMalformed = errors.New("malformed state")

// ReadState reads r to its end. It takes the canonical bytes of a state and nothing else: an error wraps ErrMalformed, or
// is the reader's own. Memory grows with what has been read, not with what a count announces.
func ReadState(r io.Reader) (*State, error) {
	d := decoder{r: bufio.NewReaderSize(r, 1<<16)}
	s := d.state()
	if d.err == nil {
		if _, err := d.r.ReadByte(); err == nil {
			d.failf("bytes follow its end")
		} else if err != io.EOF {
			d.err = err
		}
	}
	if d.err != nil {
		return nil, fmt.Errorf("read state: %w", d.err)
	}
	return s, nil
}

func (d *decoder) state() *State {
	head := d.bytes(len(magic) + 2)
	if d.err != nil || string(head[:len(magic)]) != magic {
		d.failf("it does not begin with %q", magic)
		return nil
	}
	v := binary.LittleEndian.Uint16(head[len(magic):])
	if v != version && v != aged {
		d.err = fmt.Errorf("state has version %d, this binary reads %d and %d: use a torc of the run's version", v, version, aged)
		return nil
	}
	s := &State{}
	copy(s.Spec[:], d.bytes(len(s.Spec)))
	s.Step = d.uint64()
	k := d.uint64()
	s.Theta, s.M, s.V = d.floats(k), d.floats(k), d.floats(k)
	pending := d.uint64()
	if pending != 0 && pending != k {
		d.failf("θ has %d values, the pending one %d", k, pending)
	}
	s.Pending = d.floats(pending)
	if v == aged {
		if k == 0 {
			d.failf("it has ages of no values")
		}
		s.Ages = d.ages(k)
	}
	s.Scales = d.scales(d.uint32())
	n := d.uint32()
	for i := uint32(0); i < n && d.err == nil; i++ {
		s.Sets = append(s.Sets, d.set())
	}
	retired := d.uint32()
	if retired != 0 && retired != n {
		d.failf("there are %d sets and %d lists of retired coordinates", n, retired)
	}
	for i := uint32(0); i < retired && d.err == nil; i++ {
		at := d.set()
		s.Retired = append(s.Retired, methods.Sparse{At: at, Bits: d.stored(len(at))})
	}
	return s
}

// decoder reads little-endian numbers and remembers the first error; after it, everything is zero.
type decoder struct {
	r   *bufio.Reader
	err error
}

func (d *decoder) failf(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
	}
}

// blockBytes is how much is allocated ahead of what has arrived.
const blockBytes = 1 << 20

// each reads n elements of size bytes, block by block: take gets each block.
func (d *decoder) each(n uint64, size int, take func(block []byte)) {
	if d.err != nil || n == 0 {
		return
	}
	block := make([]byte, min(n, blockBytes/uint64(size))*uint64(size))
	for n > 0 && d.err == nil {
		part := block[:min(n, uint64(len(block)/size))*uint64(size)]
		if _, err := io.ReadFull(d.r, part); err == io.EOF || err == io.ErrUnexpectedEOF {
			d.failf("it ends early")
		} else if err != nil {
			d.err = err
		} else {
			take(part)
		}
		n -= uint64(len(part) / size)
	}
}

func (d *decoder) bytes(n int) []byte {
	b := make([]byte, 0, n)
	d.each(uint64(n), 1, func(block []byte) { b = append(b, block...) })
	return b[:min(len(b), n)]
}

func (d *decoder) uint32() (v uint32) {
	d.each(1, 4, func(b []byte) { v = binary.LittleEndian.Uint32(b) })
	return v
}

func (d *decoder) uint64() (v uint64) {
	d.each(1, 8, func(b []byte) { v = binary.LittleEndian.Uint64(b) })
	return v
}

func (d *decoder) floats(n uint64) []float32 {
	var v []float32
	d.each(n, 4, func(b []byte) {
		v = grow(v, n, len(b)/4)
		next := v[len(v) : len(v)+len(b)/4]
		for i := range next {
			next[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i : 4*i+4]))
		}
		v = v[:len(v)+len(next)]
	})
	return v
}

// grow makes room for n more elements of want altogether: all at once when half of them are there, so that memory stays
// within three times of what has arrived.
func grow[T any](v []T, want uint64, n int) []T {
	if cap(v)-len(v) >= n {
		return v
	}
	return slices.Grow(v, int(min(want-uint64(len(v)), uint64(max(n, len(v))))))
}

func (d *decoder) scales(n uint32) []int16 {
	var v []int16
	d.each(uint64(n), 2, func(b []byte) {
		for ; len(b) > 0; b = b[2:] {
			v = append(v, int16(binary.LittleEndian.Uint16(b)))
		}
	})
	return v
}

func (d *decoder) ages(n uint64) []uint16 {
	var v []uint16
	d.each(n, 2, func(b []byte) {
		v = grow(v, n, len(b)/2)
		for ; len(b) > 0; b = b[2:] {
			v = append(v, binary.LittleEndian.Uint16(b))
		}
	})
	return v
}

func (d *decoder) set() []uint32 {
	count, size := d.uint32(), d.uint64()
	if size < uint64(count) || size > 5*uint64(count) {
		d.failf("a set of %d coordinates takes %d bytes", count, size)
		return nil
	}
	var b []byte
	d.each(size, 1, func(block []byte) { b = append(grow(b, size, len(block)), block...) })
	if d.err != nil {
		return nil
	}
	set, rest, err := methods.DecodeSet(b, int(count), 1<<32)
	if err != nil {
		d.failf("%v", err)
		return nil
	}
	if len(rest) > 0 {
		d.failf("a set has %d bytes left over", len(rest))
	}
	return set
}

func (d *decoder) stored(n int) []uint32 {
	width := d.bytes(1)
	if d.err != nil {
		return nil
	}
	var v []uint32
	switch width[0] {
	case 2:
		d.each(uint64(n), 2, func(b []byte) {
			for ; len(b) > 0; b = b[2:] {
				v = append(v, uint32(binary.LittleEndian.Uint16(b)))
			}
		})
	case 4:
		d.each(uint64(n), 4, func(b []byte) {
			for ; len(b) > 0; b = b[4:] {
				v = append(v, binary.LittleEndian.Uint32(b))
			}
		})
		if len(v) == 0 || slices.Max(v) <= math.MaxUint16 {
			d.failf("values that fit in 2 bytes are written in 4")
		}
	default:
		d.failf("stored values have %d bytes, want 2 or 4", width[0])
	}
	return v
}
