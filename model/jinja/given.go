package jinja

// given are the arguments of a filter, a test or a method, taken in the order of its parameters.
type given struct {
	*run
	to    string // whom they are given to
	args  []any
	named map[string]any
}

// take returns the next argument, by place or by name.
func (g *given) take(name string, otherwise any) any {
	if len(g.args) > 0 {
		v := g.args[0]
		g.args = g.args[1:]
		return v
	}
	if v, ok := g.named[name]; ok {
		delete(g.named, name)
		return v
	}
	return otherwise
}

// needed is what a parameter without a default has in place of one.
type needed struct{}

func (g *given) any(name string) any {
	v := g.take(name, needed{})
	if _, missing := v.(needed); missing {
		g.fail("%s needs %s", g.to, name)
	}
	return v
}

func (g *given) string(name string) string {
	s, ok := g.any(name).(string)
	if !ok {
		g.fail("%s needs a string as %s", g.to, name)
	}
	return s
}

func (g *given) int(name string, otherwise int) int {
	n, ok := whole(g.take(name, otherwise))
	if !ok {
		g.fail("%s needs an int as %s", g.to, name)
	}
	return n
}

// optional is the string given, or none.
func (g *given) optional(name string) (s string, ok bool) {
	v := g.take(name, nil)
	if v == nil {
		return "", false
	}
	s, ok = v.(string)
	if !ok {
		g.fail("%s needs a string as %s", g.to, name)
	}
	return s, true
}

// finish refuses what nobody has taken.
func (g *given) finish() {
	for name := range g.named {
		g.fail("%s takes no argument %s", g.to, name)
	}
	if len(g.args) > 0 {
		g.fail("%s is given %d arguments too many", g.to, len(g.args))
	}
}
