package lint

import (
	"errors"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// pureFiles decide and compute, and do nothing else, in whichever library they stand.
var pureFiles = []string{
	"views.go", "lanes.go", "pace.go", "plan.go", "assign.go", "schedule.go", "placement.go", "topk.go", "remap.go", "adamw.go",
}

// purePackages are pure in every file.
var purePackages = []string{"internal/rng", "internal/detmath", "internal/drills"}

func pure(f *File) bool {
	if f.Test || f.Main() {
		return false
	}
	return slices.Contains(pureFiles, f.Base()) || slices.Contains(purePackages, f.Dir)
}

// impure are packages, with all below them, that bring a clock, a goroutine, I/O or chance without a seed.
var impure = []string{"sync", "os", "net", "math/rand", "crypto/rand", "syscall", "log", "runtime", "context", "golang.org/x/sys"}

// clocks are the parts of package time that look at a clock; times and durations as plain values are welcome.
var clocks = []string{"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTimer", "NewTicker"}

// Pure keeps clocks, goroutines, I/O, unseeded chance and the order of maps out of pure files.
func Pure(t *Tree) []Finding {
	var found []Finding
	for _, files := range t.Packages() {
		var info *types.Info
		for _, f := range files {
			if !pure(f) {
				continue
			}
			if info == nil {
				info = local(t, files)
			}
			found = append(found, pureImports(t, f)...)
			found = append(found, pureStatements(t, f, info)...)
		}
	}
	return found
}

func pureImports(t *Tree, f *File) []Finding {
	var found []Finding
	for _, s := range f.AST.Imports {
		p := imported(s)
		for _, bad := range impure {
			if p == bad || strings.HasPrefix(p, bad+"/") {
				found = append(found, t.find(s.Pos(), "pure file imports %s: take its results as arguments", p))
			}
		}
	}
	uses(f.AST, func(pkg, symbol string, at token.Pos) {
		if pkg == "time" && slices.Contains(clocks, symbol) {
			found = append(found, t.find(at, "pure file calls time.%s: take the time as an argument", symbol))
		}
	})
	return found
}

func pureStatements(t *Tree, f *File, info *types.Info) []Finding {
	var found []Finding
	known := names(f.AST)
	ast.Inspect(f.AST, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, t.find(n.Pos(), "pure file starts a goroutine: do it in the caller"))
		case *ast.SelectStmt, *ast.SendStmt:
			found = append(found, t.find(n.Pos(), "pure file uses a channel: do it in the caller"))
		case *ast.RangeStmt:
			if overMap(n.X, known, info) {
				found = append(found, t.find(n.Pos(), "pure file walks a map, whose order is chance: range over sorted keys"))
			}
		}
		return true
	})
	return found
}

// overMap says whether x is a map, or the iterator maps.Keys and its like make of one.
func overMap(x ast.Expr, known map[string]string, info *types.Info) bool {
	if call, ok := x.(*ast.CallExpr); ok {
		if s, ok := call.Fun.(*ast.SelectorExpr); ok {
			if id, ok := s.X.(*ast.Ident); ok && known[id.Name] == "maps" {
				return true
			}
		}
	}
	typ := info.TypeOf(x)
	if typ == nil {
		return false
	}
	_, ok := typ.Underlying().(*types.Map)
	return ok
}

// local checks the types of one package without its imports: enough to know which of its own expressions are maps.
func local(t *Tree, files []*File) *types.Info {
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: nothing{}, Error: func(error) {}} // whatever needs an import has an unknown type
	var trees []*ast.File
	for _, f := range files {
		trees = append(trees, f.AST)
	}
	_, _ = conf.Check(files[0].Dir, t.Fset, trees, info) // the missing imports are reported to Error and of no interest
	return info
}

// nothing imports nothing.
type nothing struct{}

func (nothing) Import(string) (*types.Package, error) { return nil, errors.New("not loaded") }
