package lint

import (
	"go/ast"
	"go/token"
	"slices"
)

// exact are the functions of package math whose result IEEE 754 fixes to the bit, on every machine and in every release.
var exact = []string{
	"Sqrt", "Abs", "Floor", "FMA", "Signbit", "Copysign",
	"Float32bits", "Float32frombits", "Float64bits", "Float64frombits", "Inf", "IsInf", "NaN", "IsNaN",
}

// constants of package math.
var constants = []string{
	"E", "Pi", "Phi", "Sqrt2", "SqrtE", "SqrtPi", "SqrtPhi", "Ln2", "Log2E", "Ln10", "Log10E",
	"MaxFloat32", "SmallestNonzeroFloat32", "MaxFloat64", "SmallestNonzeroFloat64",
	"MaxInt", "MinInt", "MaxInt8", "MinInt8", "MaxInt16", "MinInt16", "MaxInt32", "MinInt32", "MaxInt64", "MinInt64",
	"MaxUint", "MaxUint8", "MaxUint16", "MaxUint32", "MaxUint64",
}

// resultDirs hold the code that decides the bits of a run.
var resultDirs = []string{
	"model", "model/cpu", "methods", "allreduce", "sharding", "internal/rng", "internal/detmath", "internal/drills",
}

// foreign decide bits with arithmetic that is not ours.
var foreign = []string{"math/cmplx", "math/rand", "math/rand/v2", "math/big", "gonum.org/v1/gonum"}

// Maths keeps functions whose last bit may differ between machines and Go releases out of the paths that lead to a result.
func Maths(t *Tree) []Finding {
	var found []Finding
	for _, f := range t.Files {
		if f.Test || !slices.Contains(resultDirs, f.Dir) {
			continue
		}
		uses(f.AST, func(pkg, symbol string, at token.Pos) {
			if pkg == "math" && !slices.Contains(exact, symbol) && !slices.Contains(constants, symbol) {
				found = append(found, t.find(at, "math.%s in a result path: its last bit is not fixed, use internal/detmath", symbol))
			}
		})
		found = append(found, foreignImports(t, f.AST)...)
	}
	return found
}

func foreignImports(t *Tree, f *ast.File) []Finding {
	var found []Finding
	for _, s := range f.Imports {
		p := imported(s)
		if s.Name != nil && s.Name.Name == "." && p == "math" {
			found = append(found, t.find(s.Pos(), "dot import of math in a result path hides what is used"))
		}
		for _, bad := range foreign {
			if below(p, bad) {
				found = append(found, t.find(s.Pos(), "%s in a result path: its arithmetic is not ours; it may serve tests as an oracle", p))
			}
		}
	}
	return found
}
