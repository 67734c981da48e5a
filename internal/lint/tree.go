package lint

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// Module is the import path of the tree's root.
const Module = "github.com/torctrain/torc"

// File is one parsed Go file.
type File struct {
	Path  string // from the root, with slashes
	Dir   string // the package's directory, "." for the root
	Test  bool   // *_test.go
	Made  bool   // generated code, by its header
	Lines int
	AST   *ast.File
}

// Base is the file's name without its directory.
func (f *File) Base() string { return path.Base(f.Path) }

// Main says whether the file belongs to a program.
func (f *File) Main() bool { return f.AST.Name.Name == "main" }

// Tree is every Go file under a root, modules nested below it, testdata and hidden directories left out.
type Tree struct {
	Fset  *token.FileSet
	Files []*File // by path
}

// Load parses the tree under root.
func Load(root string) (*Tree, error) {
	t := &Tree{Fset: token.NewFileSet()}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel != "." && outside(name, d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		return t.add(name, filepath.ToSlash(rel))
	})
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", root, err)
	}
	return t, nil
}

// outside says whether a directory is no part of the module: hidden, build output, test data or a module of its own.
func outside(name, base string) bool {
	if strings.HasPrefix(base, ".") || base == "testdata" || base == "build" || base == "bin" {
		return true
	}
	_, err := os.Stat(filepath.Join(name, "go.mod"))
	return err == nil
}

func (t *Tree) add(name, rel string) error {
	src, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read source: %w", err)
	}
	tree, err := parser.ParseFile(t.Fset, rel, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return fmt.Errorf("parse source: %w", err)
	}
	t.Files = append(t.Files, &File{
		Path: rel, Dir: path.Dir(rel), Test: strings.HasSuffix(rel, "_test.go"), Made: ast.IsGenerated(tree),
		Lines: bytes.Count(src, []byte("\n")), AST: tree,
	})
	return nil
}

// Packages groups the files that are not tests by directory.
func (t *Tree) Packages() map[string][]*File {
	dirs := map[string][]*File{}
	for _, f := range t.Files {
		if !f.Test {
			dirs[f.Dir] = append(dirs[f.Dir], f)
		}
	}
	return dirs
}

// Finding is one broken rule.
type Finding struct {
	Path string
	Line int
	Text string
}

func (f Finding) String() string { return fmt.Sprintf("%s:%d: %s", f.Path, f.Line, f.Text) }

// find makes a finding at a position.
func (t *Tree) find(at token.Pos, format string, args ...any) Finding {
	p := t.Fset.Position(at)
	return Finding{Path: p.Filename, Line: p.Line, Text: fmt.Sprintf(format, args...)}
}

// imported is the path of an import.
func imported(s *ast.ImportSpec) string {
	p, err := strconv.Unquote(s.Path.Value)
	if err != nil {
		return s.Path.Value // the parser has accepted it, so this is not reached
	}
	return p
}

// names maps the name under which f knows each import to its path; the last element of the path, or the one before a
// version, where the file gives none. Dots and blanks are left out.
func names(f *ast.File) map[string]string {
	m := map[string]string{}
	for _, s := range f.Imports {
		p := imported(s)
		name := path.Base(p)
		if len(name) > 1 && name[0] == 'v' && strings.Trim(name[1:], "0123456789") == "" {
			name = path.Base(path.Dir(p))
		}
		if s.Name != nil {
			name = s.Name.Name
		}
		if name != "_" && name != "." {
			m[name] = p
		}
	}
	return m
}

// uses calls visit for each selector on an import in f, such as math.Exp.
func uses(f *ast.File, visit func(pkg, symbol string, at token.Pos)) {
	known := names(f)
	ast.Inspect(f, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := s.X.(*ast.Ident); ok && known[x.Name] != "" {
			visit(known[x.Name], s.Sel.Name, s.Pos())
		}
		return true
	})
}
