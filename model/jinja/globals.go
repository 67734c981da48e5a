package jinja

import "strings"

// globals are the names that every template knows.
func globals() map[string]any {
	return map[string]any{
		"range":     function{"range", rangeOf},
		"dict":      function{"dict", dictOf},
		"namespace": function{"namespace", namespaceOf},
		"raise_exception": function{"raise_exception", func(r *run, args []any, named map[string]any) any {
			in := &given{r, "raise_exception", args, named}
			message := r.show(in.any("message"))
			r.fail("the chat template says: %s", message)
			return nil
		}},
	}
}

func rangeOf(r *run, args []any, named map[string]any) any {
	in := &given{r, "range", args, named}
	from, to, step := 0, 0, 1
	if len(args) == 1 {
		to = in.int("stop", 0)
	} else {
		from, to, step = in.int("start", 0), in.int("stop", 0), in.int("step", 1)
	}
	in.finish()
	if step == 0 || step > 1<<40 || step < -1<<40 || max(from, -from, to, -to) > 1<<40 {
		r.fail("range from %d to %d by %d is not known", from, to, step)
	}
	count := (to - from + step - 1) / step
	if step < 0 {
		count = (to - from + step + 1) / step
	}
	r.listed(max(0, count))
	out := List{}
	for i := range max(0, count) {
		out = append(out, from+i*step)
	}
	return out
}

func dictOf(r *run, args []any, named map[string]any) any {
	if len(args) > 0 {
		r.fail("dict is known with names only")
	}
	if len(named) > 1 {
		r.fail("dict with several names is not known: write {…}") // their order is lost
	}
	d := new(Dict)
	for name, v := range named {
		d.Set(name, v)
	}
	return d
}

func namespaceOf(r *run, args []any, named map[string]any) any {
	n := new(namespace)
	for _, v := range args {
		d, ok := v.(*Dict)
		if !ok {
			r.unsupported("namespace", v)
		}
		for _, key := range d.keys {
			n.fields.Set(key, d.values[key])
		}
	}
	for name, v := range named {
		if strings.HasPrefix(name, "_") {
			r.fail("field %s of a namespace begins with _", name)
		}
		n.fields.Set(name, v)
	}
	return n
}
