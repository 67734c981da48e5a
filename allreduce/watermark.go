package allreduce

import (
	"context"
	"sync"
)

// Watermark tells a Sum that runs beside the backward pass how much of own is final.
// Make it with NewWatermark; Raise and Ring.Sum may run in different goroutines.
type Watermark struct {
	mu      sync.Mutex // guards the fields below
	n       int
	changed chan struct{} // closed when n rises
}

// NewWatermark returns a watermark at zero.
func NewWatermark() *Watermark { return &Watermark{changed: make(chan struct{})} }

// Raise says that own[:n] will not change any more. The Side values must be final when n reaches len(own).
// A lower n than before is ignored.
func (w *Watermark) Raise(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n <= w.n {
		return
	}
	w.n = n
	close(w.changed)
	w.changed = make(chan struct{})
}

// reached reports whether own[:n] is final, and if not, a channel that is closed when that may have changed.
// A nil Watermark is always full.
func (w *Watermark) reached(n int) (bool, <-chan struct{}) {
	if w == nil {
		return true, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n >= n, w.changed
}

// wait returns when own[:n] is final or ctx is over.
func (w *Watermark) wait(ctx context.Context, n int) error {
	for {
		ok, changed := w.reached(n)
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// level returns how much of own is final, at most max.
func (w *Watermark) level(max int) int {
	if w == nil {
		return max
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return min(w.n, max)
}
