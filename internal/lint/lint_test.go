package lint

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func load(t *testing.T, root string) *Tree {
	t.Helper()
	tree, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.Files) == 0 {
		t.Fatalf("no Go files under %s", root)
	}
	return tree
}

// TestTreeKeepsTheRules is the lint itself.
func TestTreeKeepsTheRules(t *testing.T) {
	tree := load(t, "../..")
	for _, r := range Rules() {
		t.Run(strings.ReplaceAll(r.Name, " ", "-"), func(t *testing.T) {
			for _, f := range r.Check(tree) {
				t.Error(f)
			}
		})
	}
	for _, f := range tree.Files {
		if f.Lines > 600 && f.Lines <= maxLines && !f.Made {
			t.Logf("%s: %d lines: close to the limit of %d, split it by noun before the next feature", f.Path, f.Lines, maxLines)
		}
	}
}

// TestTablesNameOnlyKnownPackages keeps the tables from rotting: a package that is renamed must be renamed here too.
func TestTablesNameOnlyKnownPackages(t *testing.T) {
	for dir, allowed := range may {
		for _, d := range allowed {
			if _, ok := may[d]; !ok && d != "*" {
				t.Errorf("%s may import %s, which is no package of the table", dir, d)
			}
		}
	}
	for module, users := range modules {
		for _, d := range users {
			if _, ok := may[d]; !ok && d != "*" {
				t.Errorf("module %s is for %s, which is no package of the table", module, d)
			}
		}
	}
	for _, d := range slices.Concat(purePackages, resultDirs, basics) {
		if _, ok := may[d]; !ok {
			t.Errorf("%s is no package of the table", d)
		}
	}
}

var want = regexp.MustCompile(`// want "([^"]*)"`)

// TestRulesFindWhatTheyAreFor runs every rule over a tree that breaks them: each line that says want must be found, with
// that text, and no other line.
func TestRulesFindWhatTheyAreFor(t *testing.T) {
	tree := load(t, "testdata/tree")
	due := map[string]string{} // file:line → text
	for _, f := range tree.Files {
		for _, g := range f.AST.Comments {
			for _, c := range g.List {
				if m := want.FindStringSubmatch(c.Text); m != nil {
					p := tree.Fset.Position(c.Pos())
					due[fmt.Sprintf("%s:%d", p.Filename, p.Line)] = m[1]
				}
			}
		}
	}
	for _, r := range Rules() {
		count := 0
		for _, f := range r.Check(tree) {
			at := fmt.Sprintf("%s:%d", f.Path, f.Line)
			if text, ok := due[at]; !ok || !strings.Contains(f.Text, text) {
				t.Errorf("%s: unexpected finding %s", r.Name, f)
				continue
			}
			delete(due, at)
			count++
		}
		if count == 0 {
			t.Errorf("%s: nothing in testdata/tree breaks it, so the rule is not tested", r.Name)
		}
	}
	for at, text := range due {
		t.Errorf("%s: no finding, want %q", at, text)
	}
}
