package checkpoints

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/zeebo/xxh3"
)

// ErrDamaged is the kind of error of a piece or manifest whose bytes are not those that were written.
var ErrDamaged = errors.New("damaged")

const (
	pieceMagic   = "torcPC"
	pieceVersion = 1

	pieceHead = 56
	pieceFoot = 48
)

// PieceID names a piece: all members give one name to equal bytes.
type PieceID struct {
	Step   uint64
	Digest [32]byte // of the state it is a part of
	Data   int      // how many distinct pieces make the state whole
	Index  int      // below Data a part of its bytes, from there on parity
}

// String is also the name of the piece's file. It has the first 8 bytes of the digest.
func (p PieceID) String() string {
	return fmt.Sprintf("%012d-%s-%d-%d%s", p.Step, hex.EncodeToString(p.Digest[:8]), p.Data, p.Index, pieceSuffix)
}

const pieceSuffix = ".piece"

// parsePieceName reads what String says; the rest of the digest stands in the file.
func parsePieceName(name string) (p PieceID, ok bool) {
	parts := strings.Split(strings.TrimSuffix(name, pieceSuffix), "-")
	if len(parts) != 4 {
		return p, false
	}
	digest, err := hex.DecodeString(parts[1])
	if err != nil || len(digest) != 8 {
		return p, false
	}
	copy(p.Digest[:], digest)
	var errs [3]error
	p.Step, errs[0] = strconv.ParseUint(parts[0], 10, 64)
	p.Data, errs[1] = strconv.Atoi(parts[2])
	p.Index, errs[2] = strconv.Atoi(parts[3])
	return p, errors.Join(errs[:]...) == nil && p.String() == name
}

// pieceInfo is what a piece's head and foot say.
type pieceInfo struct {
	PieceID
	spec   [32]byte
	layout layout
	table  []uint64 // xxh3 of each block
}

// appendPieceHead writes what is known before the state's bytes are: magic, version, spec, step, data, index, block size.
func appendPieceHead(b []byte, spec [32]byte, id PieceID) []byte {
	b = append(b, pieceMagic...)
	b = binary.LittleEndian.AppendUint16(b, pieceVersion)
	b = append(b, spec[:]...)
	b = binary.LittleEndian.AppendUint64(b, id.Step)
	b = binary.LittleEndian.AppendUint16(b, uint16(id.Data))
	b = binary.LittleEndian.AppendUint16(b, uint16(id.Index))
	return binary.LittleEndian.AppendUint32(b, pieceBlock)
}

// appendPieceFoot writes what stands behind the blocks: their checksums, the state's digest and size, and the checksum of
// all but the blocks.
func appendPieceFoot(b, head []byte, table []uint64, digest [32]byte, size int64) []byte {
	from := len(b)
	for _, sum := range table {
		b = binary.LittleEndian.AppendUint64(b, sum)
	}
	b = append(b, digest[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(size))
	return binary.LittleEndian.AppendUint64(b, pieceCheck(head, b[from:]))
}

func pieceCheck(head, foot []byte) uint64 {
	h := xxh3.New()
	_, _ = h.Write(head) // a hash takes everything
	_, _ = h.Write(foot)
	return h.Sum64()
}

// pieceFileBytes is the length of a piece's file.
func (l layout) pieceFileBytes() int64 {
	return pieceHead + l.payload() + 8*l.stripes() + pieceFoot
}

// readPieceInfo reads head and foot of a piece of size bytes. Whatever is not as it was written wraps ErrDamaged. It
// allocates no more than size/8192 bytes.
func readPieceInfo(r io.ReaderAt, size int64) (*pieceInfo, error) {
	if size < pieceHead+pieceFoot {
		return nil, fmt.Errorf("%w: it has %d bytes, a piece has at least %d: it was truncated", ErrDamaged, size, pieceHead+pieceFoot)
	}
	var head [pieceHead]byte
	if err := readAt(r, head[:], 0); err != nil {
		return nil, err
	}
	if string(head[:6]) != pieceMagic {
		return nil, fmt.Errorf("%w: it does not begin with %q", ErrDamaged, pieceMagic)
	}
	if v := binary.LittleEndian.Uint16(head[6:]); v != pieceVersion {
		return nil, fmt.Errorf("piece has version %d, this binary reads %d: use a torc of the run's version", v, pieceVersion)
	}
	var tail [pieceFoot]byte
	if err := readAt(r, tail[:], size-pieceFoot); err != nil {
		return nil, err
	}
	p := &pieceInfo{spec: [32]byte(head[8:40])}
	p.Step = binary.LittleEndian.Uint64(head[40:])
	p.Data, p.Index = int(binary.LittleEndian.Uint16(head[48:])), int(binary.LittleEndian.Uint16(head[50:]))
	p.Digest = [32]byte(tail[:32])
	p.layout = layout{data: p.Data, size: int64(binary.LittleEndian.Uint64(tail[32:]))}
	switch {
	case p.Data < 1 || p.Data > maxData || p.Index >= MaxPieces || binary.LittleEndian.Uint32(head[52:]) != pieceBlock:
		return nil, fmt.Errorf("%w: its head says piece %d of %d", ErrDamaged, p.Index, p.Data)
	case p.layout.size < 0 || p.layout.size > size*int64(p.Data) || p.layout.pieceFileBytes() != size:
		return nil, fmt.Errorf("%w: it has %d bytes, which does not fit a state of %d bytes: it was truncated or changed", ErrDamaged, size, p.layout.size)
	}
	foot := make([]byte, 8*p.layout.stripes()+pieceFoot)
	if err := readAt(r, foot, pieceHead+p.layout.payload()); err != nil {
		return nil, err
	}
	if check := foot[len(foot)-8:]; pieceCheck(head[:], foot[:len(foot)-8]) != binary.LittleEndian.Uint64(check) {
		return nil, fmt.Errorf("%w: its head or its foot does not fit its checksum", ErrDamaged)
	}
	p.table = make([]uint64, p.layout.stripes())
	for i := range p.table {
		p.table[i] = binary.LittleEndian.Uint64(foot[8*i:])
	}
	return p, nil
}

// readAt fills b; an early end is damage.
func readAt(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: it ends at byte %d", ErrDamaged, off+int64(n))
	}
	return err
}
