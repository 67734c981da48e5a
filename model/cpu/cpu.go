package cpu

import (
	"fmt"

	"golang.org/x/sys/cpu"

	"github.com/torctrain/torc/model"
)

//go:generate go -C ../../tools/kernelgen run . ../../model/cpu

// Tier is the instruction set that a Kernels uses.
type Tier string

// The tiers. AVX2 and AVX512 give the same bits; Portable is plain Go on every processor and a class of its own.
const (
	Auto     Tier = "auto" // the widest one this processor and its operating system support
	AVX512   Tier = "avx512"
	AVX2     Tier = "avx2"
	Portable Tier = "portable"
)

// Kernels is model.Kernels on this processor. Its results depend on the operands and the Class alone, never on the number
// of threads. It owns goroutines: Close ends them. One goroutine at a time may use it; a second one makes it panic.
type Kernels struct {
	tier   Tier
	pool   *pool
	ops    ops
	gemm   gemmState
	gradAt gradAtState
	vec    vecState
}

// ops are the inner loops of one tier. Drivers (files without a suffix) cut the work, check lengths and call these.
type ops struct {
	gemmOps
	vecOps
}

// New makes the kernels of a tier with a fixed number of threads, at least 1. A tier this processor lacks is an error.
func New(threads int, tier Tier) (*Kernels, error) {
	if threads < 1 {
		return nil, fmt.Errorf("make kernels: %d threads: give at least 1", threads)
	}
	if tier == Auto {
		tier = Tiers()[0]
	}
	if !supported(tier) {
		return nil, fmt.Errorf("make kernels: tier %q is not available on this processor: choose from %q or %q", tier, Tiers(), Auto)
	}
	k := &Kernels{tier: tier, ops: opsOf(tier), pool: newPool(threads)}
	k.gemm.init(k)
	k.gradAt.init(k)
	k.vec.init(k)
	return k, nil
}

// Tiers are the tiers of this processor, widest first. The last one is Portable.
func Tiers() []Tier {
	var t []Tier
	if hasAVX512() {
		t = append(t, AVX512)
	}
	if hasAVX2() {
		t = append(t, AVX2)
	}
	return append(t, Portable)
}

func supported(tier Tier) bool {
	for _, t := range Tiers() {
		if t == tier {
			return true
		}
	}
	return false
}

// hasAVX2 also asks for what every processor with AVX2 has had so far: fused multiply-add and half precision conversion.
func hasAVX2() bool { return amd64 && cpu.X86.HasAVX2 && cpu.X86.HasFMA && cpu.X86.HasF16C }

// hasAVX512 asks for the subsets of the first server processors with AVX-512, on top of AVX2.
func hasAVX512() bool {
	return hasAVX2() && cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL
}

// Close ends the goroutines. It may be called twice; using the kernels afterwards panics.
func (k *Kernels) Close() { k.pool.close() }

// Name is the arithmetic class, see Class.
func (k *Kernels) Name() string {
	if k.tier == Portable {
		return "cpu-portable-1"
	}
	return "cpu-1"
}

// Tier is the tier in use, never Auto.
func (k *Kernels) Tier() Tier { return k.tier }

// Threads is the number given to New.
func (k *Kernels) Threads() int { return k.pool.threads() }

// Class names the arithmetic of k: kernels of one class give the same bits. It is "cpu-1" for AVX2 and AVX512 alike,
// "cpu-portable-1" and "cpu-ref". A change of any result bit of a class is a new number.
func Class(k model.Kernels) string { return k.Name() }
