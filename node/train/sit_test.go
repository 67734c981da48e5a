package train

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Somebody asks for a copy of State while a ring stands, which ends before its next sum; the next ring does not come about. Who
// asks may be the one that the view lacks: he gets the copy first, though he does not ask again.
func TestACopyThatWasAskedOfARingBeforeGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &work{trainer: &Trainer{keep: newKeeper(5, 0)}, standing: true}
		ring := func() (end func(), why chan error) {
			ctx, cancel := context.WithCancel(t.Context())
			why = make(chan error, 1)
			done := make(chan struct{})
			go func() {
				defer close(done)
				w.guard(ctx, 5, nil, func(err error) { why <- err })
			}()
			return func() { cancel(); <-done }, why
		}
		end, why := ring()
		time.Sleep(2 * gathering)
		if c, _ := w.trainer.keep.take(0, time.Now()); c != nil {
			t.Fatal("there is a copy")
		}
		synctest.Wait()
		end()
		if len(why) > 0 {
			t.Fatalf("a ring that stands is ended: %v", <-why)
		}
		w.standing = false
		began := time.Now()
		end, why = ring()
		defer end()
		select {
		case err := <-why:
			if !errors.Is(err, errCopyFirst) || time.Since(began) != gathering {
				t.Errorf("the ring ends after %v with %v", time.Since(began), err)
			}
		case <-time.After(time.Minute):
			t.Error("who asked waits for a ring that waits for him")
		}
	})
}
