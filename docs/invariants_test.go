package docs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// tests are the tests of a package directory, each with its comment.
func tests(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	files, err := filepath.Glob(filepath.Join("..", dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if d, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(d.Name.Name, "Test") {
				all[d.Name.Name] = d.Doc.Text()
			}
		}
	}
	return all
}

var (
	invariantRow = regexp.MustCompile(`(?m)^\| I(\d+) \| ([^|]+) \| ([^|]+) \|$`)
	invariant    = regexp.MustCompile(`\bI\d+\b`)
)

// The page names tests for every invariant; each exists and says in its comment that it checks it.
func TestEveryInvariantHasItsTests(t *testing.T) {
	page, err := os.ReadFile("protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := invariantRow.FindAllStringSubmatch(string(page), -1)
	if len(rows) != 11 {
		t.Fatalf("protocol.md lists %d invariants, want 11", len(rows))
	}
	for i, row := range rows {
		number := "I" + row[1]
		if number != fmt.Sprint("I", i+1) {
			t.Errorf("row %d is about %s", i+1, number)
		}
		named := 0
		for _, part := range strings.Split(row[3], ";") {
			var dir string
			if _, err := fmt.Sscanf(strings.TrimSpace(part), "`%s", &dir); err != nil {
				t.Fatalf("%s: %q names no package: %v", number, part, err)
			}
			dir = strings.TrimSuffix(dir, "`")
			_, list, _ := strings.Cut(strings.TrimSpace(part), " ")
			there := tests(t, dir)
			for _, name := range strings.Split(list, ", ") {
				comment, ok := there[name]
				switch {
				case !ok:
					t.Errorf("%s: %s has no test %s", number, dir, name)
				case !containsWord(comment, number):
					t.Errorf("%s: the comment of %s in %s does not name it", number, name, dir)
				}
				named++
			}
		}
		if named == 0 {
			t.Errorf("%s has no test", number)
		}
	}
}

func containsWord(text, word string) bool {
	for _, w := range invariant.FindAllString(text, -1) {
		if w == word {
			return true
		}
	}
	return false
}

// Every invariant that a test's comment names is one of the page's.
func TestCommentsNameInvariantsOfThePage(t *testing.T) {
	page, err := os.ReadFile("protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, row := range invariantRow.FindAllStringSubmatch(string(page), -1) {
		listed["I"+row[1]] = true
	}
	err = filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if name := d.Name(); name != ".." && strings.HasPrefix(name, ".") || name == "testdata" {
			return filepath.SkipDir
		}
		for name, comment := range tests(t, strings.TrimPrefix(path, "../")) {
			if !strings.Contains(comment, "protocol.md") {
				continue
			}
			for _, m := range invariant.FindAllString(comment, -1) {
				if !listed[m] {
					t.Errorf("%s in %s names %s, which protocol.md does not list", name, path, m)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
