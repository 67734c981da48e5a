package checkpoints

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/reedsolomon"
	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"
)

// assembler puts the canonical bytes of a state together from copies of pieces.
type assembler struct {
	m        *Manifest
	layout   layout
	copies   []*candidate
	parity   []int // indices of parity pieces among copies, in the coder's order
	coder    reedsolomon.Encoder
	windows  []*window
	problems []error // the first of each copy, and what the source said
}

// candidate is a copy and what has become of it.
type candidate struct {
	Copy
	r      PieceReader // nil until it is opened
	table  []uint64
	faults int // windows in which it had a bad block: others are preferred
	dead   bool
	err    error // of the last read
}

// windowBytes is how much of a state is fetched at once; three such windows are on their way.
const windowBytes = 4 << 20

// errOtherBytes is found when every block is sound and the whole is not the state.
var errOtherBytes = fmt.Errorf("%w: the pieces make other bytes than the manifest's digest says", ErrDamaged)

func newAssembler(ctx context.Context, m *Manifest, src PieceSource) (*assembler, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	a := &assembler{m: m, layout: m.layout()}
	copies, err := src.Copies(ctx, m)
	if err != nil {
		a.problems = append(a.problems, err)
	}
	for _, c := range copies {
		if c.Index < 0 || c.Index >= MaxPieces {
			continue
		}
		a.copies = append(a.copies, &candidate{Copy: c})
		if c.Index >= m.Data && !slices.Contains(a.parity, c.Index) {
			a.parity = append(a.parity, c.Index)
		}
	}
	if a.coder, err = newCoder(m.Data, a.parity); err != nil {
		return nil, err
	}
	for range 3 {
		a.windows = append(a.windows, &window{})
	}
	return a, nil
}

func (a *assembler) close() {
	for _, c := range a.copies {
		if c.r != nil {
			_ = c.r.Close()
		}
	}
}

// copyTo writes the state's bytes to w and compares their digest at the end. Three windows are on their way, so that
// fetching, hashing and writing go on side by side.
func (a *assembler) copyTo(ctx context.Context, w io.Writer) error {
	group, ctx := errgroup.WithContext(ctx)
	free := make(chan *window, len(a.windows)) // all windows fit: giving one back never waits
	fetched, hashed := make(chan *window), make(chan *window)
	for _, v := range a.windows {
		free <- v
	}
	group.Go(func() error {
		defer close(fetched)
		step := max(1, windowBytes/a.layout.stripeBytes())
		for s := int64(0); s < a.layout.stripes(); s += step {
			v, err := receive(ctx, free)
			if err != nil {
				return err
			}
			if err := a.fetch(ctx, v, s, int(min(step, a.layout.stripes()-s))); err != nil {
				return err
			}
			if err := send(ctx, fetched, v); err != nil {
				return err
			}
		}
		return nil
	})
	group.Go(func() error {
		defer close(hashed)
		digest, n := sha256.New(), int64(0)
		for v := range fetched {
			for _, b := range v.bytes {
				_, _ = digest.Write(b) // a hash takes everything
				n += int64(len(b))
			}
			if err := send(ctx, hashed, v); err != nil {
				return err
			}
		}
		if n == a.layout.size && [32]byte(digest.Sum(nil)) != a.m.Digest { // with fewer bytes, fetching says why
			return errOtherBytes
		}
		return nil
	})
	group.Go(func() error {
		for v := range hashed {
			for _, b := range v.bytes {
				if _, err := w.Write(b); err != nil {
					return err
				}
			}
			free <- v
		}
		return nil
	})
	return group.Wait()
}

