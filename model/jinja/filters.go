package jinja

import (
	"sort"
	"strconv"
	"strings"
)

// filter is what stands behind |.
type filter func(in *given, v any) any

// filterNamed returns a filter, or nil. Known are those that chat templates use; HTML escaping and those that need chance
// or much memory are not among them.
func filterNamed(name string) filter {
	return map[string]filter{
		"abs": filterAbs, "capitalize": onString(capitalize), "count": filterLength, "d": filterDefault, "default": filterDefault,
		"dictsort": filterDictsort, "first": filterFirst, "float": filterFloat, "indent": filterIndent, "int": filterInt,
		"items": filterItems, "join": filterJoin, "last": filterLast, "length": filterLength, "list": filterList,
		"lower": onString(strings.ToLower), "map": filterMap, "max": filterExtreme(">"), "min": filterExtreme("<"),
		"reject": filterSelect(false), "rejectattr": filterSelectAttr(false), "replace": filterReplace, "reverse": filterReverse,
		"safe": func(_ *given, v any) any { return v }, "select": filterSelect(true), "selectattr": filterSelectAttr(true),
		"sort": filterSort, "string": func(in *given, v any) any { return in.show(v) }, "sum": filterSum,
		"title": onString(title), "tojson": filterJSON, "trim": filterTrim, "unique": filterUnique, "upper": onString(strings.ToUpper),
	}[name]
}

// onString is a filter that takes what v prints as.
func onString(f func(string) string) filter {
	return func(in *given, v any) any { return f(in.show(v)) }
}

func filterAbs(in *given, v any) any {
	if n, ok := whole(v); ok {
		return max(n, -n)
	}
	x, ok := v.(float64)
	if !ok {
		in.unsupported("abs", v)
	}
	return max(x, -x)
}

func filterLength(in *given, v any) any { return in.length(v) }

func filterDefault(in *given, v any) any {
	value := in.take("default_value", "")
	falsy := truth(in.take("boolean", false))
	if _, missing := v.(undefined); missing || falsy && !truth(v) {
		return value
	}
	return v
}

func filterFirst(in *given, v any) any {
	if items := in.iterate(v); len(items) > 0 {
		return items[0]
	}
	return undefined{"there is no first item"}
}

func filterLast(in *given, v any) any {
	if items := in.iterate(v); len(items) > 0 {
		return items[len(items)-1]
	}
	return undefined{"there is no last item"}
}

func filterFloat(in *given, v any) any {
	otherwise := in.take("default", 0.0)
	if x, ok := number(v); ok {
		return x
	}
	if s, ok := v.(string); ok {
		if x, err := strconv.ParseFloat(strings.TrimFunc(s, isSpace), 64); err == nil {
			return x
		}
	}
	return otherwise
}

func filterInt(in *given, v any) any {
	otherwise := in.take("default", 0)
	if n, ok := whole(v); ok {
		return n
	}
	x, ok := v.(float64)
	if s, isText := v.(string); isText {
		s = strings.TrimFunc(s, isSpace)
		if n, err := strconv.Atoi(s); err == nil {
			return n
		}
		f, err := strconv.ParseFloat(s, 64)
		x, ok = f, err == nil
	}
	if ok && x > -1<<62 && x < 1<<62 {
		return int(x)
	}
	return otherwise
}

func filterIndent(in *given, v any) any {
	width := in.take("width", 4)
	first, blank := truth(in.take("first", false)), truth(in.take("blank", false))
	by, ok := width.(string)
	if n, counted := whole(width); counted {
		in.grown(max(n, 0))
		by = strings.Repeat(" ", max(n, 0))
	} else if !ok {
		in.fail("filter indent needs a number or a string as width")
	}
	s := in.show(v)
	in.grown(len(s) + (strings.Count(s, "\n")+1)*len(by))
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		if i == 0 && first || i > 0 && (blank || line != "") {
			lines[i] = by + line
		}
	}
	return strings.Join(lines, "\n")
}

func filterItems(in *given, v any) any {
	switch v := v.(type) {
	case undefined:
		return List{}
	case *Dict:
		return itemsOf(in.run, v)
	}
	in.unsupported("items", v)
	return nil
}

func itemsOf(r *run, d *Dict) List {
	r.listed(len(d.keys))
	items := List{}
	for _, key := range d.keys {
		items = append(items, tuples{key, d.values[key]})
	}
	return items
}

func filterDictsort(in *given, v any) any {
	d, ok := v.(*Dict)
	if !ok {
		in.unsupported("dictsort", v)
	}
	items := itemsOf(in.run, d)
	sort.SliceStable(items, func(i, j int) bool {
		return strings.ToLower(items[i].(tuples)[0].(string)) < strings.ToLower(items[j].(tuples)[0].(string))
	})
	return items
}

// field returns a part of v by a name with dots, as map and selectattr take it.
func (r *run) field(v any, path string) any {
	for _, name := range strings.Split(path, ".") {
		var at any = name
		if n, err := strconv.Atoi(name); err == nil {
			at = n
		}
		v = item{r.line, literal{v}, literal{at}}.eval(r, nil)
	}
	return v
}

func filterJoin(in *given, v any) any {
	between, _ := in.optional("d")
	path, fields := in.optional("attribute")
	var parts []string
	for _, item := range in.iterate(v) {
		if fields {
			item = in.field(item, path)
		}
		parts = append(parts, in.show(item))
	}
	return in.join(between, parts...)
}

