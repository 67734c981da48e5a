package cpu

// vecOps are the inner loops of everything but matrix products of one tier.
type vecOps struct{}
