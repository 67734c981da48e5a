package cpu

func avx2Vec() vecOps   { return vecOps{} }
func avx512Vec() vecOps { return vecOps{} }
