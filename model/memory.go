package model

// MemoryUse is the memory of a model and one batch in bytes, by kind. Kernels keep a little of their own beside it.
type MemoryUse struct {
	Weights     int64 // as stored
	Activations int64 // what backward needs of the layers' forward passes
	Scratch     int64 // buffers of one layer at a time
	Logits      int64 // one chunk of them, and what else belongs to the head
	Gradient    int64 // of embeddings and head, whole; of other weights it never exists here
}

// Memory is what a Llama with weights stored as d takes after Gradient of a batch of that many tokens in one sequence, all of
// which count. With trainAll every weight is wanted Dense, else the linear weights are wanted Sampled and no other.
func Memory(c *Config, d DType, tokens int, trainAll bool) MemoryUse {
	T, C, F, V := int64(tokens), int64(c.Hidden), int64(c.FFN), int64(c.Vocab)
	H, q, kv := int64(c.Heads), int64(c.Heads*c.HeadDim), int64(c.KVHeads*c.HeadDim)
	var u MemoryUse
	vector := int64(0) // the longest
	for _, p := range c.Params() {
		u.Weights += int64(p.Len()) * int64(d.Size())
		if p.Vector() {
			vector = max(vector, int64(p.Len()))
		}
	}
	tape := 2*C + 2*q + 2*kv + H + 2*F
	norms := int64(1)
	if c.QKNorm {
		tape += q + kv
		norms = H
	}
	u.Activations = 4 * int64(c.Layers) * T * tape
	forward := 1 + 3*C + norms + F
	backward := 2*C + 2*q + 2*kv
	u.Scratch = 4 * (T*(forward+backward) + 3*T*int64(c.HeadDim/2))
	u.Logits = 4 * (T*(2+4*C+2) + min(T, int64(headRows(c.Vocab)))*V)
	if trainAll {
		u.Gradient = 4 * V * C
		u.Scratch += 4 * vector
		if c.QKVBias {
			u.Scratch += 4 * T
		}
		return u
	}
	u.Scratch += 4 * 2 * max(C, F, q) * int64(Pad(tokens))
	return u
}
