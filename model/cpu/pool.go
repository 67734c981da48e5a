package cpu

import (
	"sync"
	"sync/atomic"
)

// pool runs the parts of one kernel on a fixed set of goroutines, the caller being one of the threads.
type pool struct {
	wake []chan struct{} // one per goroutine, capacity 1: a call never waits for a goroutine to fall asleep
	gone sync.WaitGroup  // goroutines that have not ended

	// One call at a time; written before wake and read after it.
	busy atomic.Bool
	f    func(worker, i int)
	n    int
	next atomic.Int64
	done sync.WaitGroup
}

// newPool starts threads − 1 goroutines.
func newPool(threads int) *pool {
	p := &pool{wake: make([]chan struct{}, threads-1)}
	for w := range p.wake {
		p.wake[w] = make(chan struct{}, 1)
		p.gone.Go(func() {
			for range p.wake[w] {
				p.work(w + 1)
				p.done.Done()
			}
		})
	}
	return p
}

func (p *pool) threads() int { return len(p.wake) + 1 }

// parallel calls f(worker, i) once for each i in [0, n) and returns when all calls have. A worker, in [0, threads), makes
// one call at a time, so buffers may be kept per worker; which worker gets which i is left to chance, so i alone must
// decide what is written. To stay free of allocation, pass a function value that was made once.
func (k *Kernels) parallel(n int, f func(worker, i int)) { k.pool.run(n, f) }

func (p *pool) run(n int, f func(worker, i int)) {
	if !p.busy.CompareAndSwap(false, true) {
		panic("cpu: kernels are closed or used by two goroutines at once")
	}
	defer p.finish()
	helpers := min(len(p.wake), n-1)
	if helpers <= 0 {
		for i := range n {
			f(0, i)
		}
		return
	}
	p.f, p.n = f, n
	p.next.Store(0)
	p.done.Add(helpers)
	for _, wake := range p.wake[:helpers] {
		wake <- struct{}{}
	}
	p.work(0)
}

// finish waits for the goroutines, also when a part of the caller panics.
func (p *pool) finish() {
	p.done.Wait()
	p.f = nil
	p.busy.Store(false)
}

func (p *pool) work(worker int) {
	for i := int(p.next.Add(1)) - 1; i < p.n; i = int(p.next.Add(1)) - 1 {
		p.f(worker, i)
	}
}

// close waits until the goroutines have ended. The pool stays busy for ever, so that later calls panic.
func (p *pool) close() {
	if !p.busy.CompareAndSwap(false, true) {
		return
	}
	for _, wake := range p.wake {
		close(wake)
	}
	p.gone.Wait()
}
