package jinja

import (
	"fmt"
	"math/bits"
	"strings"
)

// run is one rendering. Methods panic with a failure.
type run struct {
	out      *strings.Builder // of the template, or of the macro or block being read
	inner    int              // macros and blocks around whose output is a value
	macros   int              // that call each other
	compared int              // lists in lists that are being compared
	top      *scope
	spans    []Span
	turns    map[*Dict]*turn // by item of a loop; nil unless somebody asks
	line     int             // of the node evaluated last that has one
	used     int
	globals  map[string]any
}

// scope holds the names that set, for and macro make.
type scope struct {
	names map[string]any
	outer *scope
}

func (s *scope) inside() *scope { return &scope{outer: s} }

func (s *scope) set(name string, value any) {
	if s.names == nil {
		s.names = map[string]any{}
	}
	s.names[name] = value
}

func (r *run) fail(format string, args ...any) { panic(failure{r.line, fmt.Sprintf(format, args...)}) }

// work counts n nodes.
func (r *run) work(n int) {
	if r.used += n; r.used > maxWork {
		r.fail("template does more work than %d: does it loop?", maxWork)
	}
}

// charge counts the handling of a value by its size.
func (r *run) charge(v any) {
	size := 0
	switch v := v.(type) {
	case string:
		size = len(v)
	case List:
		size = len(v)
	case tuples:
		size = len(v)
	case *Dict:
		size = len(v.keys)
	}
	r.work(1 + size/64)
}

// grown checks the size of a string before it is made.
func (r *run) grown(bytes int) {
	if bytes > maxValueBytes {
		r.fail("template makes a text of more than %d bytes", maxValueBytes)
	}
	r.work(1 + bytes/64)
}

// listed checks the length of a list before it is made.
func (r *run) listed(items int) {
	if items > maxItems {
		r.fail("template makes a list of more than %d items", maxItems)
	}
	r.work(1 + items)
}

func (r *run) write(s string) {
	r.grown(len(s))
	if r.out.Len()+len(s) > maxValueBytes {
		r.fail("template writes more than %d bytes", maxValueBytes)
	}
	r.out.WriteString(s)
}

func (r *run) execute(body []statement, s *scope) control {
	for _, st := range body {
		r.work(1)
		if c := st.execute(r, s); c != done {
			return c
		}
	}
	return done
}

// captured is what body writes.
func (r *run) captured(body []statement, s *scope) string {
	before := r.out
	r.out = new(strings.Builder)
	r.inner++
	r.execute(body, s)
	written := r.out.String()
	r.out = before
	r.inner--
	return written
}

func (w written) execute(r *run, _ *scope) control {
	r.write(w.text)
	return done
}

func (p printed) execute(r *run, s *scope) control {
	r.line = p.line
	r.write(r.show(p.of.eval(r, s)))
	return done
}

func (b branch) execute(r *run, s *scope) control {
	for i, condition := range b.conditions {
		if truth(condition.eval(r, s)) {
			return r.execute(b.bodies[i], s)
		}
	}
	if len(b.bodies) > len(b.conditions) {
		return r.execute(b.bodies[len(b.conditions)], s)
	}
	return done
}

// bind gives an item to the names of a loop or an assignment.
func (r *run) bind(s *scope, names []string, value any) {
	if len(names) == 1 {
		s.set(names[0], value)
		return
	}
	items := r.iterate(value)
	if len(items) != len(names) {
		r.fail("%d values for the %d names %s", len(items), len(names), strings.Join(names, ", "))
	}
	for i, name := range names {
		s.set(name, items[i])
	}
}

func (l loop) execute(r *run, s *scope) control {
	r.line = l.line
	items := r.iterate(l.over.eval(r, s))
	if l.condition != nil {
		var kept List
		for _, v := range items {
			in := s.inside()
			r.bind(in, l.targets, v)
			if truth(l.condition.eval(r, in)) {
				kept = append(kept, v)
			}
		}
		items = kept
	}
	if len(items) == 0 {
		return r.execute(l.empty, s.inside())
	}
	changes := new(changed)
	for i, v := range items {
		r.work(1)
		in, from := s.inside(), r.out.Len()
		r.bind(in, l.targets, v)
		in.set("loop", &position{items, i, changes})
		ended := r.execute(l.body, in)
		r.turned(v, from)
		if ended == breaks {
			break
		}
	}
	return done
}

func (a assignment) execute(r *run, s *scope) control {
	r.line = a.line
	var value any
	if a.value != nil {
		value = a.value.eval(r, s)
	} else {
		value = r.captured(a.body, s.inside())
	}
	if a.field == "" {
		r.bind(s, a.targets, value)
		return done
	}
	to, ok := variable{a.line, a.targets[0]}.eval(r, s).(*namespace)
	if !ok {
		r.fail("%s is no namespace: its field %s cannot be set", a.targets[0], a.field)
	}
	if strings.HasPrefix(a.field, "_") {
		r.fail("field %s of a namespace begins with _", a.field)
	}
	to.fields.Set(a.field, value)
	return done
}

