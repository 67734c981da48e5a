package lint

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"
)

// Rule is one thing that is checked.
type Rule struct {
	Name  string
	Check func(*Tree) []Finding
}

// Rules are all of them.
func Rules() []Rule {
	return []Rule{
		{"imports", Imports},
		{"package docs", Docs},
		{"pure files", Pure},
		{"deterministic maths", Maths},
		{"exits", Exits},
		{"init", Inits},
		{"open ends", OpenEnds},
		{"length", Length},
	}
}

// Docs asks for exactly one package comment per package: in doc.go, in the only file, or in main.go of a program.
func Docs(t *Tree) []Finding {
	var found []Finding
	for _, files := range t.Packages() {
		said := 0
		for _, f := range files {
			if f.AST.Doc == nil || f.Made {
				continue
			}
			said++
			if f.Base() != "doc.go" && len(files) > 1 && !(f.Main() && f.Base() == "main.go") {
				found = append(found, t.find(f.AST.Package, "package comment outside doc.go: move it there"))
			}
		}
		if said == 0 {
			found = append(found, t.find(files[0].AST.Package, "package without a comment: say in doc.go what it is, what it guarantees, where to start"))
		}
	}
	return found
}

// Exits keeps the end of the process in main.go of the programs.
func Exits(t *Tree) []Finding {
	var found []Finding
	for _, f := range t.Files {
		if f.Test || f.Main() && f.Base() == "main.go" {
			continue
		}
		uses(f.AST, func(pkg, symbol string, at token.Pos) {
			if pkg == "os" && symbol == "Exit" || pkg == "log" && strings.HasPrefix(symbol, "Fatal") {
				found = append(found, t.find(at, "%s.%s outside main.go: return an error", pkg, symbol))
			}
		})
	}
	return found
}

// Inits refuses init functions and imports for their effects alone.
func Inits(t *Tree) []Finding {
	var found []Finding
	for _, f := range t.Files {
		if f.Made {
			continue
		}
		for _, d := range f.AST.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				found = append(found, t.find(fn.Pos(), "init function: do it in a constructor or in main"))
			}
		}
		for _, s := range f.AST.Imports {
			if s.Name != nil && s.Name.Name == "_" && !slices.Contains(blanks, imported(s)) {
				found = append(found, t.find(s.Pos(), "import %s for its effects: wire it in main", imported(s)))
			}
		}
	}
	return found
}

// blanks may be imported without being used: embed is a directive, the other a declaration that the tensor library's
// dependency needs on recent Go (it is a build constraint in the shape of a package).
var blanks = []string{"embed", "go4.org/unsafe/assume-no-moving-gc"}

var openEnd = regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)

// OpenEnds refuses notes to oneself: open ends stand in docs/log.md.
func OpenEnds(t *Tree) []Finding {
	var found []Finding
	for _, f := range t.Files {
		for _, g := range f.AST.Comments {
			for _, c := range g.List {
				if m := openEnd.FindString(c.Text); m != "" && !f.Made {
					found = append(found, t.find(c.Pos(), "%s: do it or write it into docs/log.md", m))
				}
			}
		}
	}
	return found
}

// maxLines is where a file has long had more than one noun in it; style asks for 600 at the most.
const maxLines = 700

// Length asks for long files to be split by noun.
func Length(t *Tree) []Finding {
	var found []Finding
	for _, f := range t.Files {
		if f.Lines > maxLines && !f.Made {
			found = append(found, t.find(f.AST.Package, "%d lines: split the file by noun", f.Lines))
		}
	}
	return found
}
