package cpu

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestPoolCallsEachPartOnceAndAWorkerMakesOneCallAtATime(t *testing.T) {
	for _, threads := range []int{1, 2, 7} {
		p := newPool(threads)
		defer p.close()
		for _, n := range []int{0, 1, 2, 6, 7, 100} {
			calls, inside := make([]atomic.Int32, n), make([]atomic.Int32, threads)
			p.run(n, func(worker, i int) {
				if inside[worker].Add(1) != 1 {
					t.Errorf("%d threads: worker %d makes two calls at a time", threads, worker)
				}
				calls[i].Add(1)
				inside[worker].Add(-1)
			})
			for i := range calls {
				if got := calls[i].Load(); got != 1 {
					t.Errorf("%d threads, %d parts: part %d was called %d times", threads, n, i, got)
				}
			}
		}
	}
}

func TestCloseEndsGoroutinesAndLaterUsePanics(t *testing.T) {
	defer goleak.VerifyNone(t)
	k, err := New(4, Portable)
	if err != nil {
		t.Fatal(err)
	}
	k.Close()
	k.Close()
	defer func() {
		if got := fmt.Sprint(recover()); !strings.Contains(got, "closed") {
			t.Errorf("use after Close ends with %q", got)
		}
	}()
	k.TransposePad(make([]float32, 64), make([]float32, 1), 1, 1)
}

// A part that panics in the caller's goroutine must leave a pool that works, since the panic may be recovered.
func TestPoolWorksAfterAPanic(t *testing.T) {
	p := newPool(1)
	defer p.close()
	func() {
		defer func() { recover() }()
		p.run(3, func(_, i int) { panic(i) })
	}()
	ran := 0
	p.run(3, func(_, i int) { ran++ })
	if ran != 3 {
		t.Errorf("%d of 3 parts ran after a panic", ran)
	}
}

func TestNewRefusesWhatItCannotMake(t *testing.T) {
	for _, c := range []struct {
		threads int
		tier    Tier
		want    string
	}{{0, Auto, "threads"}, {1, "sse", `"sse"`}} {
		k, err := New(c.threads, c.tier)
		if err == nil {
			k.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("New(%d, %q) gives %v, want an error with %s", c.threads, c.tier, err, c.want)
		}
	}
}
