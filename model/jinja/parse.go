package jinja

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// parser builds nodes from tokens. Methods panic with a failure.
type parser struct {
	tokens []token
	next   int
	depth  int
	loops  int // around the statement being read
	marks  bool
}

func (p *parser) fail(format string, args ...any) {
	panic(failure{p.at().line, fmt.Sprintf(format, args...)})
}

func (p *parser) at() token { return p.tokens[p.next] }

func (p *parser) take() token {
	t := p.tokens[p.next]
	if t.kind != end {
		p.next++
	}
	return t
}

func (p *parser) is(k kind, s string) bool { return p.at().kind == k && p.at().text == s }

// found takes the token if it is the one.
func (p *parser) found(k kind, s string) bool {
	if p.is(k, s) {
		p.next++
		return true
	}
	return false
}

func (p *parser) expect(k kind, s string) {
	if !p.found(k, s) {
		p.fail("%s where %s is expected", p.at(), token{kind: k, text: s})
	}
}

func (p *parser) name() string {
	if p.at().kind != name {
		p.fail("%s where a name is expected", p.at())
	}
	return p.take().text
}

// deeper counts nesting until the function it returns is called.
func (p *parser) deeper() func() {
	if p.depth++; p.depth > maxNesting {
		p.fail("nested deeper than %d", maxNesting)
	}
	return func() { p.depth-- }
}

// statements reads up to a tag that begins with one of ends, and into it: behind that name.
func (p *parser) statements(ends ...string) []statement {
	defer p.deeper()()
	var body []statement
	for {
		switch t := p.at(); t.kind {
		case end:
			if len(ends) > 0 {
				p.fail("%s is missing", ends[len(ends)-1])
			}
			return body
		case data:
			body = append(body, written{p.take().text})
		case printBegin:
			p.take()
			body = append(body, printed{t.line, p.tupled()})
			p.expect(printEnd, "")
		case blockBegin:
			p.take()
			if p.at().kind == name && slices.Contains(ends, p.at().text) {
				return body
			}
			body = append(body, p.statement(p.name()))
			p.expect(blockEnd, "")
		default:
			p.fail("%s is not expected", t)
		}
	}
}

// block reads the rest of a tag, and then statements up to a tag that begins with one of ends.
func (p *parser) block(ends ...string) []statement {
	p.expect(blockEnd, "")
	return p.statements(ends...)
}

func (p *parser) statement(tag string) statement {
	line := p.at().line
	switch tag {
	case "if":
		return p.branch()
	case "for":
		return p.loop(line)
	case "set":
		return p.assignment(line)
	case "macro":
		return p.macro(line)
	case "generation":
		p.marks = true
		g := generation{line, p.block("endgeneration")}
		p.take()
		return g
	case "break", "continue":
		if p.loops == 0 {
			p.fail("%s outside of a loop", tag)
		}
		if tag == "break" {
			return jump{breaks}
		}
		return jump{continues}
	}
	p.fail("tag %q is not known: chat templates here have if, for, set, macro, generation, break and continue", tag)
	return nil
}

func (p *parser) branch() statement {
	var b branch
	for {
		b.conditions = append(b.conditions, p.tupled())
		b.bodies = append(b.bodies, p.block("elif", "else", "endif"))
		switch p.take().text {
		case "endif":
			return b
		case "else":
			b.bodies = append(b.bodies, p.block("endif"))
			p.take()
			return b
		}
	}
}

// names reads a, b, c or (a, b, c).
func (p *parser) names() []string {
	enclosed := p.found(operator, "(")
	names := []string{p.name()}
	for p.found(operator, ",") {
		names = append(names, p.name())
	}
	if enclosed {
		p.expect(operator, ")")
	}
	return names
}

func (p *parser) loop(line int) statement {
	l := loop{line: line, targets: p.names()}
	p.expect(name, "in")
	l.over = p.tupleOf(p.or)
	if p.found(name, "if") {
		l.condition = p.expression()
	}
	if p.is(name, "recursive") {
		p.fail("a recursive loop is not known")
	}
	p.loops++
	l.body = p.block("else", "endfor")
	p.loops--
	if p.take().text == "else" {
		l.empty = p.block("endfor")
		p.take()
	}
	return l
}

func (p *parser) assignment(line int) statement {
	a := assignment{line: line, targets: p.names()}
	if p.found(operator, ".") {
		a.field = p.name()
	}
	if p.found(operator, "=") {
		a.value = p.tupled()
		return a
	}
	if p.is(operator, "|") || len(a.targets) > 1 {
		p.fail("%s where %q is expected", p.at(), "=")
	}
	loops := p.loops
	p.loops = 0
	a.body = p.block("endset")
	p.loops = loops
	p.take()
	return a
}

