//go:build !unix

package safetensors

import "os"

// mapFile returns the bytes of f, which has the given size, and what releases them.
func mapFile(f *os.File, size int64) ([]byte, func() error, error) { return readFile(f, size) }
