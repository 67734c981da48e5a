package cpu

func avx2Vec() vecOps   { return portableVec() }
func avx512Vec() vecOps { return portableVec() }
