package jinja

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
)

// Decode reads one JSON value with the order of its keys.
func Decode(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := decode(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("data behind the JSON value")
	}
	return v, nil
}

func decode(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	if depth > maxNesting {
		return nil, fmt.Errorf("nested deeper than %d", maxNesting)
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '[' {
			return decodeList(d, depth)
		}
		return decodeDict(d, depth)
	case json.Number:
		if n, err := strconv.Atoi(t.String()); err == nil {
			return n, nil
		}
		if !strings.ContainsAny(t.String(), ".eE") {
			return nil, fmt.Errorf("number %s is too large", t)
		}
		return t.Float64()
	}
	return t, nil // string, bool or nil
}

func decodeList(d *json.Decoder, depth int) (any, error) {
	l := List{}
	for d.More() {
		v, err := decode(d, depth+1)
		if err != nil {
			return nil, err
		}
		l = append(l, v)
	}
	_, err := d.Token()
	return l, err
}

func decodeDict(d *json.Decoder, depth int) (any, error) {
	dict := new(Dict)
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		v, err := decode(d, depth+1)
		if err != nil {
			return nil, err
		}
		dict.Set(key.(string), v)
	}
	_, err := d.Token()
	return dict, err
}

// jsonWriter writes as Python's json.dumps does.
type jsonWriter struct {
	*run
	out             strings.Builder
	indent          string
	pretty          bool
	between, behind string // items, and a key
	ascii, sorted   bool
}

// filterJSON is tojson as transformers defines it.
func filterJSON(in *given, v any) any {
	w := &jsonWriter{run: in.run, between: ", ", behind: ": "}
	w.ascii = truth(in.take("ensure_ascii", false))
	switch indent := in.take("indent", nil).(type) {
	case nil:
	case int:
		in.grown(max(indent, 0))
		w.pretty, w.indent, w.between = true, strings.Repeat(" ", max(indent, 0)), ","
	case string:
		w.pretty, w.indent, w.between = true, indent, ","
	default:
		in.fail("tojson needs a number or a string as indent")
	}
	if s := in.take("separators", nil); s != nil {
		pair := in.iterate(s)
		if len(pair) != 2 {
			in.fail("tojson needs two separators")
		}
		w.between, w.behind = in.show(pair[0]), in.show(pair[1])
	}
	w.sorted = truth(in.take("sort_keys", false))
	w.value(v, 0)
	return w.out.String()
}

func (w *jsonWriter) value(v any, depth int) {
	w.work(1)
	if depth > maxNesting {
		w.fail("tojson: nested deeper than %d", maxNesting)
	}
	if w.out.Len() > maxValueBytes {
		w.grown(w.out.Len())
	}
	switch v := v.(type) {
	case nil:
		w.out.WriteString("null")
	case bool:
		w.out.WriteString(strconv.FormatBool(v))
	case int:
		w.out.WriteString(strconv.Itoa(v))
	case float64:
		w.out.WriteString(strings.NewReplacer("inf", "Infinity", "nan", "NaN").Replace(showFloat(v)))
	case string:
		w.text(v)
	case List:
		w.items("[", "]", len(v), depth, func(i int) { w.value(v[i], depth+1) })
	case tuples:
		w.items("[", "]", len(v), depth, func(i int) { w.value(v[i], depth+1) })
	case *Dict:
		keys := v.keys
		if w.sorted {
			keys = append([]string(nil), keys...)
			sort.Strings(keys)
		}
		w.items("{", "}", len(keys), depth, func(i int) {
			w.text(keys[i])
			w.out.WriteString(w.behind)
			w.value(v.values[keys[i]], depth+1)
		})
	case undefined:
		w.fail("tojson: %s", v.why)
	default:
		w.fail("tojson: a %s is no JSON", typeName(v))
	}
}

func (w *jsonWriter) items(opening, closing string, n, depth int, each func(i int)) {
	w.out.WriteString(opening)
	for i := range n {
		if i > 0 {
			w.out.WriteString(w.between)
		}
		w.line(depth + 1)
		each(i)
	}
	if n > 0 {
		w.line(depth)
	}
	w.out.WriteString(closing)
}

func (w *jsonWriter) line(depth int) {
	if !w.pretty {
		return
	}
	w.grown(w.out.Len() + depth*len(w.indent))
	w.out.WriteByte('\n')
	for range depth {
		w.out.WriteString(w.indent)
	}
}

var jsonEscapes = map[rune]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\b': `\b`, '\f': `\f`}

func (w *jsonWriter) text(s string) {
	w.charge(s)
	w.out.WriteByte('"')
	for _, c := range s {
		escape, ok := jsonEscapes[c]
		switch {
		case ok:
			w.out.WriteString(escape)
		case c < ' ' || w.ascii && c > '~' && c < 0x10000:
			fmt.Fprintf(&w.out, `\u%04x`, c)
		case w.ascii && c > '~':
			c -= 0x10000
			fmt.Fprintf(&w.out, `\u%04x\u%04x`, 0xd800+c>>10, 0xdc00+c&0x3ff)
		default:
			w.out.WriteRune(c)
		}
	}
	w.out.WriteByte('"')
}
