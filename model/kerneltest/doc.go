// Package kerneltest is the conformance suite of model.Kernels: every kernel at every blocking edge.
//
//	cases ──┬─ Run(t, ref, got)    got agrees with the specification within a stated tolerance, keeps to its buffers, leaves
//	        │                      inputs alone, computes rows independently of their neighbours, and hides no NaN
//	        ├─ SameBits(t, a, b…)  all give the same bits: other thread counts, other tiers of one class
//	        └─ Gradients(t, k)     the gradients of k are the finite differences of its forward kernels
//
// Operands lie in memory whose pages before and behind are closed where the system allows it, so that a kernel that reads or
// writes beyond an end crashes the test instead of passing it. Outputs are full of NaN before the call.
//
// Start reading at cases.go.
package kerneltest
