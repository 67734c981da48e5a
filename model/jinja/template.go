package jinja

import (
	"fmt"
	"strings"
)

// Template is a parsed template. It does not change and is safe for concurrent use.
type Template struct {
	body  []statement
	marks bool
}

// Span is a part of a rendered text, in bytes: from Start up to End.
type Span struct{ Start, End int }

// Parse reads a template. Errors name the line, and what is not known.
func Parse(source string) (t *Template, err error) {
	if len(source) > maxSourceBytes {
		return nil, fmt.Errorf("template has %d bytes, more than %d", len(source), maxSourceBytes)
	}
	defer func() { err = caught(recover(), err) }()
	p := &parser{tokens: lex(source)}
	body := p.statements()
	if p.at().kind != end {
		p.fail("%s without a beginning", p.at())
	}
	return &Template{body: body, marks: p.marks}, nil
}

// Marks tells whether the template has {% generation %} blocks.
func (t *Template) Marks() bool { return t.marks }

// Render returns the text of the template with variables, and the parts inside {% generation %} in their order.
// Values are nil, bool, int, float64, string, List and *Dict; they are not changed.
func (t *Template) Render(variables *Dict) (text string, spans []Span, err error) {
	return t.render(t.start(variables))
}

// start prepares a rendering.
func (t *Template) start(variables *Dict) *run {
	r := &run{out: new(strings.Builder), top: &scope{names: map[string]any{}}, globals: globals()}
	for _, name := range variables.keys {
		r.top.names[name] = variables.values[name]
	}
	return r
}

func (t *Template) render(r *run) (text string, spans []Span, err error) {
	defer func() {
		if err = caught(recover(), err); err != nil {
			text, spans = "", nil
		}
	}()
	r.execute(t.body, r.top)
	return r.out.String(), r.spans, nil
}

// failure is what stops parsing or rendering; it travels as a panic within the package and ends in Parse or Render.
type failure struct {
	line int
	text string
}

func (f failure) Error() string {
	if f.line == 0 {
		return f.text
	}
	return fmt.Sprintf("line %d: %s", f.line, f.text)
}

// caught turns what recover returns into an error; what is no failure goes on as a panic.
func caught(panicked any, err error) error {
	if panicked == nil {
		return err
	}
	if f, ok := panicked.(failure); ok {
		return f
	}
	panic(panicked)
}
