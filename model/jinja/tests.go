package jinja

import (
	"strings"
	"unicode"
)

// test is what stands behind is.
type test func(in *given, v any) bool

var tests = map[string]test{
	"defined":     func(_ *given, v any) bool { _, missing := v.(undefined); return !missing },
	"undefined":   func(_ *given, v any) bool { _, missing := v.(undefined); return missing },
	"none":        func(_ *given, v any) bool { return v == nil },
	"boolean":     func(_ *given, v any) bool { _, ok := v.(bool); return ok },
	"true":        func(_ *given, v any) bool { b, ok := v.(bool); return ok && b },
	"false":       func(_ *given, v any) bool { b, ok := v.(bool); return ok && !b },
	"integer":     func(_ *given, v any) bool { _, ok := v.(int); return ok },
	"float":       func(_ *given, v any) bool { _, ok := v.(float64); return ok },
	"number":      func(_ *given, v any) bool { _, ok := number(v); return ok },
	"string":      func(_ *given, v any) bool { _, ok := v.(string); return ok },
	"mapping":     func(_ *given, v any) bool { _, ok := v.(*Dict); return ok },
	"iterable":    func(_ *given, v any) bool { return hasItems(v) },
	"sequence":    func(_ *given, v any) bool { return hasItems(v) },
	"callable":    func(_ *given, v any) bool { _, ok := v.(function); return ok },
	"eq":          operation("=="),
	"==":          operation("=="),
	"equalto":     operation("=="),
	"ne":          operation("!="),
	"!=":          operation("!="),
	"lt":          operation("<"),
	"<":           operation("<"),
	"lessthan":    operation("<"),
	"le":          operation("<="),
	"<=":          operation("<="),
	"gt":          operation(">"),
	">":           operation(">"),
	"greaterthan": operation(">"),
	"ge":          operation(">="),
	">=":          operation(">="),
	"in":          operation("in"),
	"sameas":      func(in *given, v any) bool { return in.same(v, in.any("a value to compare with")) },
	"odd":         func(in *given, v any) bool { return in.remainder(v, 2) == 1 },
	"even":        func(in *given, v any) bool { return in.remainder(v, 2) == 0 },
	"divisibleby": func(in *given, v any) bool { return in.remainder(v, in.int("num", 0)) == 0 },
	"lower":       func(in *given, v any) bool { return cased(in.show(v), strings.ToLower) },
	"upper":       func(in *given, v any) bool { return cased(in.show(v), strings.ToUpper) },
}

func hasItems(v any) bool {
	switch v.(type) {
	case string, List, tuples, *Dict, undefined:
		return true
	}
	return false
}

func operation(op string) test {
	return func(in *given, v any) bool { return in.compare(op, v, in.any("a value to compare with")) }
}

func (g *given) remainder(v any, by int) any {
	n, ok := whole(v)
	if !ok {
		g.unsupported(g.to, v)
	}
	return g.integers("%", n, by)
}

// same is Python's is, for the values that exist once.
func (g *given) same(v, other any) bool {
	_, truth := other.(bool)
	if other != nil && !truth {
		g.fail("test sameas is known for true, false and none only")
	}
	return v == other
}

// cased is Python's islower or isupper.
func cased(s string, fold func(string) string) bool {
	return strings.IndexFunc(s, func(c rune) bool { return unicode.IsLower(c) || unicode.IsUpper(c) }) >= 0 && s == fold(s)
}
