package jinja

import (
	"strings"
	"unicode/utf8"
)

// member is Jinja's v.name: an attribute, then an item.
func (m member) eval(r *run, s *scope) any {
	of := m.of.eval(r, s)
	r.line = m.line
	r.work(1)
	if value, ok := r.attribute(of, m.name); ok {
		return value
	}
	if d, ok := of.(*Dict); ok {
		if value, ok := d.values[m.name]; ok {
			return value
		}
	}
	return undefined{"'" + typeName(of) + "' has no attribute '" + m.name + "'"}
}

// item is Jinja's v[at]: an item, then an attribute.
func (i item) eval(r *run, s *scope) any {
	of := i.of.eval(r, s)
	at := i.at.eval(r, s)
	r.line = i.line
	r.work(1)
	if u, ok := of.(undefined); ok {
		r.fail("%s", u.why)
	}
	name, named := at.(string)
	n, counted := whole(at)
	switch of := of.(type) {
	case *Dict:
		if value, ok := of.values[name]; named && ok {
			return value
		}
	case List:
		if n = index(n, len(of)); counted && n >= 0 {
			return of[n]
		}
	case tuples:
		if n = index(n, len(of)); counted && n >= 0 {
			return of[n]
		}
	case string:
		if counted {
			r.charge(of)
			if n = index(n, utf8.RuneCountInString(of)); n >= 0 {
				return string([]rune(of)[n])
			}
		}
	}
	if named {
		if value, ok := r.attribute(of, name); ok {
			return value
		}
	}
	return undefined{"'" + typeName(of) + "' has no such item"}
}

// index resolves a negative index; it returns −1 if there is no such item.
func index(n, length int) int {
	if n < 0 {
		n += length
	}
	if n < 0 || n >= length {
		return -1
	}
	return n
}

func (l slice) eval(r *run, s *scope) any {
	of := l.of.eval(r, s)
	bound := func(e expression) (n int, given bool) {
		if e == nil {
			return 0, false
		}
		v := e.eval(r, s)
		if v == nil {
			return 0, false
		}
		n, ok := whole(v)
		if !ok {
			r.line = l.line
			r.fail("index of a slice is a %s", typeName(v))
		}
		return n, true
	}
	from, hasFrom := bound(l.from)
	to, hasTo := bound(l.to)
	step, hasStep := bound(l.step)
	r.line = l.line
	if !hasStep {
		step = 1
	}
	if step == 0 {
		r.fail("step of a slice is 0")
	}
	r.charge(of)
	pick := func(length int) (places []int) {
		low, high := 0, length
		if step < 0 {
			low, high = -1, length-1
		}
		clamp := func(n int) int {
			if n < 0 {
				n += length
			}
			return min(max(n, low), high)
		}
		start, stop := low, high
		if step < 0 {
			start, stop = high, low
		}
		if hasFrom {
			start = clamp(from)
		}
		if hasTo {
			stop = clamp(to)
		}
		for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
			places = append(places, i)
			if step > length || step < -length {
				break
			}
		}
		r.work(len(places))
		return places
	}
	switch of := of.(type) {
	case string:
		runes := []rune(of)
		var b strings.Builder
		for _, i := range pick(len(runes)) {
			b.WriteRune(runes[i])
		}
		return b.String()
	case List:
		out := List{}
		for _, i := range pick(len(of)) {
			out = append(out, of[i])
		}
		return out
	case tuples:
		out := tuples{}
		for _, i := range pick(len(of)) {
			out = append(out, of[i])
		}
		return out
	}
	r.unsupported("[:]", of)
	return nil
}

// attribute returns a method or a field of a value.
func (r *run) attribute(of any, name string) (value any, ok bool) {
	switch of := of.(type) {
	case undefined:
		r.fail("%s", of.why)
	case *namespace:
		return of.fields.Get(name)
	case *position:
		return of.attribute(name)
	case string:
		return method(stringMethods, of, name)
	case *Dict:
		return method(dictMethods, of, name)
	case List:
		return method(listMethods, of, name)
	case tuples:
		return method(listMethods, List(of), name)
	}
	return nil, false
}

func method[T any](methods map[string]func(*given, T) any, of T, name string) (any, bool) {
	m := methods[name]
	if m == nil {
		return nil, false
	}
	return function{name, func(r *run, args []any, named map[string]any) any {
		r.charge(of)
		in := &given{r, name, args, named}
		value := m(in, of)
		in.finish()
		return value
	}}, true
}

// position is the variable loop.
type position struct {
	items   List
	at      int
	changes *changed
}

// changed is what loop.changed remembers.
type changed struct {
	seen bool
	last List
}

func (p *position) attribute(name string) (value any, ok bool) {
	n := len(p.items)
	near := func(i int, why string) any {
		if i < 0 || i >= n {
			return undefined{why}
		}
		return p.items[i]
	}
	switch name {
	case "index":
		return p.at + 1, true
	case "index0":
		return p.at, true
	case "revindex":
		return n - p.at, true
	case "revindex0":
		return n - p.at - 1, true
	case "first":
		return p.at == 0, true
	case "last":
		return p.at == n-1, true
	case "length":
		return n, true
	case "previtem":
		return near(p.at-1, "there is no previous item"), true
	case "nextitem":
		return near(p.at+1, "there is no next item"), true
	case "cycle":
		return function{name, func(r *run, args []any, _ map[string]any) any {
			if len(args) == 0 {
				r.fail("loop.cycle needs values")
			}
			return args[p.at%len(args)]
		}}, true
	case "changed":
		return function{name, func(r *run, args []any, _ map[string]any) any {
			same := p.changes.seen && r.equalAll(p.changes.last, args)
			*p.changes = changed{true, args}
			return !same
		}}, true
	}
	return nil, false
}
