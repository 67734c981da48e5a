package checkpoints

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/zeebo/xxh3"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

// pieceFiles is a source of pieces in memory.
type pieceFiles struct {
	holder string
	files  map[int][]byte
	opened func(index int) error // asked first, when it is there
}

func (p pieceFiles) list() []int {
	var all []int
	for i := range MaxPieces {
		if p.files[i] != nil {
			all = append(all, i)
		}
	}
	return all
}

// committed makes pieces of st and their manifest, kept by members m0, m1, … one each.
func committed(t interface{ Fatal(...any) }, st *State, data, n int) (*Manifest, pieceFiles) {
	files := make([]bytes.Buffer, n)
	var w []io.Writer
	for i := range files {
		w = append(w, &files[i])
	}
	cut, err := Cut(st, data, indices(n), w)
	if err != nil {
		t.Fatal(err)
	}
	src := pieceFiles{holder: "memory", files: map[int][]byte{}}
	var saved []Saved
	for i := range n {
		src.files[i] = files[i].Bytes()
		one := *cut
		one.Pieces = cut.Pieces[i : i+1]
		saved = append(saved, Saved{Holder: Holder{Name: fmt.Sprintf("m%02d", i)}, Spec: st.Spec, Step: st.Step, Data: data, Cutting: one})
	}
	m, err := Commit("drill", n-data, nil, saved)
	if err != nil {
		t.Fatal(err)
	}
	return m, src
}

// Any data distinct pieces are the state, whichever.
func TestAnyDataPiecesMakeTheState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data, parity := rapid.IntRange(1, 6).Draw(t, "data"), rapid.IntRange(0, 4).Draw(t, "parity")
		st := stateAt(9, rapid.SampledFrom([]int{0, 1, 10, 3000, 22_000, 60_000}).Draw(t, "k"))
		m, src := committed(t, st, data, data+parity)
		for _, i := range rapid.Permutation(indices(data+parity)).Draw(t, "lost")[:parity] {
			delete(src.files, i)
		}
		got, err := Load(t.Context(), m, src)
		if err != nil {
			t.Fatal(err)
		}
		if got.Digest() != st.Digest() {
			t.Fatal("another state came out")
		}
	})
}

func TestAllChoicesOfFourPiecesOfSeven(t *testing.T) {
	st := stateAt(9, 30_000)
	m, src := committed(t, st, 4, 7)
	n := 0
	for mask := range 1 << 7 {
		if ones(mask) != 4 {
			continue
		}
		some := pieceFiles{files: map[int][]byte{}}
		for i := range 7 {
			if mask>>i&1 == 1 {
				some.files[i] = src.files[i]
			}
		}
		got, err := Load(t.Context(), m, some)
		if err != nil || got.Digest() != st.Digest() {
			t.Errorf("pieces %v: error is %v", some.list(), err)
		}
		n++
	}
	if n != 35 {
		t.Errorf("%d choices, want 35", n)
	}
}

func (p pieceFiles) Copies(context.Context, *Manifest) ([]Copy, error) {
	var all []Copy
	for _, i := range p.list() {
		all = append(all, Copy{i, p.holder, func(context.Context) (PieceReader, error) {
			if p.opened != nil {
				if err := p.opened(i); err != nil {
					return nil, err
				}
			}
			return memPiece{bytes.NewReader(p.files[i])}, nil
		}})
	}
	return all, nil
}

type memPiece struct{ *bytes.Reader }

func (m memPiece) Size() (int64, error) { return m.Reader.Size(), nil }
func (m memPiece) Close() error         { return nil }

// with is the source with some files changed, which are copied before.
func (p pieceFiles) with(change func(files map[int][]byte)) pieceFiles {
	files := map[int][]byte{}
	for i, b := range p.files {
		files[i] = slices.Clone(b)
	}
	change(files)
	p.files = files
	return p
}

func mustLoad(t *testing.T, m *Manifest, src PieceSource, want *State) {
	t.Helper()
	got, err := Load(t.Context(), m, src)
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest() != want.Digest() {
		t.Fatal("another state came out")
	}
}

// Whatever bit of a piece is wrong, in its head, its blocks, its checksums or its foot: other pieces are used, and with
// none to spare the load fails and names the piece.
func TestFlippedBitsAreErasures(t *testing.T) {
	st := stateAt(5, 200)
	m, src := committed(t, st, 2, 3)
	for _, index := range indices(3) {
		for at := range src.files[index] {
			flipped := src.with(func(f map[int][]byte) { f[index][at] ^= 1 << (at % 8) })
			mustLoad(t, m, flipped, st)
			delete(flipped.files, (index+1)%3)
			_, err := Load(t.Context(), m, flipped)
			if missing := new(MissingError); !errors.As(err, &missing) || !strings.Contains(err.Error(), fmt.Sprintf("piece %d of memory", index)) {
				t.Fatalf("byte %d of piece %d flipped, none to spare: error is %v", at, index, err)
			}
		}
	}
}

