//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// detach puts the child into a process group of its own, out of reach of the terminal's signals.
func detach(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