func (p *parser) macro(line int) statement {
	m := macro{line: line, name: p.name()}
	p.expect(operator, "(")
	for !p.found(operator, ")") {
		if len(m.names) > 0 {
			p.expect(operator, ",")
		}
		m.names = append(m.names, p.name())
		var value expression
		if p.found(operator, "=") {
			value = p.expression()
		}
		m.defaults = append(m.defaults, value)
	}
	loops := p.loops
	p.loops = 0
	m.body = p.block("endmacro")
	p.loops = loops
	p.take()
	return m
}

// tupled reads an expression, or several with commas between as a tuple.
func (p *parser) tupled() expression { return p.tupleOf(p.expression) }

func (p *parser) tupleOf(read func() expression) expression {
	first := read()
	if !p.is(operator, ",") {
		return first
	}
	t := tuple{[]expression{first}}
	for p.found(operator, ",") {
		if k := p.at().kind; k == blockEnd || k == printEnd || p.is(operator, ")") || p.is(operator, "=") {
			break
		}
		t.items = append(t.items, read())
	}
	return t
}

// expression reads a value, with "x if y else z".
func (p *parser) expression() expression {
	defer p.deeper()()
	e := p.or()
	for p.found(name, "if") {
		c := choice{condition: p.or(), yes: e}
		if p.found(name, "else") {
			c.no = p.expression()
		}
		e = c
	}
	return e
}

func (p *parser) or() expression {
	e := p.and()
	for p.found(name, "or") {
		e = logical{false, e, p.and()}
	}
	return e
}

func (p *parser) and() expression {
	e := p.not()
	for p.found(name, "and") {
		e = logical{true, e, p.not()}
	}
	return e
}

func (p *parser) not() expression {
	if p.found(name, "not") {
		defer p.deeper()()
		return not{p.not()}
	}
	return p.comparison()
}

func (p *parser) comparison() expression {
	c := compared{line: p.at().line, first: p.binary(0)}
	for {
		op := p.at().text
		switch {
		case p.at().kind == operator && slices.Contains([]string{"==", "!=", "<", ">", "<=", ">="}, op):
			p.take()
		case p.found(name, "in"):
		case p.is(name, "not") && p.tokens[p.next+1].kind == name && p.tokens[p.next+1].text == "in":
			p.take()
			p.take()
			op = "not in"
		case len(c.ops) == 0:
			return c.first
		default:
			return c
		}
		c.ops = append(c.ops, op)
		c.rest = append(c.rest, p.binary(0))
	}
}

// levels are the binary operators, those that bind least first.
var levels = [][]string{{"+", "-"}, {"~"}, {"*", "/", "//", "%"}}

func (p *parser) binary(level int) expression {
	if level == len(levels) {
		e := p.unary(true)
		if p.is(operator, "**") {
			p.fail("** is not known")
		}
		return e
	}
	e := p.binary(level + 1)
	for p.at().kind == operator && slices.Contains(levels[level], p.at().text) {
		line, op := p.at().line, p.take().text
		e = binary{line, op, e, p.binary(level + 1)}
	}
	return e
}

// unary reads a sign and what it is in front of; filters, where they may follow, take the result.
func (p *parser) unary(filters bool) expression {
	defer p.deeper()()
	line := p.at().line
	var e expression
	switch {
	case p.found(operator, "-"):
		e = minus{line, p.unary(false)}
	case p.found(operator, "+"):
		e = p.unary(false)
	default:
		e = p.primary()
	}
	e = p.postfix(e)
	if filters {
		e = p.filters(e)
	}
	return e
}

var constants = map[string]any{"true": true, "True": true, "false": false, "False": false, "none": nil, "None": nil}

func (p *parser) primary() expression {
	t := p.take()
	switch t.kind {
	case name:
		if value, ok := constants[t.text]; ok {
			return literal{value}
		}
		return variable{t.line, t.text}
	case text:
		s := t.text
		for p.at().kind == text {
			s += p.take().text
		}
		return literal{s}
	case integer:
		n, err := strconv.ParseInt(strings.ReplaceAll(t.text, "_", ""), 10, 64)
		if err != nil {
			p.fail("number %s is too large", t.text)
		}
		return literal{int(n)}
	case decimal:
		x, err := strconv.ParseFloat(strings.ReplaceAll(t.text, "_", ""), 64)
		if err != nil {
			p.fail("number %s is too large", t.text)
		}
		return literal{x}
	case operator:
		switch t.text {
		case "(":
			if p.found(operator, ")") {
				return tuple{}
			}
			e := p.tupled()
			p.expect(operator, ")")
			return e
		case "[":
			return list{p.items("]")}
		case "{":
			return p.object()
		}
	}
	p.next--
	if t.kind == end {
		p.next++
	}
	p.fail("%s where a value is expected", t)
	return nil
}

