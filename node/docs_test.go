package main

import (
	"flag"
	"testing"

	"github.com/torctrain/torc/internal/pages"
)

var packageDir = flag.String("package", "", "write manual pages and shell completion below this folder, for `make package`")

// TestManualAndCompletionCoverEveryCommand writes both, and keeps them where -package says so.
func TestManualAndCompletionCoverEveryCommand(t *testing.T) {
	dir := *packageDir
	if dir == "" {
		dir = t.TempDir()
	}
	pages.Manual(t, newRootCmd(), version, dir)
}
