package cpu

import (
	"fmt"

	"github.com/torctrain/torc/model"
)

// mustLen panics when a slice handed to a kernel does not have the length of its shape.
func mustLen(kernel, name string, got, want int) {
	if got != want {
		panic(fmt.Sprintf("cpu: %s: len(%s)=%d, want %d", kernel, name, got, want))
	}
}

// mustRows is the number of rows of width c in a slice of length n.
func mustRows(kernel, name string, n, c int) int {
	if c <= 0 || n%c != 0 {
		panic(fmt.Sprintf("cpu: %s: len(%s)=%d is no multiple of the row length %d", kernel, name, n, c))
	}
	return n / c
}

// mustSequences checks starts and the lengths of an attention's operands and returns the number of tokens.
func mustSequences(kernel string, o, lse, q, k, v []float32, starts []int32, s model.AttnShape) int {
	if s.KV <= 0 || s.H <= 0 || s.H%s.KV != 0 || s.D <= 0 || s.Window < 0 {
		panic(fmt.Sprintf("cpu: %s: heads %d over %d of %d features, window %d", kernel, s.H, s.KV, s.D, s.Window))
	}
	if len(starts) == 0 || starts[0] != 0 {
		panic(fmt.Sprintf("cpu: %s: starts does not begin with 0", kernel))
	}
	for i := 1; i < len(starts); i++ {
		if starts[i] < starts[i-1] {
			panic(fmt.Sprintf("cpu: %s: starts[%d]=%d after %d", kernel, i, starts[i], starts[i-1]))
		}
	}
	T := int(starts[len(starts)-1])
	mustLen(kernel, "q", len(q), T*s.H*s.D)
	mustLen(kernel, "k", len(k), T*s.KV*s.D)
	mustLen(kernel, "v", len(v), T*s.KV*s.D)
	mustLen(kernel, "o", len(o), T*s.H*s.D)
	mustLen(kernel, "lse", len(lse), T*s.H)
	return T
}

// mustIDs panics when a token id or target lies outside [0, V).
func mustIDs(kernel string, ids []int32, V int) {
	for t, id := range ids {
		if id < 0 || int(id) >= V {
			panic(fmt.Sprintf("cpu: %s: id %d of token %d is not in [0, %d)", kernel, id, t, V))
		}
	}
}
