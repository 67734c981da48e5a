package methods

import (
	"sync"
	"sync/atomic"
)

// share runs task 0 to n−1, spread over so many threads.
func share(threads, n int, task func(i int)) {
	if threads = min(threads, n); threads < 2 {
		for i := range n {
			task(i)
		}
		return
	}
	var next atomic.Int64
	var wait sync.WaitGroup
	run := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			task(i)
		}
	}
	for range threads - 1 {
		wait.Go(run)
	}
	run()
	wait.Wait()
}
