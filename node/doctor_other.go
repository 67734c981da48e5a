//go:build !linux

package main

import (
	"errors"
	"net"
)

// clockKept is not known on this system.
func clockKept() (kept, known bool) { return false, false }

// freeBytes is not known on this system.
func freeBytes(string) (uint64, error) { return 0, errors.New("this system does not tell") }

// segmentBytes is not known on this system.
func segmentBytes(*net.TCPConn) int { return 0 }
