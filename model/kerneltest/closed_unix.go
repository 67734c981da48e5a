//go:build unix

package kerneltest

import "syscall"

// closed returns n bytes between two pages that cannot be read or written, flush with the second one.
func closed(n int) (b []byte, free func()) {
	page := syscall.Getpagesize()
	size := (n + page - 1) / page * page
	all, err := syscall.Mmap(-1, 0, size+2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		panic("kerneltest: map memory: " + err.Error())
	}
	for _, p := range [][]byte{all[:page], all[page+size:]} {
		if err := syscall.Mprotect(p, syscall.PROT_NONE); err != nil {
			panic("kerneltest: close page: " + err.Error())
		}
	}
	return all[page+size-n : page+size : page+size], func() { _ = syscall.Munmap(all) }
}
