package checkpoints

import (
	"fmt"

	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
)

// Apply turns base weights into the trained ones: w, as the run's model files have it, gets what the run changed, and m,
// made for the run's method, the sets of s. It keeps the lists of s, which must not be changed any more. On an error w is
// as it was.
//
// With a Factored method w must have been prepared (methods.Prepare), and has side paths afterwards, as the members of the run
// have it; Merge makes weights for everybody else.
func (s *State) Apply(m methods.Method, w *model.Weights) error {
	if err := s.check(); err != nil {
		return fmt.Errorf("apply state: %w", err)
	}
	if len(s.Theta) != m.Len() {
		return fmt.Errorf("apply state: it trains %d values, the method %d: state, model and spec are not of one run", len(s.Theta), m.Len())
	}
	if r, ok := m.(methods.Selector); ok {
		if err := r.Restore(s.Sets, s.Retired, w); err != nil {
			return fmt.Errorf("apply state: %w", err)
		}
	} else if len(s.Sets) > 0 {
		return fmt.Errorf("apply state: it has %d index sets, the method has none: state and spec are not of one run", len(s.Sets))
	}
	if _, ok := m.(methods.Factored); ok && w.Params[m.Tensors()[0].Weight].Side == nil {
		return fmt.Errorf("apply state: the weights have no side paths: methods.Prepare makes them")
	}
	m.Push(s.Theta, w)
	return nil
}

// Merge turns base weights into the trained ones without side paths, whatever the method: for export, evaluation and
// generation. Workers are the kernels for what must be computed again. On an error w is of no use any more.
func (s *State) Merge(workers []model.Kernels, m methods.Method, w *model.Weights) error {
	if err := methods.Prepare(m, workers, w); err != nil {
		return fmt.Errorf("apply state: %w", err)
	}
	if err := s.Apply(m, w); err != nil {
		return err
	}
	if f, ok := m.(methods.Factored); ok {
		f.Merge(workers[0], s.Theta, w)
	}
	return nil
}
