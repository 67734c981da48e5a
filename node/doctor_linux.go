package main

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// clockKept says whether something keeps the clock of this system right, and whether the system tells.
func clockKept() (kept, known bool) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t) // asks, with no mode set
	if err != nil {
		return false, false
	}
	return state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0, true
}

// freeBytes is what this user may still write at dir.
func freeBytes(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("look at the file system of %s: %w", dir, err)
	}
	return s.Bavail * uint64(s.Bsize), nil
}

// segmentBytes is how much of a connection's data a packet holds, or 0.
func segmentBytes(c *net.TCPConn) int {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	mss := 0
	if err := raw.Control(func(fd uintptr) { mss, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG) }); err != nil {
		return 0
	}
	return mss
}
