// Package methods is what torc trains: each method is a map θ ↦ W and its pullback.
//
//	full   θ = W            every element of the weights it covers
//	s2ft   W[:, S] = θ      whole input channels of O and Down, or rows of V and Up
//	lift   W[set] = θ       the elements at which a low-rank approximation of a weight is largest, chosen anew now and then
//	sorsa  W = R + Bᵀ·diag(s)·A     θ = A, s, B: leading singular vectors, held near orthonormality, and their values
//	pissa, lora  W = R + c·Bᵀ·A     θ = A, B: the same with values folded in and nothing held; from noise and zero
//
//	            Push: θ ─→ W                       Select: W ─→ set
//	AdamW: θ, m, v ←─ dθ ←─ Pull: dW in factors    Adopt:  θ, m, v of one set ─→ of the next
//
// θ is one flat float32 vector, the master copy: the model sees it rounded to the type its weights are stored in. The model
// stays a vanilla transformer, the optimizer is AdamW on a vector, the ring sums one vector, a checkpoint is that vector, its
// moments and its index sets. Nothing outside this package knows what LIFT is. θ is laid out in the order of the backward
// pass, last layer first, so that its first part is summed over the ring while lower layers still run.
//
// Everything here is a function of its arguments: no clock, no goroutine that outlives a call, no state but a method's sets.
// Select is a function of a weight, the run's seed and the arithmetic of the kernels, so that members need not trust each
// other's sets.
//
// The package does not run the model, sum over members or write files.
//
// Start reading at method.go, then lift.go, choose.go and principal.go (which elements are chosen), channels.go (which channels),
// lowrank.go (paths beside the weights) and adamw.go. probe.go and probed.go choose channels by data, age.go corrects biases by
// the age of a coordinate.
package methods
