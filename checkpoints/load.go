package checkpoints

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Load reads the state of a checkpoint from any m.Data distinct pieces, at once from all that hold them. A block that is
// not as it was written is taken from other pieces; the whole is compared with the manifest's digest. With too few sound
// pieces the error is a *MissingError. Beside the state, memory is below 50 MB however large the state is.
func Load(ctx context.Context, m *Manifest, src PieceSource) (*State, error) {
	s, err := load(ctx, m, src)
	if err != nil {
		return nil, fmt.Errorf("load checkpoint of step %d: %w", m.Step, err)
	}
	return s, nil
}

func load(ctx context.Context, m *Manifest, src PieceSource) (s *State, err error) {
	a, err := newAssembler(ctx, m, src)
	if err != nil {
		return nil, err
	}
	defer a.close()
	for {
		s, err = readFrom(ctx, a)
		if err == nil && (s.Spec != m.Spec || s.Step != m.Step) {
			return nil, fmt.Errorf("its state is of step %d of the run with spec %x, its manifest of step %d with spec %x", s.Step, s.Spec[:8], m.Step, m.Spec[:8])
		}
		if err == nil || !a.expose(ctx, err) {
			return s, err
		}
	}
}

// readFrom reads a state while its bytes are put together.
func readFrom(ctx context.Context, a *assembler) (*State, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, w := io.Pipe()
	assembled := make(chan error, 1) // one result
	go func() {
		err := a.copyTo(ctx, w)
		w.CloseWithError(err) // nil is the end
		assembled <- err
	}()
	s, err := ReadState(r)
	cancel() // when the state is whole, or no state, nothing more is needed
	_ = r.CloseWithError(errors.New("reader is gone"))
	if cause := <-assembled; cause != nil && errors.Is(err, cause) { // else the state itself is no state
		err = cause
	}
	return s, err
}

// Rebuild makes a piece of a checkpoint again from any m.Data others and keeps it, instead of what is there under its name.
func (s *Store) Rebuild(ctx context.Context, m *Manifest, index int, src PieceSource) (Piece, error) {
	p, err := s.rebuild(ctx, m, index, src)
	if err != nil {
		return p, fmt.Errorf("rebuild piece %d of step %d: %w", index, m.Step, advise(err))
	}
	return p, nil
}

func (s *Store) rebuild(ctx context.Context, m *Manifest, index int, src PieceSource) (Piece, error) {
	if m.Spec != s.spec {
		return Piece{}, fmt.Errorf("it is of the run with spec %x, the store of %x", m.Spec[:8], s.spec[:8])
	}
	a, err := newAssembler(ctx, m, src)
	if err != nil {
		return Piece{}, err
	}
	defer a.close()
	for {
		p, err := s.recut(ctx, m, index, a)
		if err == nil || !a.expose(ctx, err) {
			return p, err
		}
	}
}

func (s *Store) recut(ctx context.Context, m *Manifest, index int, a *assembler) (Piece, error) {
	b := s.begin(ctx, 1)
	defer b.discard()
	c, err := newCutter(m.Spec, m.Step, m.Data, []int{index}, b.writers())
	if err != nil {
		return Piece{}, err
	}
	if err := a.copyTo(ctx, c); err != nil {
		return Piece{}, err
	}
	cut, err := c.finish()
	if err != nil {
		return Piece{}, err
	}
	if sum, known := m.sum(index); known && sum != cut.Pieces[0].Sum {
		return Piece{}, fmt.Errorf("it has SHA-256 %x now, the manifest says %x: a disk or memory is bad", cut.Pieces[0].Sum, sum)
	}
	return cut.Pieces[0], b.place([]string{m.Piece(index).String()})
}

// MissingError says that a checkpoint cannot be read from what there is, and what would help.
type MissingError struct {
	Need   int      // distinct pieces
	Have   []int    // indices of the pieces that could be read
	Lost   []Holder // who had pieces that could not, with their indices
	Causes []error  // why not, as far as there was something to read
}

func (e *MissingError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d distinct pieces are needed, %d could be read", e.Need, len(e.Have))
	if len(e.Have) > 0 {
		fmt.Fprintf(&b, " %v", e.Have)
	}
	if len(e.Lost) > 0 {
		fmt.Fprintf(&b, "; others were kept by %s: bring these members back with their disks", Describe(e.Lost))
	}
	for _, err := range e.Causes {
		fmt.Fprintf(&b, "; %v", err)
	}
	return b.String()
}

// Unwrap are the causes.
func (e *MissingError) Unwrap() []error { return e.Causes }

// missing makes the error when only the pieces have can be read.
func (a *assembler) missing(have []int) error {
	slices.Sort(have)
	e := &MissingError{Need: a.m.Data, Have: have, Causes: a.problems}
	for _, h := range a.m.Holders {
		h.Has = slices.DeleteFunc(slices.Clone(h.Has), func(i int) bool { return slices.Contains(have, i) })
		if len(h.Has) > 0 {
			e.Lost = append(e.Lost, h)
		}
	}
	return e
}
