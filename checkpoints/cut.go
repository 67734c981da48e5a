package checkpoints

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/reedsolomon"
	"github.com/zeebo/xxh3"
)

// Piece is one piece as its maker reports it.
type Piece struct {
	Index int
	Sum   [32]byte // SHA-256 of the piece's file
}

// Cutting is what cutting a state has found.
type Cutting struct {
	Digest [32]byte // of the state
	Size   int64    // of its canonical bytes
	Pieces []Piece  // in the order asked for
}

// Cut writes pieces of s, a state of data distinct pieces: that of indices[i] to w[i]. Every member cuts the same bytes for
// an index, whichever others it cuts, and needs nothing but its own copy of s, which must not change meanwhile. Memory is
// data + len(indices) blocks of 64 KiB. The writers get an unfinished piece on an error.
func Cut(s *State, data int, indices []int, w []io.Writer) (*Cutting, error) {
	c, err := newCutter(s.Spec, s.Step, data, indices, w)
	if err != nil {
		return nil, fmt.Errorf("cut state of step %d: %w", s.Step, err)
	}
	if _, err := s.WriteTo(c); err != nil {
		return nil, fmt.Errorf("cut state of step %d: %w", s.Step, err)
	}
	return c.finish()
}

// cutter makes pieces of the canonical bytes that are written to it.
type cutter struct {
	layout layout // its size grows
	coder  reedsolomon.Encoder
	parts  []part
	stripe []byte   // as far as it has come
	blocks [][]byte // data blocks, which lie in stripe, and then parity blocks
	digest hash.Hash
}

// part is one piece on its way.
type part struct {
	index int
	slot  int // its block in cutter.blocks
	head  []byte
	w     io.Writer
	sum   hash.Hash
	table []uint64
}

func newCutter(spec [32]byte, step uint64, data int, indices []int, w []io.Writer) (*cutter, error) {
	if len(w) != len(indices) {
		panic(fmt.Sprintf("checkpoints: Cut: %d writers for %d pieces", len(w), len(indices)))
	}
	if data < 1 || data > maxData {
		return nil, fmt.Errorf("a state of %d pieces: use 1 to %d", data, maxData)
	}
	c := &cutter{layout: layout{data: data}, digest: sha256.New(), stripe: make([]byte, 0, data*pieceBlock)}
	var parity []int
	for i, index := range indices {
		if index < 0 || index >= MaxPieces {
			return nil, fmt.Errorf("piece %d: use 0 to %d", index, MaxPieces-1)
		}
		p := part{index: index, slot: index, w: w[i], sum: sha256.New()}
		p.head = appendPieceHead(nil, spec, PieceID{Step: step, Data: data, Index: index})
		if index >= data {
			p.slot = data + len(parity)
			parity = append(parity, index)
		}
		c.parts = append(c.parts, p)
	}
	c.blocks = append(make([][]byte, data), reedsolomon.AllocAligned(len(parity), pieceBlock)...)
	var err error
	if len(parity) > 0 {
		c.coder, err = newCoder(data, parity)
	}
	for i := range c.parts {
		if err == nil {
			err = c.parts[i].write(c.parts[i].head)
		}
	}
	return c, err
}

// Write takes the next bytes.
func (c *cutter) Write(b []byte) (int, error) {
	_, _ = c.digest.Write(b) // a hash takes everything
	c.layout.size += int64(len(b))
	n := len(b)
	for len(b) > 0 {
		m := copy(c.stripe[len(c.stripe):cap(c.stripe)], b)
		c.stripe, b = c.stripe[:len(c.stripe)+m], b[m:]
		if len(c.stripe) == cap(c.stripe) {
			if err := c.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// flush codes the stripe and writes its blocks.
func (c *cutter) flush() error {
	if len(c.stripe) == 0 {
		return nil
	}
	n := (len(c.stripe) + c.layout.data - 1) / c.layout.data
	whole := c.stripe[:n*c.layout.data]
	clear(whole[len(c.stripe):])
	c.stripe = c.stripe[:0]
	for i := range c.blocks {
		if i < c.layout.data {
			c.blocks[i] = whole[i*n : (i+1)*n]
		} else {
			c.blocks[i] = c.blocks[i][:n]
		}
	}
	if c.coder != nil {
		if err := c.coder.Encode(c.blocks); err != nil {
			return fmt.Errorf("make parity: %w", err)
		}
	}
	for i := range c.parts {
		p := &c.parts[i]
		block := c.blocks[p.slot]
		p.table = append(p.table, xxh3.Hash(block))
		if err := p.write(block); err != nil {
			return err
		}
	}
	return nil
}

func (p *part) write(b []byte) error {
	_, _ = p.sum.Write(b)
	if _, err := p.w.Write(b); err != nil {
		return fmt.Errorf("write piece %d: %w", p.index, err)
	}
	return nil
}

// finish writes what stands behind the last block of each piece.
func (c *cutter) finish() (*Cutting, error) {
	if err := c.flush(); err != nil {
		return nil, err
	}
	cut := &Cutting{Digest: [32]byte(c.digest.Sum(nil)), Size: c.layout.size}
	var errs []error
	for i := range c.parts {
		p := &c.parts[i]
		errs = append(errs, p.write(appendPieceFoot(nil, p.head, p.table, cut.Digest, cut.Size)))
		cut.Pieces = append(cut.Pieces, Piece{p.index, [32]byte(p.sum.Sum(nil))})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return cut, nil
}