func (m macro) execute(r *run, s *scope) control {
	s.set(m.name, function{m.name, func(r *run, args []any, named map[string]any) any { return m.call(r, s, args, named) }})
	return done
}

func (m macro) call(r *run, outer *scope, args []any, named map[string]any) any {
	if len(args) > len(m.names) {
		r.fail("macro %s takes %d arguments, not %d", m.name, len(m.names), len(args))
	}
	if r.macros++; r.macros > maxNesting {
		r.fail("macros call each other deeper than %d", maxNesting)
	}
	defer func() { r.macros-- }()
	s := outer.inside()
	for i, name := range m.names {
		value, byName := named[name]
		switch {
		case i < len(args) && byName:
			r.fail("macro %s is given %s twice", m.name, name)
		case i < len(args):
			value = args[i]
		case !byName && m.defaults[i] != nil:
			value = m.defaults[i].eval(r, s)
		case !byName:
			value = undefined{"parameter '" + name + "' was not provided"}
		}
		delete(named, name)
		s.set(name, value)
	}
	for name := range named {
		r.fail("macro %s takes no argument named %s", m.name, name)
	}
	return r.captured(m.body, s)
}

func (g generation) execute(r *run, s *scope) control {
	if r.inner > 0 {
		r.line = g.line
		r.fail("{%% generation %%} inside a macro or a set block marks nothing: move it to where the text is written")
	}
	from := r.out.Len()
	c := r.execute(g.body, s.inside())
	r.spans = append(r.spans, Span{from, r.out.Len()})
	return c
}

func (j jump) execute(*run, *scope) control { return j.to }

func (l literal) eval(*run, *scope) any { return l.value }

func (v variable) eval(r *run, s *scope) any {
	r.line = v.line
	r.work(1)
	for ; s != nil; s = s.outer {
		if value, ok := s.names[v.name]; ok {
			return value
		}
	}
	if value, ok := r.globals[v.name]; ok {
		return value
	}
	why := "'" + v.name + "' is undefined"
	if v.name == "strftime_now" {
		why += ": a text must not depend on the clock; guard it by {% if strftime_now is defined %}, or write the date"
	}
	return undefined{why}
}

func (r *run) all(of []expression, s *scope) List {
	r.listed(len(of))
	values := make(List, len(of))
	for i, e := range of {
		values[i] = e.eval(r, s)
	}
	return values
}

func (l list) eval(r *run, s *scope) any  { return r.all(l.items, s) }
func (t tuple) eval(r *run, s *scope) any { return tuples(r.all(t.items, s)) }

func (o object) eval(r *run, s *scope) any {
	d := new(Dict)
	for i, k := range o.keys {
		key, ok := k.eval(r, s).(string)
		if !ok {
			r.fail("a key of a dict is no string")
		}
		r.work(1)
		d.Set(key, o.values[i].eval(r, s))
	}
	return d
}

func (c call) eval(r *run, s *scope) any {
	of := c.of.eval(r, s)
	args, named := r.arguments(c.args, s)
	r.line = c.line
	switch f := of.(type) {
	case function:
		return f.call(r, args, named)
	case undefined:
		r.fail("%s", f.why)
	}
	r.fail("a %s cannot be called", typeName(of))
	return nil
}

func (r *run) arguments(a arguments, s *scope) (args []any, named map[string]any) {
	args = r.all(a.positional, s)
	named = make(map[string]any, len(a.names))
	for i, name := range a.names {
		if _, twice := named[name]; twice {
			r.fail("argument %s is given twice", name)
		}
		named[name] = a.named[i].eval(r, s)
	}
	return args, named
}

func (f filtered) eval(r *run, s *scope) any {
	of := f.of.eval(r, s)
	args, named := r.arguments(f.args, s)
	r.line = f.line
	r.charge(of)
	in := &given{r, "filter " + f.name, args, named}
	value := f.filter(in, of)
	in.finish()
	return value
}

func (t tested) eval(r *run, s *scope) any {
	of := t.of.eval(r, s)
	args, named := r.arguments(t.args, s)
	r.line = t.line
	r.work(1)
	in := &given{r, "test " + t.name, args, named}
	value := t.test(in, of)
	in.finish()
	return value
}

func (n not) eval(r *run, s *scope) any { return !truth(n.of.eval(r, s)) }

func (m minus) eval(r *run, s *scope) any {
	v := m.of.eval(r, s)
	r.line = m.line
	if n, ok := whole(v); ok {
		return -n
	}
	if x, ok := v.(float64); ok {
		return -x
	}
	r.unsupported("-", v)
	return nil
}

func (l logical) eval(r *run, s *scope) any {
	r.work(1)
	a := l.a.eval(r, s)
	if truth(a) == l.and {
		return l.b.eval(r, s)
	}
	return a
}

func (c choice) eval(r *run, s *scope) any {
	switch {
	case truth(c.condition.eval(r, s)):
		return c.yes.eval(r, s)
	case c.no == nil:
		return undefined{"an if without else has no value here"}
	}
	return c.no.eval(r, s)
}

