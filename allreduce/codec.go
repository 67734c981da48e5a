package allreduce

import (
	"encoding/binary"
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

// cacheBytes is how much is worked on at a time, so that it is still in the nearest cache the second time.
const cacheBytes = 16 << 10

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

// packValues packs values into b if that takes at most limit bytes and returns the length, otherwise −1.
func packValues(b []byte, values []int32, limit int) int {
	table := tableBytes(len(values))
	if table > limit {
		return -1
	}
	widths, stream := b[:table], b[table:]
	clear(widths[len(values)/group:])
	p := 0
	for i := 0; i < len(values); i += cacheBytes / 4 {
		block := values[i:min(len(values), i+cacheBytes/4)]
		w := widths[i/group:][:ceilDiv(len(block), group)]
		full := len(block) / group
		findWidths(w[:full], block)
		var tail [group]int32
		if full < len(w) {
			copy(tail[:], block[full*group:])
			findWidths(w[full:], tail[:])
		}
		if bits := p + sumWidths(w)*group/lanes8; table+ceilDiv(bits, 32)*rowBytes > limit {
			return -1
		}
		p = packGroups(stream, block[:full*group], w[:full], p)
		p = packGroups(stream, tail[:], w[full:], p)
	}
	return table + ceilDiv(p, 32)*rowBytes
}

// streamBytes is the length of the streams of groups with these widths.
func streamBytes(widths []byte) int { return ceilDiv(sumWidths(widths)*group/lanes8, 32) * rowBytes }

func sumWidths(widths []byte) int {
	sum := 0
	for _, w := range widths {
		sum += int(w)
	}
	return sum
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

// asBytes returns the memory of values, which is their wire form if littleEndian.
func asBytes(values []int32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), 4*len(values))
}

func putWords(b []byte, values []int32) {
	if littleEndian() {
		copy(b, asBytes(values))
		return
	}
	for i, v := range values {
		binary.LittleEndian.PutUint32(b[4*i:], uint32(v))
	}
}

func getWords(dst []int32, b []byte) {
	if littleEndian() {
		copy(asBytes(dst), b)
		return
	}
	for i := range dst {
		dst[i] = int32(binary.LittleEndian.Uint32(b[4*i:]))
	}
}