func TestTruncatedPiecesAreErasures(t *testing.T) {
	st := stateAt(5, 200)
	m, src := committed(t, st, 2, 3)
	for n := range src.files[0] {
		mustLoad(t, m, src.with(func(f map[int][]byte) { f[0] = f[0][:n:n] }), st)
	}
	short := src.with(func(f map[int][]byte) { f[0] = f[0][:len(f[0])-1]; delete(f, 1) })
	if _, err := Load(t.Context(), m, short); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "truncated") {
		t.Errorf("error is %v", err)
	}
}

// Pieces that are all rotten, each in another place, still make the state: a bad block costs a block, not a piece.
func TestDamageCountsByBlock(t *testing.T) {
	st := stateAt(5, 200_000) // 10 stripes
	m, src := committed(t, st, 4, 6)
	rotten := src.with(func(f map[int][]byte) {
		for i := range 6 {
			f[i][pieceHead+i*pieceBlock+100]++
		}
	})
	mustLoad(t, m, rotten, st)
	rotten = rotten.with(func(f map[int][]byte) { f[4][pieceHead]++; f[5][pieceHead]++ }) // with piece 0, three bad in stripe 0
	_, err := Load(t.Context(), m, rotten)
	missing := new(MissingError)
	if !errors.As(err, &missing) || fmt.Sprint(missing.Have) != "[1 2 3]" {
		t.Errorf("three of six bad in one stripe: error is %v", err)
	}
}

// protocol.md I9: the loss of more than parity holders is reported, with their names.
func TestTooFewPiecesAreNamed(t *testing.T) {
	m, src := committed(t, stateAt(5, 200), 4, 6)
	for _, i := range []int{0, 2, 5} {
		delete(src.files, i)
	}
	_, err := Load(t.Context(), m, src)
	missing := new(MissingError)
	if !errors.As(err, &missing) {
		t.Fatalf("error is %v", err)
	}
	want := "load checkpoint of step 5: 4 distinct pieces are needed, 3 could be read [1 3 4]; others were kept by m00: 0, m02: 2, m05: 5: bring these members back with their disks"
	if err.Error() != want {
		t.Errorf("error is\n%v, want\n%s", err, want)
	}
	if Describe(missing.Lost) != "m00: 0, m02: 2, m05: 5" || missing.Need != 4 {
		t.Errorf("error holds %+v", missing)
	}
}

// Pieces of another checkpoint, another index or another run are not taken, whatever they are called.
func TestMixedPiecesAreRefused(t *testing.T) {
	st := stateAt(5, 200)
	m, src := committed(t, st, 2, 3)
	otherRun := stateAt(5, 200)
	otherRun.Spec[0]++
	for name, other := range map[string]*State{"step": stateAt(6, 200), "run": otherRun, "size": stateAt(5, 201)} {
		_, wrong := committed(t, other, 2, 3)
		mixed := src.with(func(f map[int][]byte) { f[1] = wrong.files[1] })
		mustLoad(t, m, mixed, st)
		delete(mixed.files, 0)
		if _, err := Load(t.Context(), m, mixed); err == nil || name != "size" && !strings.Contains(err.Error(), "are mixed") {
			t.Errorf("a piece of another %s: error is %v", name, err)
		}
	}
	swapped := src.with(func(f map[int][]byte) { f[0], f[1] = f[1], f[0] })
	if _, err := Load(t.Context(), m, swapped); err == nil || !strings.Contains(err.Error(), "are mixed") {
		t.Errorf("swapped pieces: error is %v", err)
	}
	newer := src.with(func(f map[int][]byte) { delete(f, 0); f[1][6] = 2 })
	if _, err := Load(t.Context(), m, newer); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("another version: error is %v", err)
	}
}

// forge changes a block and makes all checksums of the piece fit.
func forge(f []byte, l layout, spec [32]byte) {
	p, err := readPieceInfo(bytes.NewReader(f), int64(len(f)))
	if err != nil {
		panic(err)
	}
	f[pieceHead+10] ^= 4
	p.table[0] = xxh3.Hash(f[pieceHead : pieceHead+l.blockBytes(0)])
	foot := appendPieceFoot(nil, f[:pieceHead], p.table, p.Digest, l.size)
	copy(f[len(f)-len(foot):], foot)
}

// A piece whose own checksums are right and that is not the committed one is found by the state's digest and put aside.
func TestForgedPieceIsFoundOut(t *testing.T) {
	st := stateAt(5, 200)
	m, src := committed(t, st, 2, 4)
	for i := range 4 {
		forged := src.with(func(f map[int][]byte) { forge(f[i], m.layout(), m.Spec) })
		mustLoad(t, m, forged, st)
		forged = forged.with(func(f map[int][]byte) { delete(f, (i+1)%4); delete(f, (i+2)%4) })
		if _, err := Load(t.Context(), m, forged); err == nil || !strings.Contains(err.Error(), "not the one that was committed") {
			t.Errorf("forged piece %d: error is %v", i, err)
		}
	}
	// The manifest has no sums of pieces that were cut after it was made.
	m.Pieces, m.Holders = m.Pieces[1:], nil
	mustLoad(t, m, src.with(func(f map[int][]byte) { forge(f[0], m.layout(), m.Spec) }), st)
}

