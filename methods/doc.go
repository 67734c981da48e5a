// Package methods is what torc trains: each method is a map θ ↦ W and its pullback.
//
// θ is one flat float32 vector. full: θ = W. LIFT: W[set] = θ. The model stays a vanilla transformer, the optimizer is
// AdamW on a vector, the ring sums one vector, a checkpoint is that vector, its moments and its index sets. Nothing
// outside this package knows what LIFT is. θ is laid out in the order of the backward pass, last layer first, so that its
// first part is summed over the ring while lower layers still run.
//
// Start reading at method.go, then lift.go, select.go and adamw.go.
package methods
