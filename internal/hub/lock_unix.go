//go:build unix

package hub

import (
	"os"

	"golang.org/x/sys/unix"
)

// lock takes a file until it is closed; an error if somebody else has it.
func lock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }
