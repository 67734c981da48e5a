package checkpoints

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"unsafe"

	"github.com/zeebo/xxh3"

	"github.com/torctrain/torc/methods"
)

// State is everything that a run changes: with the spec and the base weights it determines all that follows. Members
// that have made the same step have equal states.
type State struct {
	Spec    [32]byte  // hash of the result part of the run's spec
	Step    uint64    // the last step made; 0 before the first
	Theta   []float32 // the trained values, K of them
	M, V    []float32 // moments of Theta
	Scales  []int16   // of the exact sum, one for each trained tensor
	Sets    [][]uint32
	Retired []methods.Sparse // empty, or as many as Sets
	Pending []float32        // θ when the selection under way began; empty when there is none
	Ages    []uint16         // steps since each trained value entered its set; empty unless the run counts them (method.age)
}

// Digest is the SHA-256 of the canonical bytes. It panics if the lengths of the fields do not belong together.
func (s *State) Digest() [32]byte {
	h := sha256.New()
	if _, err := s.WriteTo(h); err != nil {
		panic(fmt.Sprintf("checkpoints: Digest: %v", err))
	}
	return [32]byte(h.Sum(nil))
}

// Fence is a quick 64-bit hash of every field, for telling in each step whether members have diverged: many times faster
// than Digest, and no proof against intent. It is not stored, and may change with the version of torc or the processor.
func (s *State) Fence() uint64 {
	h := xxh3.New()
	number := func(v uint64) {
		_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, v)) // a hash takes everything
	}
	part := func(n int, b []byte) {
		number(uint64(n))
		_, _ = h.Write(b)
	}
	_, _ = h.Write(s.Spec[:])
	number(s.Step)
	for _, v := range [][]float32{s.Theta, s.M, s.V, s.Pending} {
		part(len(v), memory(v))
	}
	part(len(s.Ages), memory(s.Ages))
	part(len(s.Scales), memory(s.Scales))
	number(uint64(len(s.Sets)))
	for _, set := range s.Sets {
		part(len(set), memory(set))
	}
	number(uint64(len(s.Retired)))
	for _, r := range s.Retired {
		part(len(r.At), memory(r.At))
		part(len(r.Bits), memory(r.Bits))
	}
	return h.Sum64()
}

// memory is v as it lies there.
func memory[T int16 | uint16 | uint32 | float32](v []T) []byte {
	if len(v) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), len(v)*int(unsafe.Sizeof(v[0])))
}

// check says which fields do not belong together.
func (s *State) check() error {
	k := len(s.Theta)
	switch {
	case len(s.M) != k || len(s.V) != k:
		return fmt.Errorf("θ has %d values, its moments %d and %d", k, len(s.M), len(s.V))
	case len(s.Pending) != 0 && len(s.Pending) != k:
		return fmt.Errorf("θ has %d values, the pending one %d", k, len(s.Pending))
	case len(s.Ages) != 0 && len(s.Ages) != k:
		return fmt.Errorf("θ has %d values, their ages are %d", k, len(s.Ages))
	case len(s.Retired) != 0 && len(s.Retired) != len(s.Sets):
		return fmt.Errorf("there are %d sets and %d lists of retired coordinates", len(s.Sets), len(s.Retired))
	}
	for i, r := range s.Retired {
		if len(r.At) != len(r.Bits) {
			return fmt.Errorf("list %d of retired coordinates has %d coordinates and %d values", i, len(r.At), len(r.Bits))
		}
	}
	return nil
}

// CopyFrom makes s equal to from and independent of it, in the memory that s has as far as it goes: a checkpoint is written
// from such a copy while training goes on.
func (s *State) CopyFrom(from *State) {
	s.Spec, s.Step = from.Spec, from.Step
	s.Theta, s.M, s.V = append(s.Theta[:0], from.Theta...), append(s.M[:0], from.M...), append(s.V[:0], from.V...)
	s.Scales, s.Pending = append(s.Scales[:0], from.Scales...), append(s.Pending[:0], from.Pending...)
	s.Ages = append(s.Ages[:0], from.Ages...)
	s.Sets = resize(s.Sets, len(from.Sets))
	for i, set := range from.Sets {
		s.Sets[i] = append(s.Sets[i][:0], set...)
	}
	s.Retired = resize(s.Retired, len(from.Retired))
	for i, r := range from.Retired {
		s.Retired[i].At, s.Retired[i].Bits = append(s.Retired[i].At[:0], r.At...), append(s.Retired[i].Bits[:0], r.Bits...)
	}
}

// Lengths are those of a state's lists: what a copy of it needs room for.
type Lengths struct {
	Values  int // of Theta, M and V
	Pending int
	Ages    int
	Scales  int
	Sets    []int
	Retired []int
}

// Lengths are those of s.
func (s *State) Lengths() Lengths {
	n := Lengths{Values: len(s.Theta), Pending: len(s.Pending), Ages: len(s.Ages), Scales: len(s.Scales)}
	for _, set := range s.Sets {
		n.Sets = append(n.Sets, len(set))
	}
	for _, r := range s.Retired {
		n.Retired = append(n.Retired, len(r.At))
	}
	return n
}

// Reserve gives s memory for a copy of a state of these lengths, and touches it, so that CopyFrom does not wait for the
// operating system to find it. What s held is lost.
func (s *State) Reserve(n Lengths) {
	s.Theta, s.M, s.V = reserve(s.Theta, n.Values), reserve(s.M, n.Values), reserve(s.V, n.Values)
	s.Pending, s.Ages, s.Scales = reserve(s.Pending, n.Pending), reserve(s.Ages, n.Ages), reserve(s.Scales, n.Scales)
	s.Sets, s.Retired = resize(s.Sets, len(n.Sets)), resize(s.Retired, len(n.Retired))
	for i, k := range n.Sets {
		s.Sets[i] = reserve(s.Sets[i], k)
	}
	for i, k := range n.Retired {
		s.Retired[i].At, s.Retired[i].Bits = reserve(s.Retired[i].At, k), reserve(s.Retired[i].Bits, k)
	}
}

// reserve is v, or new memory that has been written to, with room for n.
func reserve[T any](v []T, n int) []T {
	if cap(v) >= n {
		return v
	}
	v = make([]T, n)
	clear(v)
	return v
}

// resize makes v n long and keeps what its elements hold, beyond its end too.
func resize[T any](v []T, n int) []T {
	return slices.Grow(v[:0], n)[:n]
}
