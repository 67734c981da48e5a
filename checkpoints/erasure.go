package checkpoints

import (
	"fmt"

	"github.com/klauspost/reedsolomon"
)

// pieceBlock is the unit of checking and coding.
const pieceBlock = 64 << 10

// layout says how size bytes lie in pieces: they are cut into stripes of data blocks, piece i has block i of every stripe.
// All blocks have 64 KiB but those of the last stripe, which are as short as can be, padded with zeros to equal length.
type layout struct {
	data int
	size int64
}

func (l layout) stripeBytes() int64 { return int64(l.data) * pieceBlock }

// stripes is the number of stripes, and of blocks in a piece.
func (l layout) stripes() int64 { return (l.size + l.stripeBytes() - 1) / l.stripeBytes() }

// blockBytes is the length of the blocks of stripe s.
func (l layout) blockBytes(s int64) int {
	if rest := l.size - s*l.stripeBytes(); rest < l.stripeBytes() {
		return int((rest + int64(l.data) - 1) / int64(l.data))
	}
	return pieceBlock
}

// payload is the length of the blocks of one piece together.
func (l layout) payload() int64 {
	n := l.stripes()
	if n == 0 {
		return 0
	}
	return (n-1)*pieceBlock + int64(l.blockBytes(n-1))
}

// parityRow is what parity piece index is made of: its byte is the sum over c of row[c] times the byte of data piece c, in
// GF(2⁸) with the polynomial 0x11d. The rows, 1/(index + c) in that field, are a Cauchy matrix: with the identity above it
// every data rows have an inverse. A row depends on nothing but data and index, so pieces fit together however many
// others were cut.
func parityRow(data, index int) []byte {
	row := make([]byte, data)
	for c := range row {
		row[c] = reedsolomon.Inv(byte(index) ^ byte(c))
	}
	return row
}

// newCoder makes a code of data pieces and the given parity pieces, in this order.
func newCoder(data int, parity []int) (reedsolomon.Encoder, error) {
	rows := make([][]byte, len(parity))
	for i, index := range parity {
		rows[i] = parityRow(data, index)
	}
	c, err := reedsolomon.New(data, len(parity), reedsolomon.WithCustomMatrix(rows))
	if err != nil {
		return nil, fmt.Errorf("make code of %d data pieces: %w", data, err)
	}
	return c, nil
}
