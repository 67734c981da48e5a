// Package safetensors reads and writes the file format in which Hugging Face models keep their weights.
//
//	8 bytes   n, little endian
//	n bytes   JSON: {"__metadata__": {…}, "name": {"dtype": "BF16", "shape": [m, n], "data_offsets": [from, to]}, …}
//	the rest  the elements of each tensor, little endian, row-major, end to end without gaps
//
// A model directory holds one model.safetensors, or several files and an index that says which tensor is in which.
//
// Reading maps the file into memory and copies nothing. A header is believed only after it has been checked against the
// size of the file: ranges inside the data, no overlap, no gap, sizes equal to shape times element. Errors name the file and
// the tensor. Writing is deterministic (the same tensors give the same bytes) and durable: a file appears whole or not at all.
//
// The package knows bytes and shapes; what the elements mean, and which tensors a model needs, is package model's affair.
//
// Start reading at header.go, then file.go and write.go.
package safetensors
