package model

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
)

// fields reads a JSON object field by field and remembers which fields were read, so that one that nobody understands can
// be refused. The first error stays; later reads return zero values. A field that is null counts as absent.
type fields struct {
	prefix string // of field names in messages
	raw    map[string]json.RawMessage
	null   map[string]bool // fields that are there and null
	read   map[string]bool
	err    error
}

func parseFields(prefix string, raw []byte) (*fields, error) {
	f := &fields{prefix: prefix, null: map[string]bool{}, read: map[string]bool{}}
	if err := json.Unmarshal(raw, &f.raw); err != nil {
		return nil, err
	}
	for name, v := range f.raw {
		if bytes.Equal(v, []byte("null")) {
			f.null[name] = true
			delete(f.raw, name)
		}
	}
	return f, nil
}

func (f *fields) failf(name, format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf("field %q: %s", f.prefix+name, fmt.Sprintf(format, args...))
	}
}

// has says whether the field is there, and counts it as read.
func (f *fields) has(name string) bool {
	f.read[name] = true
	_, ok := f.raw[name]
	return ok
}

// value decodes a field that is there.
func (f *fields) value(name string, to any, want string) {
	if err := json.Unmarshal(f.raw[name], to); err != nil {
		f.failf(name, "%s is not %s", f.raw[name], want)
	}
}

// required stands for the value of a missing field that must not be missing.
const required = -1

// count reads a whole number in [low, high].
func (f *fields) count(name string, absent, low, high int) int {
	if !f.has(name) {
		if absent == required {
			f.failf(name, "it is missing")
		}
		return absent
	}
	var n int
	f.value(name, &n, "a whole number")
	if n < low || n > high {
		f.failf(name, "%s is not in [%d, %d]", f.raw[name], low, high)
	}
	return n
}

// positive reads a number above 0.
func (f *fields) positive(name string, absent float64) float64 {
	if !f.has(name) {
		if absent == required {
			f.failf(name, "it is missing")
		}
		return absent
	}
	var v float64
	f.value(name, &v, "a number")
	if !(v > 0) || math.IsInf(v, 0) {
		f.failf(name, "%s is not above 0", f.raw[name])
	}
	return v
}

// bool reads a truth value; a missing one is false.
func (f *fields) bool(name string) bool {
	v := false
	if f.has(name) {
		f.value(name, &v, "true or false")
	}
	return v
}

func (f *fields) text(name, absent string) string {
	v := absent
	if f.has(name) {
		f.value(name, &v, "a text")
	}
	return v
}

// must refuses a field that is there with another value than the only one supported.
func (f *fields) must(name string, only any) {
	if !f.has(name) {
		return
	}
	var got any
	f.value(name, &got, "a value")
	want, _ := json.Marshal(only)
	if have, _ := json.Marshal(got); !bytes.Equal(have, want) {
		f.failf(name, "%s is not supported, only %s", f.raw[name], want)
	}
}

// ids reads one id or a list of them.
func (f *fields) ids(name string) []int32 {
	if !f.has(name) {
		return nil
	}
	var one int32
	if json.Unmarshal(f.raw[name], &one) == nil {
		return []int32{one}
	}
	var many []int32
	f.value(name, &many, "a token id or a list of them")
	return many
}

// rest refuses the first field, by name, that was neither read nor is harmless.
func (f *fields) rest(harmless func(name string) bool) {
	for _, name := range slices.Sorted(maps.Keys(f.raw)) {
		if !f.read[name] && !harmless(name) {
			value := f.raw[name]
			if len(value) > 60 {
				value = append(slices.Clone(value[:57]), "..."...)
			}
			f.failf(name, "%s is unknown here and may change the mathematics: this model is not supported, or the field must go", value)
		}
	}
}
