//go:build !amd64

package cpu

const amd64 = false

func opsOf(Tier) ops { return ops{portableGemm(), portableVec()} }