func send(ctx context.Context, to chan<- *window, v *window) error {
	select {
	case to <- v:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func receive(ctx context.Context, from <-chan *window) (*window, error) {
	select {
	case v := <-from:
		return v, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// window is some stripes on their way.
type window struct {
	first   int64 // stripe
	n       int   // stripes
	parts   []*fetch
	bytes   [][]byte // the state's bytes, in order
	spare   []*fetch
	rebuilt []byte
}

// fetch is the blocks of one copy for a window.
type fetch struct {
	from *candidate
	buf  []byte
	good []bool // by stripe
}

// fetch fills v with n stripes from the first on, from as many copies as it takes.
func (a *assembler) fetch(ctx context.Context, v *window, first int64, n int) error {
	v.first, v.n, v.bytes = first, n, v.bytes[:0]
	v.spare = append(v.spare, v.parts...)
	v.parts = v.parts[:0]
	for {
		lack, worst := 0, 0
		for s := range n {
			if l := a.layout.data - len(v.sound(s)); l > lack {
				lack, worst = l, s
			}
		}
		if lack == 0 {
			break
		}
		next := a.choose(v, worst, lack)
		if len(next) == 0 {
			return a.missing(v.sound(worst))
		}
		var group errgroup.Group
		for _, c := range next {
			f := v.room(c)
			group.Go(func() error {
				a.read(ctx, v, f)
				return nil
			})
		}
		_ = group.Wait() // what went wrong stands in the candidates
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, c := range next {
			a.note(c)
		}
	}
	return a.decode(v)
}

// sound are the indices of which v has a good block of stripe s.
func (v *window) sound(s int) []int {
	var have []int
	for _, f := range v.parts {
		if f.good[s] && !slices.Contains(have, f.from.Index) {
			have = append(have, f.from.Index)
		}
	}
	return have
}

// choose picks up to n copies of different pieces that v has not tried and of which stripe s lacks a good block: those
// without faults first, and of those the ones that need no decoding.
func (a *assembler) choose(v *window, s, n int) []*candidate {
	have := v.sound(s)
	var open []*candidate
	for _, c := range a.copies {
		tried := slices.ContainsFunc(v.parts, func(f *fetch) bool { return f.from == c })
		if !c.dead && !tried && !slices.Contains(have, c.Index) {
			open = append(open, c)
		}
	}
	parity := func(c *candidate) int {
		if c.Index >= a.layout.data {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(open, func(b, c *candidate) int {
		return cmp.Or(cmp.Compare(b.faults, c.faults), cmp.Compare(parity(b), parity(c)))
	})
	var next []*candidate
	for _, c := range open {
		if len(next) < n && !slices.ContainsFunc(next, func(o *candidate) bool { return o.Index == c.Index }) {
			next = append(next, c)
		}
	}
	return next
}

// room adds a part for c to v, with a buffer from before if there is one.
func (v *window) room(c *candidate) *fetch {
	f := &fetch{}
	if k := len(v.spare); k > 0 {
		f, v.spare = v.spare[k-1], v.spare[:k-1]
	}
	f.from = c
	f.good = slices.Grow(f.good[:0], v.n)[:v.n]
	clear(f.good)
	v.parts = append(v.parts, f)
	return f
}

// read fetches the blocks of f and checks them.
func (a *assembler) read(ctx context.Context, v *window, f *fetch) {
	c := f.from
	if c.err = a.open(ctx, c); c.err != nil {
		c.dead = true
		return
	}
	last := v.first + int64(v.n) - 1
	n := (v.n-1)*pieceBlock + a.layout.blockBytes(last)
	f.buf = slices.Grow(f.buf[:0], n)[:n]
	if c.err = readAt(c.r, f.buf, pieceHead+v.first*pieceBlock); c.err != nil {
		c.dead = true
		return
	}
	for s := range v.n {
		f.good[s] = xxh3.Hash(f.block(s)) == c.table[v.first+int64(s)]
		if !f.good[s] && c.err == nil {
			c.err = fmt.Errorf("block %d is %w", v.first+int64(s), ErrDamaged)
		}
	}
	if c.err != nil {
		c.faults++
	}
}

// block is that of the window's stripe s.
func (f *fetch) block(s int) []byte { return f.buf[s*pieceBlock : min((s+1)*pieceBlock, len(f.buf))] }

// open opens the copy, unless it is open, and makes sure that it is a piece of the checkpoint.
func (a *assembler) open(ctx context.Context, c *candidate) error {
	if c.r != nil {
		return nil
	}
	r, err := c.Open(ctx)
	if err != nil {
		return err
	}
	c.r = r
	size, err := r.Size()
	if err != nil {
		return err
	}
	if want := a.layout.pieceFileBytes(); size != want {
		return fmt.Errorf("%w: it has %d bytes instead of %d: it was truncated or is of another checkpoint", ErrDamaged, size, want)
	}
	p, err := readPieceInfo(r, size)
	if err != nil {
		return err
	}
	if p.PieceID != a.m.Piece(c.Index) || p.spec != a.m.Spec || p.layout != a.layout {
		return fmt.Errorf("it is piece %s of the run with spec %x, not piece %s of %x: pieces of two checkpoints are mixed", p, p.spec[:8], a.m.Piece(c.Index), a.m.Spec[:8])
	}
	c.table = p.table
	return nil
}

// note keeps the first error of a copy.
func (a *assembler) note(c *candidate) {
	if c.err != nil && (c.dead || c.faults == 1) {
		a.problems = append(a.problems, fmt.Errorf("piece %d of %s: %w", c.Index, c.Holder, c.err))
	}
	c.err = nil
}

// decode puts the stripes of v in order, making data blocks that were not fetched from those that were.
func (a *assembler) decode(v *window) error {
	d, used := a.layout.data, 0
	left := a.layout.size - v.first*a.layout.stripeBytes()
	for s := range v.n {
		blocks := make([][]byte, d+len(a.parity))
		for _, f := range v.parts {
			if f.good[s] {
				blocks[a.slot(f.from.Index)] = f.block(s)
			}
		}
		n, whole := a.layout.blockBytes(v.first+int64(s)), true
		for i := range d {
			if blocks[i] == nil {
				whole = false
				v.rebuilt = slices.Grow(v.rebuilt[:used], pieceBlock) // what was handed out before stays where it is
				blocks[i] = v.rebuilt[used : used : used+n]
				used += n
			}
		}
		if !whole {
			if err := a.coder.ReconstructData(blocks); err != nil {
				return fmt.Errorf("decode stripe %d: %w", v.first+int64(s), err)
			}
		}
		for _, b := range blocks[:d] {
			b = b[:min(left, int64(n))]
			v.bytes, left = append(v.bytes, b), left-int64(len(b))
		}
	}
	return nil
}

// slot is where the coder wants the blocks of piece index.
func (a *assembler) slot(index int) int {
	if index < a.layout.data {
		return index
	}
	return a.layout.data + slices.Index(a.parity, index)
}

// expose looks for pieces whose blocks fit their own checksums but are not those that were committed, after the state came
// out wrong, and puts them aside. It says whether another attempt makes sense.
func (a *assembler) expose(ctx context.Context, err error) bool {
	if missing := new(MissingError); ctx.Err() != nil || errors.As(err, &missing) {
		return false
	}
	var unknown []*candidate
	found := false
	for _, c := range a.copies {
		if c.r == nil || c.dead {
			continue
		}
		want, known := a.m.sum(c.Index)
		if !known {
			unknown = append(unknown, c)
			continue
		}
		h := sha256.New()
		_, err := io.Copy(h, io.NewSectionReader(c.r, 0, a.layout.pieceFileBytes()))
		if err == nil && [32]byte(h.Sum(nil)) == want {
			continue
		}
		found, c.dead = true, true
		a.problems = append(a.problems, fmt.Errorf("piece %d of %s: %w: it is not the one that was committed", c.Index, c.Holder, cmp.Or(err, ErrDamaged)))
	}
	if found {
		return true
	}
	for _, c := range unknown {
		found, c.dead = true, true
		a.problems = append(a.problems, fmt.Errorf("piece %d of %s: the manifest does not know it, and the state came out wrong", c.Index, c.Holder))
	}
	return found
}