func filterList(in *given, v any) any {
	items := in.iterate(v)
	in.listed(len(items))
	return append(List{}, items...)
}

func filterMap(in *given, v any) any {
	items := in.iterate(v)
	in.listed(len(items))
	out := make(List, 0, len(items))
	if path, ok := in.optionalNamed("attribute"); ok {
		otherwise := in.take("default", needed{})
		for _, item := range items {
			value := in.field(item, path)
			if _, missing := value.(undefined); missing {
				if _, none := otherwise.(needed); !none {
					value = otherwise
				}
			}
			out = append(out, value)
		}
		return out
	}
	name := in.string("the name of a filter")
	f := filterNamed(name)
	if f == nil {
		in.fail("filter %q is not known", name)
	}
	for _, item := range items {
		each := in.again("filter " + name)
		out = append(out, f(each, item))
		each.finish()
	}
	in.args, in.named = nil, nil
	return out
}

// again are the same arguments for another one.
func (g *given) again(to string) *given {
	named := make(map[string]any, len(g.named))
	for name, v := range g.named {
		named[name] = v
	}
	return &given{g.run, to, g.args, named}
}

// optionalNamed is the string given by name, if any.
func (g *given) optionalNamed(name string) (string, bool) {
	v, ok := g.named[name]
	if !ok {
		return "", false
	}
	delete(g.named, name)
	s, ok := v.(string)
	if !ok {
		g.fail("%s needs a string as %s", g.to, name)
	}
	return s, true
}

// kept returns the items whose value passes the test that is named next, or is true without one.
func (g *given) kept(v any, want bool, value func(any) any) any {
	var test test
	name, ok := g.optional("the name of a test")
	if ok {
		if test = tests[name]; test == nil {
			g.fail("test %q is not known", name)
		}
	}
	items := g.iterate(v)
	g.listed(len(items))
	out := List{}
	for _, item := range items {
		x := value(item)
		passes := truth(x)
		if test != nil {
			each := g.again("test " + name)
			passes = test(each, x)
			each.finish()
		}
		if passes == want {
			out = append(out, item)
		}
	}
	if test != nil {
		g.args, g.named = nil, nil
	}
	return out
}

func filterSelect(want bool) filter {
	return func(in *given, v any) any { return in.kept(v, want, func(x any) any { return x }) }
}

func filterSelectAttr(want bool) filter {
	return func(in *given, v any) any {
		path := in.string("an attribute")
		return in.kept(v, want, func(x any) any { return in.field(x, path) })
	}
}

func filterReplace(in *given, v any) any {
	old, text := in.string("old"), in.string("new")
	count, ok := whole(in.take("count", -1))
	if !ok {
		count = -1
	}
	return in.replace(in.show(v), old, text, count)
}

func (r *run) replace(s, old, text string, count int) string {
	times := strings.Count(s, old)
	if count >= 0 {
		times = min(times, count)
	}
	r.grown(len(s) + times*len(text))
	return strings.Replace(s, old, text, count)
}

func filterReverse(in *given, v any) any {
	items := in.iterate(v)
	if s, ok := v.(string); ok {
		var b strings.Builder
		b.Grow(len(s))
		for i := len(items) - 1; i >= 0; i-- {
			b.WriteString(items[i].(string))
		}
		return b.String()
	}
	in.listed(len(items))
	out := make(List, len(items))
	for i, item := range items {
		out[len(items)-1-i] = item
	}
	return out
}

func filterSort(in *given, v any) any {
	reverse, exact := truth(in.take("reverse", false)), truth(in.take("case_sensitive", false))
	path, fields := in.optional("attribute")
	items := append(List{}, in.iterate(v)...)
	in.listed(len(items))
	key := func(x any) any {
		if fields {
			x = in.field(x, path)
		}
		if s, ok := x.(string); ok && !exact {
			return strings.ToLower(s)
		}
		return x
	}
	sort.SliceStable(items, func(i, j int) bool {
		if reverse {
			i, j = j, i
		}
		return in.order("<", key(items[i]), key(items[j])) < 0
	})
	return items
}

// filterExtreme is min or max; strings compare without case.
func filterExtreme(op string) filter {
	return func(in *given, v any) any {
		var best any = undefined{"there is no item"}
		fold := func(x any) any {
			if s, ok := x.(string); ok {
				return strings.ToLower(s)
			}
			return x
		}
		for i, item := range in.iterate(v) {
			if i == 0 || in.compare(op, fold(item), fold(best)) {
				best = item
			}
		}
		return best
	}
}

func filterSum(in *given, v any) any {
	path, fields := in.optional("attribute")
	total := in.take("start", 0)
	for _, x := range in.iterate(v) {
		if fields {
			x = in.field(x, path)
		}
		total = binary{in.line, "+", literal{total}, literal{x}}.eval(in.run, nil)
	}
	return total
}

func filterTrim(in *given, v any) any {
	chars, ok := in.optional("chars")
	if !ok {
		return strings.TrimFunc(in.show(v), isSpace)
	}
	return strings.Trim(in.show(v), chars)
}

func filterUnique(in *given, v any) any {
	out := List{}
	fold := func(x any) any {
		if s, ok := x.(string); ok {
			return strings.ToLower(s)
		}
		return x
	}
next:
	for _, x := range in.iterate(v) {
		for _, y := range out {
			if in.equal(fold(x), fold(y)) {
				continue next
			}
		}
		out = append(out, x)
	}
	return out
}
