package main

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func TestNodesThatDoNotLeaveAreKilled(t *testing.T) {
	l := &localNodes{died: func(err error) { t.Error(err) }, patience: time.Millisecond}
	for range 3 {
		if err := l.start(exec.Command("sleep", "600"), filepath.Join(t.TempDir(), "log")); err != nil {
			t.Fatal(err)
		}
	}
	l.stop()
	for _, p := range l.procs {
		if p.ProcessState == nil {
			t.Errorf("%v goes on", p)
		}
	}
}
