package spec

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// decoder fills structs from YAML by their yaml tags. It exists beside the library's because its errors name the file, the
// line, the field by its whole path and the value, and because nothing is dropped in silence.
type decoder struct {
	at func(*yaml.Node) string // where a node stands
}

// fill sets v to what n says. path names v from the root.
func (d decoder) fill(v reflect.Value, n *yaml.Node, path string) error {
	n = resolve(n)
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		return d.duration(v, n, path)
	case v.Kind() == reflect.Struct:
		return d.section(v, n, path)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.String:
		return d.list(v, n, path)
	case v.Kind() == reflect.Map:
		return d.names(v, n, path)
	}
	return d.scalar(v, n, path)
}

// names sets a map of texts.
func (d decoder) names(v reflect.Value, n *yaml.Node, path string) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("%s: %s is %s: use name: name, …", d.at(n), path, show(n))
	}
	all := reflect.MakeMap(v.Type())
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, text := n.Content[i], reflect.New(v.Type().Elem()).Elem()
		if all.MapIndex(reflect.ValueOf(k.Value)).IsValid() {
			return fmt.Errorf("%s: key %q stands twice: remove one", d.at(k), join(path, k.Value))
		}
		if err := d.fill(text, n.Content[i+1], join(path, k.Value)); err != nil {
			return err
		}
		all.SetMapIndex(reflect.ValueOf(k.Value), text)
	}
	v.Set(all)
	return nil
}

func (d decoder) section(v reflect.Value, n *yaml.Node, path string) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("%s: %s is %s: use fields, %s", d.at(n), path, show(n), strings.Join(keys(v.Type()), ", "))
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if line, twice := seen[k.Value]; twice {
			return fmt.Errorf("%s: key %q stands twice, first on line %d: remove one", d.at(k), join(path, k.Value), line)
		}
		seen[k.Value] = k.Line
		f, ok := field(v, k.Value)
		if !ok {
			return d.unknown(k, v, path, k.Value)
		}
		if err := d.fill(f, n.Content[i+1], join(path, k.Value)); err != nil {
			return err
		}
	}
	return nil
}

func (d decoder) list(v reflect.Value, n *yaml.Node, path string) error {
	items := []*yaml.Node{n} // one value is a list of one
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	list := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		if err := d.fill(list.Index(i), item, fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return err
		}
	}
	v.Set(list)
	return nil
}

func (d decoder) duration(v reflect.Value, n *yaml.Node, path string) error {
	t, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		return fmt.Errorf("%s: %s is %s: use a time with its unit, for example 2s or 500ms", d.at(n), path, show(n))
	}
	v.SetInt(int64(t))
	return nil
}

// scalar sets a string, a number or a truth value.
func (d decoder) scalar(v reflect.Value, n *yaml.Node, path string) error {
	want := "a text"
	ok := n.Kind == yaml.ScalarNode && n.Tag != "!!null"
	switch v.Kind() {
	case reflect.String:
		if ok {
			v.SetString(n.Value)
		}
	case reflect.Bool:
		want = "true or false"
		ok = ok && n.Tag == "!!bool" && n.Decode(v.Addr().Interface()) == nil
	case reflect.Float64:
		want = "a number"
		ok = ok && (n.Tag == "!!float" || n.Tag == "!!int") && n.Decode(v.Addr().Interface()) == nil
	case reflect.Int, reflect.Int64:
		want = "a whole number"
		ok = ok && n.Tag == "!!int" && n.Decode(v.Addr().Interface()) == nil
	case reflect.Uint64:
		want = "a whole number from 0 up"
		ok = ok && n.Tag == "!!int" && n.Decode(v.Addr().Interface()) == nil
	default:
		panic("spec: field " + path + " has a type that specs cannot have: " + v.Type().String())
	}
	if !ok {
		return fmt.Errorf("%s: %s is %s: use %s", d.at(n), path, show(n), want)
	}
	return nil
}

// unknown says that section v at path has no field key, and which one may have been meant.
func (d decoder) unknown(at *yaml.Node, v reflect.Value, path, key string) error {
	return fmt.Errorf("%s: unknown key %q, nearest known %q", d.at(at), join(path, key), nearest(v.Type(), path, key))
}

// nearest is the known key most like the unknown one: the field of another section that has this very name, else the field
// of the same section with the fewest letters changed.
func nearest(section reflect.Type, path, key string) string {
	all := keys(section)
	if !slices.ContainsFunc(all, func(k string) bool { return distance(k, key) <= 2 }) {
		for _, known := range paths(reflect.TypeFor[Spec](), "") {
			if known[strings.LastIndexByte(known, '.')+1:] == key {
				return known
			}
		}
	}
	return join(path, slices.MinFunc(all, func(a, b string) int { return distance(a, key) - distance(b, key) }))
}

// paths are all keys below a section, sections and fields, by their whole path.
func paths(section reflect.Type, prefix string) []string {
	var all []string
	for i := range section.NumField() {
		f := section.Field(i)
		k := yamlKey(f)
		if k == "" {
			continue
		}
		all = append(all, join(prefix, k))
		if f.Type.Kind() == reflect.Struct {
			all = append(all, paths(f.Type, join(prefix, k))...)
		}
	}
	return all
}

// keys are the fields of a section in order.
func keys(section reflect.Type) []string {
	var all []string
	for i := range section.NumField() {
		if k := yamlKey(section.Field(i)); k != "" {
			all = append(all, k)
		}
	}
	return all
}

// field returns the field of section v that key names.
func field(v reflect.Value, key string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if k := yamlKey(v.Type().Field(i)); k != "" && k == key {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// yamlKey is the key of a field, or nothing if specs do not have it.
func yamlKey(f reflect.StructField) string {
	k, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	if k == "-" || !f.IsExported() {
		return ""
	}
	return k
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// show is a node as a person wrote it, for an error.
func show(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "empty"
	case n.Tag == "!!str":
		return strconv.Quote(n.Value)
	}
	return n.Value
}

// distance is the number of letters to insert, delete, change or swap with a neighbour to make b out of a.
func distance(a, b string) int {
	two, one := []int(nil), make([]int, len(b)+1)
	for j := range one {
		one[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			changed := one[j-1]
			if a[i-1] != b[j-1] {
				changed++
			}
			row[j] = min(changed, one[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], two[j-2]+1)
			}
		}
		two, one = one, row
	}
	return one[len(b)]
}
