package methods

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A set crosses the network and lies in checkpoints as the gaps between its indices: the first index, then each index less
// the one before and less 1, as unsigned varints of least length. So a set has one encoding, an encoding is a sorted set,
// and at densities above 1 % an index costs one byte.

var errSet = errors.New("malformed index set")

// EncodeSet appends the encoding of a sorted set to b.
func EncodeSet(b []byte, set []uint32) []byte {
	next := uint32(0) // the lowest index that may follow
	for _, at := range set {
		b = binary.AppendUvarint(b, uint64(at-next))
		next = at + 1
	}
	return b
}

// DecodeSet reads a set of count indices below limit from the front of b and returns the rest of b. It allocates no more
// than four bytes for each byte of b, however large count is.
func DecodeSet(b []byte, count int, limit uint64) (set []uint32, rest []byte, err error) {
	if count < 0 || count > len(b) {
		return nil, nil, fmt.Errorf("%w: %d indices in %d bytes", errSet, count, len(b))
	}
	set = make([]uint32, count)
	next := uint64(0)
	for i := range set {
		gap, n := binary.Uvarint(b)
		if n <= 0 || n > 1 && b[n-1] == 0 {
			return nil, nil, fmt.Errorf("%w: index %d of %d is cut off or not of least length", errSet, i, count)
		}
		if next >= limit || gap >= limit-next {
			return nil, nil, fmt.Errorf("%w: index %d of %d is %d or more, the weight has %d elements", errSet, i, count, next+gap, limit)
		}
		b = b[n:]
		set[i] = uint32(next + gap)
		next += gap + 1
	}
	return set, b, nil
}

// checkSet says what is wrong with a set of count indices below limit.
func checkSet(set []uint32, count, limit int) error {
	if len(set) != count {
		return fmt.Errorf("%w: %d indices, want %d", errSet, len(set), count)
	}
	for i, at := range set {
		if i > 0 && at <= set[i-1] {
			return fmt.Errorf("%w: index %d, %d, is not above the one before, %d", errSet, i, at, set[i-1])
		}
	}
	if count > 0 && int(set[count-1]) >= limit {
		return fmt.Errorf("%w: last index is %d, the weight has %d elements", errSet, set[count-1], limit)
	}
	return nil
}