// A manifest whose digest no pieces fit is an error, not another state.
func TestDigestDecides(t *testing.T) {
	st := stateAt(5, 200)
	m, src := committed(t, st, 2, 3)
	m.Digest[31] ^= 1
	for i, f := range src.files {
		head := f[:pieceHead]
		foot := f[pieceHead+m.layout().payload():]
		copy(foot[len(foot)-pieceFoot:], m.Digest[:])
		binary.LittleEndian.PutUint64(foot[len(foot)-8:], pieceCheck(head, foot[:len(foot)-8]))
		m.Pieces[i].Sum = [32]byte{}
	}
	if _, err := Load(t.Context(), m, src); err == nil {
		t.Error("loaded")
	}
	for i := range m.Pieces {
		_, cut := cutBytes(t, nil, 2, nil)
		m.Pieces[i].Sum = cut.Digest
	}
	if _, err := Load(t.Context(), m, src); !errors.Is(err, ErrDamaged) {
		t.Errorf("error is %v", err)
	}
}

type brokenSource struct{}

func (brokenSource) Copies(context.Context, *Manifest) ([]Copy, error) { return nil, errBroken }

// Several holders: pieces may be anywhere, twice, and some holders may not answer.
func TestLoadUsesSeveralHolders(t *testing.T) {
	st := stateAt(5, 30_000)
	m, src := committed(t, st, 4, 6)
	a := src.with(func(f map[int][]byte) { delete(f, 2); delete(f, 3); delete(f, 4); delete(f, 5); f[0][pieceHead]++ })
	b := src.with(func(f map[int][]byte) { delete(f, 1); delete(f, 4); delete(f, 5) })
	a.holder, b.holder = "a", "b"
	mustLoad(t, m, Sources{brokenSource{}, a, b}, st)
	a.opened = func(int) error { return errBroken }
	if _, err := Load(t.Context(), m, Sources{brokenSource{}, a, b}); !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "3 could be read [0 2 3]") {
		t.Errorf("error is %v", err)
	}
}

func TestLoadEndsWithItsContext(t *testing.T) {
	defer goleak.VerifyNone(t)
	st := stateAt(5, 2_000_000)
	m, src := committed(t, st, 4, 6)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	src.opened = func(int) error {
		if n++; n == 1 {
			cancel()
		}
		return nil
	}
	src = src.with(func(f map[int][]byte) { delete(f, 1); delete(f, 2) })
	if _, err := Load(ctx, m, oneAtATime{src}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

// oneAtATime leaves one copy, so that copies are opened one after the other.
type oneAtATime struct{ pieceFiles }

func (o oneAtATime) Copies(ctx context.Context, m *Manifest) ([]Copy, error) {
	all, err := o.pieceFiles.Copies(ctx, m)
	return all[:1], err
}

// A lost or rotten piece is made again from others, the same to the bit.
func TestRebuildMakesTheSamePiece(t *testing.T) {
	fsys := newMemFS()
	s, st := openStore(t, fsys, Default()), stateAt(100, 30_000)
	m := mustCheckpoint(t, s, st)
	for _, index := range indices(6) {
		name := s.path(m.Piece(index).String())
		want := slices.Clone(fsys.bytesOf(name))
		fsys.bytesOf(name)[len(want)/2]++
		p, err := s.Rebuild(t.Context(), m, index, s)
		if err != nil {
			t.Fatal(err)
		}
		if p != m.Pieces[index] || !bytes.Equal(fsys.bytesOf(name), want) {
			t.Errorf("piece %d is another one after it was rebuilt", index)
		}
		if err := s.fs.Remove(name); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Rebuild(t.Context(), m, index, s); err != nil || !bytes.Equal(fsys.bytesOf(name), want) {
			t.Errorf("lost piece %d was not rebuilt (%v)", index, err)
		}
	}
	// One that never was fits the others, too.
	if _, err := s.Rebuild(t.Context(), m, 200, s); err != nil {
		t.Fatal(err)
	}
	for _, index := range []int{0, 1, 2} {
		_ = s.fs.Remove(s.path(m.Piece(index).String()))
	}
	mustLoad(t, m, s, st)
	_ = s.fs.Remove(s.path(m.Piece(3).String()))
	if _, err := s.Rebuild(t.Context(), m, 0, s); !errors.As(err, new(*MissingError)) {
		t.Errorf("rebuilt from three pieces: error is %v", err)
	}
	noTemporaries(t, fsys, "rebuild")
}

// Load fills no more memory than it says, whatever a manifest claims.
func TestHugeManifestAllocatesLittle(t *testing.T) {
	m, src := committed(t, stateAt(5, 200), 2, 3)
	m.Size = 1 << 60
	if _, err := Load(t.Context(), m, src); !errors.Is(err, ErrDamaged) {
		t.Errorf("error is %v", err)
	}
}
