package allreduce

import "sync/atomic"

// turn is a lock that is held for long, while its holder waits for the network. Unlike with a sync.Mutex, a goroutine that
// waits for it is one that waits in the eyes of testing/synctest, so that time passes.
type turn chan struct{}

func newTurn() turn  { return make(turn, 1) }
func (t turn) take() { t <- struct{}{} }
func (t turn) give() { <-t }

// once is a sync.Once in the same sense: the others wait until the first is done.
type once struct {
	begun atomic.Bool
	done  chan struct{}
}

func newOnce() *once { return &once{done: make(chan struct{})} }

func (o *once) do(f func()) {
	if o.begun.CompareAndSwap(false, true) {
		f()
		close(o.done)
	}
	<-o.done
}
