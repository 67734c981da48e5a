// Command kernelgen writes the Go assembly of model/cpu: for each group of kernels one file per tier, and one file of Go
// declarations whose comments hold the equivalent Go loop.
//
//	go run . ../../model/cpu      (or: go generate ./model/cpu, make kernels)
//
//	gemm.go, vec_*.go ── one Go function per kernel ──→ Kernel (emit.go, ops.go) ──→ group_avx2_amd64.s
//	                                                                             ├──→ group_avx512_amd64.s
//	                                                                             └──→ group_stubs_amd64.go
//
// A kernel is written once on vectors of 16 float32 lanes (V) and scalars spread over all lanes (S). The emitter turns an
// operation on V into one instruction on a ZMM register (AVX-512) or into two on YMM registers (AVX2). Both do the same
// IEEE operation on the same lane, so the tiers give the same bits by construction; a kernel may look at Kernel.Wide to
// choose how many registers it blocks with, never to change the order in which one output is computed.
//
// What a kernel writer must know:
//   - AVX2 has room for 8 V (an S takes half of one), AVX-512 for 32; Vec and Splat panic when none is left.
//   - Integer registers come from Arg, Int and Free; there are 13.
//   - There are no masks: callers pad to 16 lanes.
//   - Kernels cannot be interrupted: a caller keeps each call under about a millisecond.
//
// Start reading at emit.go; gemm.go is the largest example.
package main
