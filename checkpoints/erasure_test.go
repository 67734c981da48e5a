package checkpoints

import (
	"bytes"
	"crypto/sha256"
	"io"
	"testing"

	"github.com/klauspost/reedsolomon"
	"pgregory.net/rapid"

	"github.com/torctrain/torc/methods"
)

// cutBytes makes pieces of any bytes.
func cutBytes(t interface{ Fatal(...any) }, b []byte, data int, indices []int) ([][]byte, *Cutting) {
	files := make([]bytes.Buffer, len(indices))
	var w []io.Writer
	for i := range files {
		w = append(w, &files[i])
	}
	c, err := newCutter([32]byte{7}, 3, data, indices, w)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	cut, err := c.finish()
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for i := range files {
		out = append(out, files[i].Bytes())
	}
	return out, cut
}

// stateAt is some state of a step, of a little more than k·12 bytes.
func stateAt(step uint64, k int) *State {
	s := &State{Spec: [32]byte{7}, Step: step, Theta: make([]float32, k), M: make([]float32, k), V: make([]float32, k), Scales: []int16{-3}}
	s.Sets, s.Retired = [][]uint32{{1, 5}}, []methods.Sparse{{At: []uint32{4}, Bits: []uint32{9}}}
	x := uint32(step)
	for i := range k {
		x = x*1664525 + 1013904223
		s.Theta[i], s.M[i], s.V[i] = float32(x), float32(x>>7), float32(x>>13)
	}
	return s
}

func indices(n int) []int {
	var all []int
	for i := range n {
		all = append(all, i)
	}
	return all
}

func noise(n int) []byte {
	b, x := make([]byte, n), uint32(n)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// protocol.md §5: pieces cut under different views fit together, for the bytes of an index are the same whichever other
// pieces a member cuts.
func TestPieceIsTheSameWhateverElseIsCut(t *testing.T) {
	for _, size := range []int{0, 1, 5, 1000, 4*pieceBlock - 1, 4 * pieceBlock, 4*pieceBlock + 1, 9*pieceBlock + 77} {
		b := noise(size)
		all, cut := cutBytes(t, b, 4, indices(12))
		if cut.Digest != sha256.Sum256(b) || cut.Size != int64(size) {
			t.Errorf("%d bytes: digest %x, size %d", size, cut.Digest, cut.Size)
		}
		for _, some := range [][]int{{0}, {3}, {4}, {11}, {9, 2}, {6, 5, 4}, {}} {
			files, part := cutBytes(t, b, 4, some)
			if part.Digest != cut.Digest {
				t.Errorf("%d bytes: digest depends on what is cut", size)
			}
			for i, index := range some {
				if !bytes.Equal(files[i], all[index]) || part.Pieces[i] != cut.Pieces[index] {
					t.Errorf("%d bytes: piece %d is another one when %v are cut", size, index, some)
				}
				if sha256.Sum256(files[i]) != part.Pieces[i].Sum || int64(len(files[i])) != (layout{4, int64(size)}).pieceFileBytes() {
					t.Errorf("%d bytes: piece %d has %d bytes or another sum", size, index, len(files[i]))
				}
			}
		}
	}
}

// The code is the one that docs/formats.md describes: the library's Cauchy code, whose rows do not depend on their count.
func TestParityIsTheDocumentedCode(t *testing.T) {
	for _, data := range []int{1, 2, 4, 7, 64} {
		b := noise(3*data*pieceBlock + 100)
		parity := []int{data, data + 1, data + 5, 255}
		files, _ := cutBytes(t, b, data, parity)
		for _, count := range []int{6, 40, 256 - data} {
			code, err := reedsolomon.New(data, count, reedsolomon.WithCauchyMatrix())
			if err != nil {
				t.Fatal(err)
			}
			shards := reedsolomon.AllocAligned(data+count, pieceBlock)
			for i := range data {
				copy(shards[i], b[i*pieceBlock:])
			}
			if err := code.Encode(shards); err != nil {
				t.Fatal(err)
			}
			for i, index := range parity {
				if index < data+count && !bytes.Equal(files[i][pieceHead:pieceHead+pieceBlock], shards[index]) {
					t.Errorf("data %d: piece %d is not the Cauchy code's of %d parity pieces", data, index, count)
				}
			}
		}
	}
}

// Two bytes by hand: 1/(2+0) = 0x8e and 1/(2+1) = 0xf4 in GF(2⁸) with 0x11d, so piece 2 of 1, 1 is their sum.
func TestParityByHand(t *testing.T) {
	if row := parityRow(2, 2); !bytes.Equal(row, []byte{0x8e, 0xf4}) {
		t.Fatalf("row of piece 2 of 2 is %x", row)
	}
	files, _ := cutBytes(t, []byte{1, 1}, 2, []int{2})
	if got := files[0][pieceHead]; got != 0x8e^0xf4 {
		t.Errorf("parity byte is %#x", got)
	}
}

func TestLayoutWastesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := layout{rapid.IntRange(1, 64).Draw(t, "data"), rapid.Int64Range(0, 1<<40).Draw(t, "size")}
		if got := l.payload() * int64(l.data); got < l.size || got >= l.size+int64(l.data) {
			t.Fatalf("%d pieces of %d bytes hold %d bytes", l.data, l.payload(), l.size)
		}
		if n := l.stripes(); n > 0 {
			if last := l.blockBytes(n - 1); last < 1 || last > pieceBlock || n > 1 && l.blockBytes(n-2) != pieceBlock {
				t.Fatalf("the last block has %d bytes", last)
			}
		}
	})
}

func TestCutRefusesWildIndices(t *testing.T) {
	for _, index := range []int{-1, MaxPieces} {
		if _, err := Cut(stateAt(1, 1), 4, []int{index}, []io.Writer{io.Discard}); err == nil {
			t.Errorf("piece %d was cut", index)
		}
	}
	for _, data := range []int{0, 65} {
		if _, err := Cut(stateAt(1, 1), data, []int{0}, []io.Writer{io.Discard}); err == nil {
			t.Errorf("%d data pieces were cut", data)
		}
	}
}
