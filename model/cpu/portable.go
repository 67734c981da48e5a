package cpu

func portableGemm() gemmOps { return gemmOps{} }
func portableVec() vecOps   { return vecOps{} }
