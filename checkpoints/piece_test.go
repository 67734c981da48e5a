package checkpoints

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// The bytes are part of the format: they change only together with the version.
func TestPieceFormatIsPinned(t *testing.T) {
	files, _ := cutBytes(t, []byte("torc!"), 2, []int{1, 2})
	head := "746f72635043" + "0100" + "07" + strings.Repeat("00", 31) + "0300000000000000" + "0200" + "0100" + "00000100" +
		"632100" // "c!" and a zero
	got := hex.EncodeToString(files[0])
	if !strings.HasPrefix(got, head) {
		t.Fatalf("piece begins with\n%s, want\n%s", got[:len(head)], head)
	}
	foot := "316009f142b79d9b" + fmt.Sprintf("%x", sha256.Sum256([]byte("torc!"))) + "0500000000000000" + "e917711d42875aa0"
	if rest := got[len(head):]; rest != foot {
		t.Errorf("it ends with\n%s, want\n%s", rest, foot)
	}
	// 0x8e·"tor" + 0xf4·"c!\0", of which the last byte.
	if last := files[1][pieceHead+2]; last != times(0x8e, 'r') {
		t.Errorf("parity byte is %#x", last)
	}
}

// times multiplies in GF(2⁸) with the polynomial 0x11d, bit by bit.
func times(a, b byte) (p byte) {
	for ; b > 0; b >>= 1 {
		if b&1 == 1 {
			p ^= a
		}
		carry := a >> 7
		a = a<<1 ^ carry*0x1d
	}
	return p
}

func TestPieceNamesAreReadBack(t *testing.T) {
	for _, id := range []PieceID{
		{Step: 0, Data: 1},
		{Step: 1<<64 - 1, Digest: [32]byte{0xff, 1, 2, 3, 4, 5, 6, 7}, Data: 64, Index: 255},
	} {
		if got, ok := parsePieceName(id.String()); !ok || got != id {
			t.Errorf("%s is read as %+v", id, got)
		}
	}
	for _, name := range []string{
		"", ".piece", "1-0000000000000000-4-0.piece", "000000000001-0000000000000000-4-00.piece", "000000000001-00-4-0.piece",
		"000000000001-0000000000000000-4-0", "000000000001-0000000000000000-4-0-1.piece", "000000000001-000000000000000G-4-0.piece",
		".tmp-000000000001-0000000000000000-4-0.piece", "000000000001-0000000000000000.manifest", "000000000001-ABCDEF0000000000-4-0.piece",
	} {
		if id, ok := parsePieceName(name); ok {
			t.Errorf("%q is read as %+v", name, id)
		}
	}
}

// sized is a reader that claims to be long and has zeros behind what it has.
type sized struct{ head, tail []byte }

func (s sized) ReadAt(b []byte, off int64) (int, error) {
	clear(b)
	if off == 0 {
		copy(b, s.head)
	} else {
		copy(b, s.tail)
	}
	return len(b), nil
}

// A piece that claims to be huge costs memory in proportion to its file, and a file that is short nothing.
func TestHugePieceAllocatesLittle(t *testing.T) {
	files, _ := cutBytes(t, []byte("torc!"), 2, []int{1})
	f := bytes.Clone(files[0])
	f[len(f)-9] = 0x7f // the state's size
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := readPieceInfo(bytes.NewReader(f), int64(len(f))); err == nil {
		t.Error("read")
	}
	if _, err := readPieceInfo(sized{f[:pieceHead], f[len(f)-pieceFoot:]}, 1<<60); err == nil {
		t.Error("read a huge one")
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("it allocated %d bytes", got)
	}
}

// What is taken for a piece is one, to the last byte of head and foot.
func FuzzPiece(f *testing.F) {
	for _, n := range []int{0, 5, 3 * pieceBlock} {
		files, _ := cutBytes(f, noise(n), 2, []int{0, 1, 2, 200})
		for _, b := range files {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := readPieceInfo(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		again := appendPieceHead(nil, p.spec, p.PieceID)
		again = append(again, b[pieceHead:pieceHead+p.layout.payload()]...)
		again = appendPieceFoot(again, again[:pieceHead], p.table, p.Digest, p.layout.size)
		if !bytes.Equal(again, b) {
			t.Fatalf("%x was taken for %x", b, again)
		}
	})
}
