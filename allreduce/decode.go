package allreduce

import (
	"fmt"
	"hash/crc32"
)

// A payload comes from the network: its length and widths are checked before anything is written. dst becomes own plus
// the values, wrapping around; own is dst itself, another slice as long, or nil for nothing.

// addRaw decodes raw values that come in parts. in is the checksum of the payload and out, unless own is nil, that of dst
// as bytes in memory: both are made on the way, because reading memory once more costs as much as adding.
func addRaw(dst, own []int32, parts [][]byte) (in, out uint32, err error) {
	length := 0
	for _, p := range parts {
		length += len(p)
	}
	if length != 4*len(dst) {
		return 0, 0, fmt.Errorf("%w: %d bytes for %d values", errCorrupt, length, len(dst))
	}
	take := func(n int, b []byte) { // the next n values
		if own == nil {
			getWords(dst[:n], b)
		} else {
			addWords(dst[:n], own[:n], b)
			out = crc32.Update(out, castagnoli, asBytes(dst[:n]))
			own = own[n:]
		}
		dst = dst[n:]
	}
	var cut [4]byte // a value on the border between two parts
	held := 0
	for _, p := range parts {
		for len(p) > 0 {
			b := p[:min(len(p), cacheBytes)]
			p = p[len(b):]
			in = crc32.Update(in, castagnoli, b)
			if held > 0 {
				n := copy(cut[held:], b)
				if held, b = held+n, b[n:]; held < len(cut) {
					continue
				}
				take(1, cut[:])
			}
			whole := len(b) / 4
			take(whole, b[:4*whole])
			held = copy(cut[:], b[4*whole:])
		}
	}
	return in, out, nil
}

// addPacked decodes packed values that come in parts. crc is the checksum of the payload.
func addPacked(dst, own []int32, parts [][]byte) (crc uint32, err error) {
	widths, err := packedWidths(len(dst), parts)
	if err != nil {
		return 0, err
	}
	u := unpacker{dst: dst, own: own, widths: widths}
	skip := len(widths)
	for _, b := range parts {
		for len(b) > 0 {
			block := b[:min(len(b), cacheBytes)]
			b = b[len(block):]
			crc = crc32.Update(crc, castagnoli, block)
			n := min(skip, len(block))
			skip -= n
			u.take(block[n:])
		}
	}
	u.rest()
	return crc, nil
}

// packedWidths returns the widths in front of packed values, checked against the length of the payload.
func packedWidths(count int, parts [][]byte) ([]byte, error) {
	table, length := tableBytes(count), 0
	for _, p := range parts {
		length += len(p)
	}
	if length < table {
		return nil, fmt.Errorf("%w: %d bytes for the widths of %d values", errCorrupt, length, count)
	}
	var widths []byte
	if table > 0 && len(parts[0]) >= table {
		widths = parts[0][:table]
	} else {
		widths = make([]byte, 0, table)
		for _, p := range parts {
			widths = append(widths, p[:min(len(p), table-len(widths))]...)
		}
	}
	for i, w := range widths {
		if w > 32 || i*group >= count && w != 0 {
			return nil, fmt.Errorf("%w: group %d is %d bits wide", errCorrupt, i, w)
		}
	}
	if want := table + streamBytes(widths); length != want {
		return nil, fmt.Errorf("%w: %d bytes packed, the widths say %d", errCorrupt, length, want)
	}
	return widths, nil
}

// unpacker unpacks streams that come in parts. Groups on the border between two parts are put together in border.
type unpacker struct {
	dst, own []int32
	widths   []byte
	g, p     int // next group, and its first bit in each stream
	off      int // bytes of the streams taken so far

	border [1024]byte // bytes [from, from+held) of the streams: at most slack, the rows of two groups, and slack again
	from   int
	held   int
}

// rowOf is where the row with bit p begins.
func rowOf(p int) int { return p / 32 * rowBytes }

// end is where the rows of the next group end.
func (u *unpacker) end() int { return rowOf(u.p + int(u.widths[u.g])*group/lanes8 + 31) }

func (u *unpacker) groups() int { return ceilDiv(len(u.dst), group) }

// take unpacks what b, the next bytes of the streams, completes.
func (u *unpacker) take(b []byte) {
	start, stop := u.off, u.off+len(b)
	u.off = stop
	// First the groups that begin before b.
	for u.g < u.groups() && rowOf(u.p) < start {
		end := u.end()
		if n := min(end, stop) - (u.from + u.held); n > 0 {
			at := u.from + u.held - start
			u.held += copy(u.border[u.held:], b[at:at+n])
		}
		if end > stop {
			return
		}
		u.unpack(1, u.border[:], u.from)
	}
	// Then those inside, but for the last few: the kernels read a row more than they need.
	first, p, n := u.p, u.p, 0
	for u.g+n < len(u.dst)/group {
		next := p + int(u.widths[u.g+n])*group/lanes8
		if rowOf(next+31)+slack > stop {
			break
		}
		p, n = next, n+1
	}
	if n > 0 {
		u.unpack(n, b[rowOf(first)-start:], rowOf(first))
	}
	if u.g < u.groups() {
		u.from = rowOf(u.p)
		u.held = copy(u.border[:], b[min(u.from-start, len(b)):])
	}
}

// rest unpacks the groups that are left when all bytes have come.
func (u *unpacker) rest() {
	for u.g < u.groups() {
		u.unpack(1, u.border[:], u.from)
	}
}

// unpack unpacks n groups from rows, which are the streams from byte from on, with slack bytes to spare.
func (u *unpacker) unpack(n int, rows []byte, from int) {
	lo, hi := u.g*group, min((u.g+n)*group, len(u.dst))
	p, widths := u.p-from/rowBytes*32, u.widths[u.g:u.g+n]
	rows = rows[:len(rows)-slack]
	dst, own := u.dst[lo:hi], u.own
	if own != nil {
		own = own[lo:hi]
	}
	if len(dst) == n*group {
		unpackGroups(dst, own, rows, widths, p)
	} else { // the last group, alone, was filled up with zeros
		var all [group]int32
		copy(all[:], own)
		unpackGroups(all[:], all[:], rows, widths, p)
		copy(dst, all[:])
	}
	u.p += sumWidths(widths) * group / lanes8
	u.g += n
}
