package spec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/torctrain/torc/sharding"
)

// Parse reads a spec and fills in the defaults. file names it in errors, which begin with file:line where they concern one.
// set are overrides "a.b=value", each value YAML, applied in order. The result has passed Check.
func Parse(file string, text []byte, set []string) (*Spec, error) {
	root, err := document(file, text)
	if err != nil {
		return nil, err
	}
	d := decoder{at: func(n *yaml.Node) string { return fmt.Sprintf("%s:%d", file, n.Line) }}
	short := &rewriter{decoder: d, sources: map[string][]sharding.Source{}}
	if err := short.rewrite(root, ""); err != nil {
		return nil, err
	}
	var overrides []override
	for _, text := range set {
		o, err := parseOverride(text)
		if err != nil {
			return nil, err
		}
		short.at = func(*yaml.Node) string { return "--set " + text }
		more, err := short.overrides(o)
		if err != nil {
			return nil, err
		}
		overrides = append(overrides, more...)
	}
	s := Default(methodName(root, overrides))
	if err := d.fill(valueOf(&s), root, ""); err != nil {
		return nil, err
	}
	for _, o := range overrides {
		if err := o.apply(&s); err != nil {
			return nil, err
		}
	}
	s.Data.Sources = append(short.sources["data.train"], short.sources["data.validation"]...)
	if s.Data.BadRows == "refuse" {
		s.Data.BadRows = "" // one way to say it
	}
	if err := s.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &s, nil
}

// valueOf is what to points to, to be filled.
func valueOf[T any](to *T) reflect.Value { return reflect.ValueOf(to).Elem() }

// document returns the mapping at the root of the only YAML document in text.
func document(file string, text []byte) (*yaml.Node, error) {
	d := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	if err := d.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: empty: a spec needs model, data, method and steps at least", file)
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one YAML document: a file holds one spec", file)
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: a spec is a mapping of keys to values", file, root.Line)
	}
	return root, nil
}

// override is one "a.b=value".
type override struct {
	text  string
	path  []string
	value *yaml.Node
}

func parseOverride(text string) (override, error) {
	key, value, ok := strings.Cut(text, "=")
	if !ok || key == "" {
		return override{}, fmt.Errorf("--set %s: use key=value, for example optimizer.lr=1e-4", text)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(value), &doc); err != nil {
		return override{}, fmt.Errorf("--set %s: %w", text, err)
	}
	node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	if len(doc.Content) > 0 {
		node = doc.Content[0]
	}
	return override{text, strings.Split(key, "."), node}, nil
}

// apply sets the field that o names.
func (o override) apply(s *Spec) error {
	d := decoder{at: func(*yaml.Node) string { return "--set " + o.text }}
	v := reflect.ValueOf(s).Elem()
	for i, key := range o.path {
		if v.Kind() != reflect.Struct {
			return fmt.Errorf("--set %s: %s has no fields", o.text, strings.Join(o.path[:i], "."))
		}
		prefix := strings.Join(o.path[:i], ".")
		f, ok := field(v, key)
		if !ok {
			return d.unknown(o.value, v, prefix, key)
		}
		v = f
	}
	return d.fill(v, o.value, strings.Join(o.path, "."))
}

// methodName finds method.name before anything else is read, because defaults depend on it.
func methodName(root *yaml.Node, overrides []override) string {
	name := ""
	if section := lookup(root, "method"); section != nil {
		if n := lookup(section, "name"); n != nil {
			name = n.Value
		}
	}
	for _, o := range overrides {
		switch strings.Join(o.path, ".") {
		case "method.name":
			name = o.value.Value
		case "method":
			if n := lookup(o.value, "name"); n != nil {
				name = n.Value
			}
		}
	}
	return name
}

// lookup returns the value of key in a mapping, or nil.
func lookup(n *yaml.Node, key string) *yaml.Node {
	n = resolve(n)
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return resolve(n.Content[i+1])
		}
	}
	return nil
}

// resolve follows an alias (*name) to what it stands for.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}
