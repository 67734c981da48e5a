package pages

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// Manual writes the manual pages and shell completion of a program below dir, as packages install them, under a name that is
// torc's alone. Every command must have a page and be described in a line.
func Manual(t *testing.T, root *cobra.Command, version, dir string) {
	t.Helper()
	root.Use = "torc-" + root.Name()
	root.DisableAutoGenTag = true
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
	described(t, root, man)
}

func described(t *testing.T, c *cobra.Command, man string) {
	t.Helper()
	if !c.IsAvailableCommand() && c.HasParent() {
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
		described(t, sub, man)
	}
}
