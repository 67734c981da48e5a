//go:build !unix

package kerneltest

// closed returns n bytes; this system has no closed pages to put around them.
func closed(n int) (b []byte, free func()) { return make([]byte, n), func() {} }
