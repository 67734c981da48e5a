package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

var packageDir = flag.String("package", "", "write manual pages and shell completion below this folder, for `make package`")

// packaged is the command as packages install it, under a name that is torc's alone.
func packaged() *cobra.Command {
	root := newRootCmd()
	root.Use = "torc-" + root.Name()
	root.DisableAutoGenTag = true
	return root
}

// TestManualAndCompletionCoverEveryCommand writes both, and keeps them where -package says so.
func TestManualAndCompletionCoverEveryCommand(t *testing.T) {
	dir := *packageDir
	if dir == "" {
		dir = t.TempDir()
	}
	root := packaged()
	man, complete := filepath.Join(dir, "share/man/man1"), func(path string) string {
		path = filepath.Join(dir, "share", path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if err := os.MkdirAll(man, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "torc " + version, Manual: "torc"}, man); err != nil {
		t.Fatal(err)
	}
	name := root.Name()
	for what, err := range map[string]error{
		"bash": root.GenBashCompletionFileV2(complete("bash-completion/completions/"+name), true),
		"zsh":  root.GenZshCompletionFile(complete("zsh/site-functions/_" + name)),
		"fish": root.GenFishCompletionFile(complete("fish/vendor_completions.d/"+name+".fish"), true),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if !c.IsAvailableCommand() && c != root {
			return
		}
		page := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
		text, err := os.ReadFile(filepath.Join(man, page))
		if err != nil || !strings.Contains(string(text), ".TH") {
			t.Errorf("%s has no page: %v", c.CommandPath(), err)
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: describe it in a line without a full stop, not %q", c.CommandPath(), c.Short)
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
}