// items reads expressions up to a bracket; a comma may stand in front of it.
func (p *parser) items(bracket string) []expression {
	var items []expression
	for !p.found(operator, bracket) {
		if len(items) > 0 {
			p.expect(operator, ",")
			if p.found(operator, bracket) {
				break
			}
		}
		items = append(items, p.expression())
	}
	return items
}

func (p *parser) object() expression {
	var o object
	for !p.found(operator, "}") {
		if len(o.keys) > 0 {
			p.expect(operator, ",")
			if p.found(operator, "}") {
				break
			}
		}
		o.keys = append(o.keys, p.expression())
		p.expect(operator, ":")
		o.values = append(o.values, p.expression())
	}
	return o
}

// postfix reads members, items and calls behind a value.
func (p *parser) postfix(e expression) expression {
	for {
		line := p.at().line
		switch {
		case p.found(operator, "."):
			if p.at().kind == integer {
				n, err := strconv.Atoi(p.take().text)
				if err != nil {
					p.fail("number is too large")
				}
				e = item{line, e, literal{n}}
				continue
			}
			e = member{line, e, p.name()}
		case p.found(operator, "["):
			e = p.subscript(line, e)
		case p.found(operator, "("):
			e = call{line, e, p.arguments()}
		default:
			return e
		}
	}
}

func (p *parser) subscript(line int, of expression) expression {
	var parts [3]expression
	colons := 0
	for !p.found(operator, "]") {
		switch {
		case p.found(operator, ":"):
			if colons++; colons > 2 {
				p.fail("more than two colons")
			}
		case parts[colons] != nil:
			p.fail("%s where %q is expected", p.at(), "]")
		default:
			parts[colons] = p.expression()
		}
	}
	if colons > 0 {
		return slice{line, of, parts[0], parts[1], parts[2]}
	}
	if parts[0] == nil {
		p.fail("[] has no index")
	}
	return item{line, of, parts[0]}
}

// arguments reads up to the closing parenthesis.
func (p *parser) arguments() arguments {
	var a arguments
	for first := true; !p.found(operator, ")"); first = false {
		if !first {
			p.expect(operator, ",")
			if p.found(operator, ")") {
				break
			}
		}
		if p.at().kind == name && p.tokens[p.next+1].kind == operator && p.tokens[p.next+1].text == "=" {
			a.names = append(a.names, p.take().text)
			p.take()
			a.named = append(a.named, p.expression())
			continue
		}
		if len(a.names) > 0 {
			p.fail("an argument without a name behind one with a name")
		}
		a.positional = append(a.positional, p.expression())
	}
	return a
}

// filters reads filters, tests and calls behind a value.
func (p *parser) filters(e expression) expression {
	for {
		line := p.at().line
		switch {
		case p.found(operator, "|"):
			e = p.filter(line, e)
		case p.found(name, "is"):
			e = p.test(line, e)
		case p.found(operator, "("):
			e = call{line, e, p.arguments()}
		default:
			return e
		}
	}
}

func (p *parser) filter(line int, of expression) expression {
	called := p.name()
	f := filtered{line: line, of: of, name: called, filter: filterNamed(called)}
	if f.filter == nil {
		p.fail("filter %q is not known", called)
	}
	if p.found(operator, "(") {
		f.args = p.arguments()
	}
	return f
}

func (p *parser) test(line int, of expression) expression {
	negated := p.found(name, "not")
	called := p.name()
	t := tested{line: line, of: of, name: called, test: tests[called]}
	if t.test == nil {
		p.fail("test %q is not known", called)
	}
	switch next := p.at(); {
	case p.found(operator, "("):
		t.args = p.arguments()
	case next.kind == text || next.kind == integer || next.kind == decimal || p.is(operator, "[") || p.is(operator, "{"),
		next.kind == name && !slices.Contains([]string{"else", "or", "and", "is", "if", "in", "not"}, next.text):
		t.args.positional = []expression{p.postfix(p.primary())}
	}
	if negated {
		return not{t}
	}
	return t
}
