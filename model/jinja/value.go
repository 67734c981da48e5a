package jinja

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// List is a list of values.
type List []any

// Dict is a map from strings to values that keeps the order in which keys were set first. The zero value is empty.
type Dict struct {
	keys   []string
	values map[string]any
}

// Set gives key a value.
func (d *Dict) Set(key string, value any) {
	if d.values == nil {
		d.values = map[string]any{}
	}
	if _, ok := d.values[key]; !ok {
		d.keys = append(d.keys, key)
	}
	d.values[key] = value
}

// Get returns the value of key.
func (d *Dict) Get(key string) (value any, ok bool) {
	value, ok = d.values[key]
	return value, ok
}

// Keys returns the keys in their order; the slice must not be changed.
func (d *Dict) Keys() []string { return d.keys }

type (
	// tuples is a list that prints and compares as a tuple.
	tuples List
	// undefined is the value of what does not exist; why says so in an error.
	undefined struct{ why string }
	// namespace is what namespace() makes: fields that set can change.
	namespace struct{ fields Dict }
	// function is what can be called.
	function struct {
		name string
		call func(r *run, args []any, named map[string]any) any
	}
)

// truth is Python's bool(v).
func truth(v any) bool {
	switch v := v.(type) {
	case nil, undefined:
		return false
	case bool:
		return v
	case int:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case List:
		return len(v) > 0
	case tuples:
		return len(v) > 0
	case *Dict:
		return len(v.keys) > 0
	}
	return true
}

// typeName is what Python calls the type of v.
func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "None"
	case undefined:
		return "undefined"
	case bool:
		return "bool"
	case int:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case List:
		return "list"
	case tuples:
		return "tuple"
	case *Dict:
		return "dict"
	case *namespace:
		return "namespace"
	}
	return "function"
}

// show is Python's str(v).
func (r *run) show(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case undefined:
		return ""
	}
	var b strings.Builder
	r.repr(&b, v, 0)
	return b.String()
}

// repr is Python's repr(v).
func (r *run) repr(b *strings.Builder, v any, depth int) {
	r.work(1)
	if b.Len() > maxValueBytes || depth > maxNesting {
		r.fail("value is too large to print")
	}
	switch v := v.(type) {
	case nil:
		b.WriteString("None")
	case bool:
		b.WriteString(map[bool]string{false: "False", true: "True"}[v])
	case int:
		b.WriteString(strconv.Itoa(v))
	case float64:
		b.WriteString(showFloat(v))
	case string:
		r.charge(v)
		quote(b, v)
	case undefined:
		b.WriteString("Undefined")
	case List:
		r.reprAll(b, v, depth, "[", "]")
	case tuples:
		closing := ")"
		if len(v) == 1 {
			closing = ",)"
		}
		r.reprAll(b, List(v), depth, "(", closing)
	case *Dict:
		b.WriteByte('{')
		for i, key := range v.keys {
			if i > 0 {
				b.WriteString(", ")
			}
			quote(b, key)
			b.WriteString(": ")
			r.repr(b, v.values[key], depth+1)
		}
		b.WriteByte('}')
	default:
		r.fail("a %s cannot be printed", typeName(v))
	}
}

func (r *run) reprAll(b *strings.Builder, l List, depth int, opening, closing string) {
	b.WriteString(opening)
	for i, v := range l {
		if i > 0 {
			b.WriteString(", ")
		}
		r.repr(b, v, depth+1)
	}
	b.WriteString(closing)
}

// showFloat is Python's repr of a float.
func showFloat(x float64) string {
	s := strconv.FormatFloat(x, 'g', -1, 64)
	switch {
	case s == "+Inf":
		return "inf"
	case s == "-Inf":
		return "-inf"
	case s == "NaN":
		return "nan"
	}
	exponent, _ := strconv.Atoi(strings.SplitAfterN(strconv.FormatFloat(x, 'e', -1, 64), "e", 2)[1])
	if exponent < -4 || exponent >= 16 {
		s = strconv.FormatFloat(x, 'e', -1, 64)
		return s
	}
	s = strconv.FormatFloat(x, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// quote writes a string as Python's repr does.
func quote(b *strings.Builder, s string) {
	mark := '\''
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		mark = '"'
	}
	b.WriteRune(mark)
	for _, c := range s {
		switch {
		case c == mark || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(b, `\x%02x`, c)
		case c == ' ' || unicode.IsPrint(c):
			b.WriteRune(c)
		case c < 0x100:
			fmt.Fprintf(b, `\x%02x`, c)
		case c < 0x10000:
			fmt.Fprintf(b, `\u%04x`, c)
		default:
			fmt.Fprintf(b, `\U%08x`, c)
		}
	}
	b.WriteRune(mark)
}

// number returns v as a float, if it is a number or a bool.
func number(v any) (x float64, ok bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case int:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// whole returns v as an int, if it is one or a bool.
func whole(v any) (n int, ok bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case int:
		return v, true
	}
	return 0, false
}

// equal is Python's a == b.
func (r *run) equal(a, b any) bool {
	r.work(1)
	if r.compared++; r.compared > maxNesting {
		r.fail("lists are nested deeper than %d", maxNesting)
	}
	defer func() { r.compared-- }()
	if x, ok := number(a); ok {
		y, ok := number(b)
		return ok && x == y
	}
	switch a := a.(type) {
	case nil:
		return b == nil
	case string:
		r.charge(a)
		s, ok := b.(string)
		return ok && a == s
	case undefined:
		_, ok := b.(undefined)
		return ok
	case List:
		l, ok := b.(List)
		return ok && r.equalAll(a, l)
	case tuples:
		l, ok := b.(tuples)
		return ok && r.equalAll(List(a), List(l))
	case *Dict:
		d, ok := b.(*Dict)
		if !ok || len(a.keys) != len(d.keys) {
			return false
		}
		for _, key := range a.keys {
			if v, ok := d.values[key]; !ok || !r.equal(a.values[key], v) {
				return false
			}
		}
		return true
	case *namespace:
		return any(a) == b
	}
	return false
}

func (r *run) equalAll(a, b List) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !r.equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// iterate returns the items of a value that can be iterated over.
func (r *run) iterate(v any) List {
	r.charge(v)
	switch v := v.(type) {
	case List:
		return v
	case tuples:
		return List(v)
	case undefined:
		return nil
	case string:
		if utf8.RuneCountInString(v) > maxItems {
			r.fail("a string is too long to be taken apart")
		}
		var items List
		for _, c := range v {
			items = append(items, string(c))
		}
		return items
	case *Dict:
		items := make(List, len(v.keys))
		for i, key := range v.keys {
			items[i] = key
		}
		return items
	}
	r.fail("a %s has no items", typeName(v))
	return nil
}

// length is Python's len(v).
func (r *run) length(v any) int {
	r.charge(v)
	switch v := v.(type) {
	case string:
		return utf8.RuneCountInString(v)
	case List:
		return len(v)
	case tuples:
		return len(v)
	case *Dict:
		return len(v.keys)
	case undefined:
		return 0
	}
	r.fail("a %s has no length", typeName(v))
	return 0
}
