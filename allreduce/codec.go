package allreduce

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"unsafe"
)

// Values travel raw, as little-endian int32, or packed.
//
// Packed, they are cut into groups of 64; a group is stored with the width of its widest value in two's complement,
// 0 to 32 bits. The payload is
//
//	widths, one byte per group │ zeros up to a multiple of 4 │ eight bit streams, interleaved by 32-bit words
//
// where value i of the frame belongs to stream i mod 8, and each stream holds its values one behind the other, least
// significant bits first. So one 256-bit row holds the same word of all eight streams and eight values are packed or
// unpacked at once. A group is eight rows; the last one is filled up with zeros.
//
// Two's complement needs the same width as zigzag and fewer instructions.

// group is how many values share a width.
const group = 64

// lanes8 is the number of interleaved streams, rowBytes what one word of each takes.
const (
	lanes8   = 8
	rowBytes = 4 * lanes8
)

// slack is how many bytes behind a payload must be readable and writable for the fast kernels, which work on whole rows.
const slack = 2 * rowBytes

// tableBytes is the length of the widths of count values.
func tableBytes(count int) int { return (ceilDiv(count, group) + 3) &^ 3 }

// encodeValues writes values to b and returns how many bytes it took, and whether they are packed: with pack it packs
// them unless that is no gain. b must have room for 4·len(values) bytes and slack behind that.
func encodeValues(b []byte, values []int32, pack bool) (length int, packed bool) {
	raw := 4 * len(values)
	if pack {
		if n := packValues(b, values, raw-1); n >= 0 {
			return n, true
		}
	}
	putWords(b[:raw], values)
	return raw, false
}

// decodeValues writes the values of a payload to dst.
func decodeValues(dst []int32, payload []byte, packed bool) error {
	return decodeSum(dst, nil, payload, packed)
}

// decodeSum writes own plus the values of a payload, wrapping around, to dst; own is nil, dst itself, or as long.
// The payload comes from the network: its length and widths are checked before anything is written.
func decodeSum(dst, own []int32, payload []byte, packed bool) error {
	if packed {
		return unpackValues(dst, own, payload)
	}
	if len(payload) != 4*len(dst) {
		return fmt.Errorf("%w: %d bytes for %d values", errCorrupt, len(payload), len(dst))
	}
	if own == nil {
		getWords(dst, payload)
		return nil
	}
	addWords(dst, own, payload)
	return nil
}

// packValues packs values into b if that takes at most limit bytes and returns the length, otherwise −1.
func packValues(b []byte, values []int32, limit int) int {
	table := tableBytes(len(values))
	if table > limit {
		return -1
	}
	full := len(values) / group
	widths := b[:table]
	clear(widths[full:])
	findWidths(widths[:full], values)
	var tail [group]int32
	if full*group < len(values) {
		copy(tail[:], values[full*group:])
		findWidths(widths[full:full+1], tail[:])
	}
	length := table + streamBytes(widths)
	if length > limit {
		return -1
	}
	stream := b[table:length:cap(b)]
	p := packGroups(stream, values[:full*group], widths[:full], 0)
	if full*group < len(values) {
		packGroups(stream, tail[:], widths[full:full+1], p)
	}
	return length
}

func unpackValues(dst, own []int32, payload []byte) error {
	table := tableBytes(len(dst))
	if len(payload) < table {
		return fmt.Errorf("%w: %d bytes for the widths of %d values", errCorrupt, len(payload), len(dst))
	}
	widths := payload[:table]
	for i, w := range widths {
		if w > 32 || i*group >= len(dst) && w != 0 {
			return fmt.Errorf("%w: group %d is %d bits wide", errCorrupt, i, w)
		}
	}
	if want := table + streamBytes(widths); len(payload) != want {
		return fmt.Errorf("%w: %d bytes packed, the widths say %d", errCorrupt, len(payload), want)
	}
	stream := payload[table:]
	full := len(dst) / group
	whole := own
	if own != nil {
		whole = own[:full*group]
	}
	p := unpackGroups(dst[:full*group], whole, stream, widths[:full], 0)
	if rest := dst[full*group:]; len(rest) > 0 {
		var tail [group]int32
		if own != nil {
			copy(tail[:], own[full*group:])
			unpackGroups(tail[:], tail[:], stream, widths[full:full+1], p)
		} else {
			unpackGroups(tail[:], nil, stream, widths[full:full+1], p)
		}
		copy(rest, tail[:])
	}
	return nil
}

