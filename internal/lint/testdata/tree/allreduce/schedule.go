// Package allreduce has a second comment.
package allreduce // want "package comment outside doc.go"

import (
	"maps"
	"os"   // want "pure file imports os"
	"sync" // want "pure file imports sync"
	"time"
)

type table struct{ of map[string]time.Duration }

func plan(now time.Time, t table, wait []int, c chan int) int {
	var mu sync.Mutex
	mu.Lock()
	n := len(os.Args)
	if time.Since(now) > time.Second { // want "pure file calls time.Since"
		n++
	}
	for range t.of { // want "pure file walks a map"
		n++
	}
	for range maps.Keys(t.of) { // want "pure file walks a map"
		n++
	}
	for range wait {
		n++
	}
	go plan(now, t, nil, c) // want "pure file starts a goroutine"
	c <- n                  // want "pure file uses a channel"
	return n
}
