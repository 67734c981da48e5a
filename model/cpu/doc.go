// Package cpu is the arithmetic of model.Kernels on processors: a specification in plain loops (Ref), and fast kernels in
// three tiers, of which AVX2 and AVX-512 give the same bits.
//
//	Kernels ── drivers: check lengths, cut outputs into parts ──→ pool: parts on fixed goroutines
//	   └────── ops: inner loops of a tier ── *_avx512_amd64.s, *_avx2_amd64.s (generated) or portable.go
//
// Both assembly files of a kernel come from one program in tools/kernelgen, which writes each operation on 16 virtual lanes
// as one 512-bit or two 256-bit instructions: same operations, same order, same bits. The kernel rules that make the
// result independent of threads and neighbours stand in docs/protocol.md and at model.Kernels.
//
// No kernel allocates once its buffers have grown to the shapes in use. An assembly call cannot be interrupted by the
// scheduler, so drivers keep each under about a millisecond.
//
// Start reading at ref.go for what is computed, gemm.go for how matrix products are cut, tools/kernelgen/emit.go for the
// language the inner loops are written in.
package cpu