// streamBytes is the length of the streams of groups with these widths.
func streamBytes(widths []byte) int {
	sum := 0
	for _, w := range widths {
		sum += int(w)
	}
	return ceilDiv(sum*group/lanes8, 32) * rowBytes
}

// findWidthsGo is the portable twin of findWidthsAVX2: widths[i] becomes the width of group i of values.
func findWidthsGo(widths []byte, values []int32) {
	for i := range widths {
		any, significant := int32(0), int32(0)
		for _, v := range values[i*group : (i+1)*group] {
			any |= v
			significant |= v ^ v>>31
		}
		widths[i] = 0
		if any != 0 {
			widths[i] = byte(bits.Len32(uint32(significant)) + 1)
		}
	}
}

// packGroupsGo is the portable twin of packGroupsAVX2: it appends whole groups at bit p of each stream and returns the
// bit behind them. Bits from p on to the end of their word are overwritten.
func packGroupsGo(stream []byte, values []int32, widths []byte, p int) int {
	le := binary.LittleEndian
	for lane := range lanes8 {
		q := p
		word := func() []byte { return stream[q/32*rowBytes+4*lane:] }
		acc := uint32(0)
		if q%32 != 0 {
			acc = le.Uint32(word()) & (1<<(q%32) - 1)
		}
		for i, w := range widths {
			mask := uint32(1<<w - 1)
			for r := lane; r < group && w > 0; r += lanes8 {
				v := uint32(values[i*group+r]) & mask
				s := q % 32
				acc |= v << s
				if s+int(w) >= 32 {
					le.PutUint32(word(), acc)
					acc = v >> (32 - s)
				}
				q += int(w)
			}
		}
		if q%32 != 0 {
			le.PutUint32(word(), acc)
		}
	}
	for _, w := range widths {
		p += int(w) * group / lanes8
	}
	return p
}

// unpackGroupsGo is the portable twin of unpackGroupsAVX2: it reads whole groups from bit p of each stream, adds own
// unless that is nil, and returns the bit behind them.
func unpackGroupsGo(dst, own []int32, stream []byte, widths []byte, p int) int {
	le := binary.LittleEndian
	for i, w := range widths {
		d := dst[i*group : (i+1)*group]
		if own == nil {
			clear(d)
		} else {
			copy(d, own[i*group:(i+1)*group])
		}
		for r := 0; r < group && w > 0; r++ {
			q := p + r/lanes8*int(w)
			at := q/32*rowBytes + r%lanes8*4
			s := q % 32
			v := le.Uint32(stream[at:]) >> s
			if s+int(w) > 32 {
				v |= le.Uint32(stream[at+rowBytes:]) << (32 - s)
			}
			d[r] += int32(v<<(32-w)) >> (32 - w)
		}
		p += int(w) * group / lanes8
	}
	return p
}

// addWordsGo is the portable twin of addWordsAVX2.
func addWordsGo(dst, own []int32, b []byte) {
	own = own[:len(dst)]
	b = b[:4*len(dst)]
	for i := range dst {
		dst[i] = own[i] + int32(binary.LittleEndian.Uint32(b[4*i:]))
	}
}

// littleEndian reports whether an int32 in memory is its wire form.
func littleEndian() bool { return binary.NativeEndian.Uint16([]byte{1, 0}) == 1 }

func putWords(b []byte, values []int32) {
	if len(values) == 0 {
		return
	}
	if littleEndian() {
		copy(b, unsafe.Slice((*byte)(unsafe.Pointer(&values[0])), 4*len(values)))
		return
	}
	for i, v := range values {
		binary.LittleEndian.PutUint32(b[4*i:], uint32(v))
	}
}

func getWords(dst []int32, b []byte) {
	if len(dst) == 0 {
		return
	}
	if littleEndian() {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&dst[0])), 4*len(dst)), b)
		return
	}
	for i := range dst {
		dst[i] = int32(binary.LittleEndian.Uint32(b[4*i:]))
	}
}