func (c compared) eval(r *run, s *scope) any {
	a := c.first.eval(r, s)
	for i, op := range c.ops {
		b := c.rest[i].eval(r, s)
		r.line = c.line
		if !r.compare(op, a, b) {
			return false
		}
		a = b
	}
	return true
}

func (r *run) compare(op string, a, b any) bool {
	switch op {
	case "==":
		return r.equal(a, b)
	case "!=":
		return !r.equal(a, b)
	case "in":
		return r.contains(b, a)
	case "not in":
		return !r.contains(b, a)
	}
	sign := r.order(op, a, b)
	return op[0] == '<' && sign < 0 || op[0] == '>' && sign > 0 || len(op) == 2 && sign == 0
}

// order is −1, 0 or 1 as a is below, equal to or above b; 2 if it is neither, which only NaN is.
func (r *run) order(op string, a, b any) int {
	x, first := number(a)
	y, second := number(b)
	if first && second {
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		case x == y:
			return 0
		}
		return 2
	}
	s, first := a.(string)
	t, second := b.(string)
	if !first || !second {
		r.unsupported(op, a, b)
	}
	r.charge(s)
	return strings.Compare(s, t)
}

func (r *run) contains(in, v any) bool {
	r.charge(in)
	switch in := in.(type) {
	case string:
		s, ok := v.(string)
		if !ok {
			r.unsupported("in", v, in)
		}
		return strings.Contains(in, s)
	case *Dict:
		s, ok := v.(string)
		_, there := in.values[s]
		return ok && there
	case *namespace:
		r.unsupported("in", v, in)
	}
	for _, other := range r.iterate(in) {
		if r.equal(other, v) {
			return true
		}
	}
	return false
}

// unsupported fails as an operator that does not take such operands.
func (r *run) unsupported(op string, operands ...any) {
	var types []string
	for _, v := range operands {
		if u, ok := v.(undefined); ok {
			r.fail("%s", u.why)
		}
		types = append(types, typeName(v))
	}
	r.fail("%s is not for %s", op, strings.Join(types, " and "))
}

func (b binary) eval(r *run, s *scope) any {
	x := b.a.eval(r, s)
	y := b.b.eval(r, s)
	r.line = b.line
	r.work(1)
	if b.op == "~" {
		return r.join("", r.show(x), r.show(y))
	}
	m, first := whole(x)
	n, second := whole(y)
	if first && second && b.op != "/" {
		return r.integers(b.op, m, n)
	}
	f, numeric := number(x)
	g, both := number(y)
	if numeric && both {
		return r.floats(b.op, f, g)
	}
	switch b.op {
	case "+":
		return r.add(x, y)
	case "*":
		if second {
			return r.repeat(x, n)
		}
		if first {
			return r.repeat(y, m)
		}
	}
	r.unsupported(b.op, x, y)
	return nil
}

func (r *run) join(between string, parts ...string) string {
	size := 0
	for _, p := range parts {
		size += len(p) + len(between)
	}
	r.grown(size)
	return strings.Join(parts, between)
}

func (r *run) add(x, y any) any {
	switch x := x.(type) {
	case string:
		if s, ok := y.(string); ok {
			return r.join("", x, s)
		}
	case List:
		if l, ok := y.(List); ok {
			r.listed(len(x) + len(l))
			return append(append(make(List, 0, len(x)+len(l)), x...), l...)
		}
	case tuples:
		if l, ok := y.(tuples); ok {
			r.listed(len(x) + len(l))
			return append(append(make(tuples, 0, len(x)+len(l)), x...), l...)
		}
	}
	r.unsupported("+", x, y)
	return nil
}

func (r *run) repeat(x any, n int) any {
	n = max(n, 0)
	switch x := x.(type) {
	case string:
		if n > maxValueBytes {
			r.grown(n)
		}
		r.grown(len(x) * n)
		return strings.Repeat(x, n)
	case List:
		if n > maxItems {
			r.listed(n)
		}
		r.listed(len(x) * n)
		var l List
		for range n {
			l = append(l, x...)
		}
		return l
	}
	r.unsupported("*", x, n)
	return nil
}

// integers are Python's, as long as they fit.
func (r *run) integers(op string, m, n int) any {
	switch op {
	case "+":
		if sum := m + n; (sum > m) == (n > 0) {
			return sum
		}
	case "-":
		if diff := m - n; (diff < m) == (n > 0) {
			return diff
		}
	case "*":
		a, b := uint64(max(m, -m)), uint64(max(n, -n))
		if high, low := bits.Mul64(a, b); high == 0 && low>>62 == 0 {
			return m * n
		}
	case "//", "%":
		if n == 0 {
			r.fail("division by zero")
		}
		q, rest := m/n, m%n
		if rest != 0 && (rest < 0) != (n < 0) {
			q, rest = q-1, rest+n
		}
		if op == "//" {
			return q
		}
		return rest
	}
	r.fail("number is too large")
	return nil
}

func (r *run) floats(op string, f, g float64) any {
	switch op {
	case "+":
		return f + g
	case "-":
		return f - g
	case "*":
		return f * g
	case "/":
		if g == 0 {
			r.fail("division by zero")
		}
		return f / g
	}
	r.fail("%s is not known for floats", op)
	return nil
}
