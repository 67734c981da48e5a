package jinja

// expression is a node that has a value.
type expression interface {
	eval(r *run, s *scope) any
}

// statement is a node that writes.
type statement interface {
	execute(r *run, s *scope) control
}

// control says how a statement ended.
type control int

const (
	done      control = iota
	breaks            // leaves the innermost loop
	continues         // goes on with its next item
)

type (
	literal  struct{ value any }
	variable struct {
		line int
		name string
	}
	list   struct{ items []expression }
	tuple  struct{ items []expression }
	object struct{ keys, values []expression }
	member struct { // of.name
		line int
		of   expression
		name string
	}
	item struct { // of[at]
		line   int
		of, at expression
	}
	slice struct { // of[from:to:step]; each may be nil
		line               int
		of, from, to, step expression
	}
	call struct {
		line int
		of   expression
		args arguments
	}
	filtered struct {
		line   int
		of     expression
		name   string
		filter filter
		args   arguments
	}
	tested struct {
		line int
		of   expression
		name string
		test test
		args arguments
	}
	not   struct{ of expression }
	minus struct {
		line int
		of   expression
	}
	logical struct { // a and b, a or b
		and  bool
		a, b expression
	}
	binary struct {
		line int
		op   string
		a, b expression
	}
	compared struct { // a op b op c …
		line  int
		first expression
		ops   []string
		rest  []expression
	}
	choice struct{ condition, yes, no expression } // no may be nil
)

// arguments are what stands between the parentheses of a call.
type arguments struct {
	positional []expression
	names      []string
	named      []expression
}

type (
	written struct{ text string }
	printed struct {
		line int
		of   expression
	}
	branch struct {
		conditions []expression
		bodies     [][]statement // one more than conditions when there is an else
	}
	loop struct {
		line        int
		targets     []string // more than one takes items apart
		over        expression
		condition   expression // nil for none
		body, empty []statement
	}
	assignment struct {
		line    int
		targets []string
		field   string     // target.field = value, "" for none
		value   expression // nil for a block
		body    []statement
	}
	macro struct {
		line     int
		name     string
		names    []string
		defaults []expression // nil where there is none
		body     []statement
	}
	generation struct {
		line int
		body []statement
	}
	jump struct{ to control }
)
