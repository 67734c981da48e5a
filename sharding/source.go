package sharding

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Source says how the samples of one of a run's paths are used, where that is not as usual.
type Source struct {
	// Path is the entry of Train or Validation that it belongs to.
	Path string `json:"path"`
	// Weight is how often an epoch has each sample of the files, on average. Default 1; above 0, at most MaxWeight.
	Weight float64 `json:"weight,omitempty"`
	// Columns take the place of Config.Columns for these files.
	Columns Columns `json:"columns,omitempty"`
	// SHA256 in hex is what a fetched file must have. Default: any.
	SHA256 string `json:"sha256,omitempty"`
}

// MaxWeight bounds Source.Weight: more is a mistake, or a matter of epochs.
const MaxWeight = 1000

// Columns name the keys of a file's objects that hold what a sample needs: sample's key → file's key. Keys of the file
// that are not named are passed over. A file's key that is not there as it is written may be a path: a.b is key b of the
// object at key a. Empty: the file's keys are the sample's.
type Columns map[string]string

// Validate names the first key that no sample has.
func (c Columns) Validate(field string) error {
	for _, key := range slices.Sorted(maps.Keys(c)) {
		known := append(slices.Clone(optionalKeys), conversationKeys...)
		for _, s := range shapes {
			known = append(known, s.keys...)
		}
		switch {
		case !slices.Contains(known, key):
			return fmt.Errorf("%s has key %q: samples have %s", field, key, quotedAll(known))
		case c[key] == "":
			return fmt.Errorf("%s.%s is empty: name the key that the file has", field, key)
		}
	}
	return nil
}

// optionalKeys are those that a sample may lack.
var optionalKeys = []string{"input", "tools", "system"}

// text is the same for equal columns; empty for none.
func (c Columns) text() string {
	if len(c) == 0 {
		return ""
	}
	text, _ := json.Marshal(c) // a map of strings always has a form, its keys sorted
	return string(text)
}

// apply writes line with the sample's keys, sorted. A column that may be missing and is, or is null, is left out.
func (c Columns) apply(line []byte) ([]byte, error) {
	if len(c) == 0 {
		return line, nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(line, &object); err != nil {
		return nil, syntax(err)
	}
	var out bytes.Buffer
	for _, key := range slices.Sorted(maps.Keys(c)) {
		value, ok := find(object, c[key])
		if may := slices.Contains(optionalKeys, key); may && (!ok || string(value) == "null") {
			continue
		}
		if !ok {
			return nil, fmt.Errorf("has no %q, which data.columns names for %q; it has %s", c[key], key, quoted(slices.Sorted(maps.Keys(object))))
		}
		name, _ := json.Marshal(key) // a string always has a form in JSON
		out.WriteByte(",{"[bit(out.Len() == 0)])
		out.Write(name)
		out.WriteByte(':')
		out.Write(value)
	}
	if out.Len() == 0 {
		return nil, errors.New("has none of the keys that data.columns names")
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// find returns what is at a key, or at a path.
func find(object map[string]json.RawMessage, path string) (json.RawMessage, bool) {
	if value, ok := object[path]; ok {
		return value, true
	}
	key, rest, more := strings.Cut(path, ".")
	var inner map[string]json.RawMessage
	if !more || json.Unmarshal(object[key], &inner) != nil {
		return nil, false
	}
	return find(inner, rest)
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Part says which samples of its files a dataset has. The zero value is all of them, each once per weight.
type Part struct {
	// Split is what is held out for validation: below 1 a share of all samples, else their number. 0: nothing.
	Split float64
	// Held makes the dataset that which is held out, each sample once; else it is the rest.
	Held bool
	// Seed chooses what is held out, and which samples a weight with a fraction takes.
	Seed uint64
	// SkipBad passes over rows that are no samples instead of refusing them.
	SkipBad bool
}

// Streams of random numbers, apart from each other and from all others drawn from a run's seed.
const (
	streamSplit  = 0x73706c6974
	streamWeight = 0x776569676874
)

// heldOut is the number of n samples that are held out.
func (p Part) heldOut(n int) (int, error) {
	k := p.Split
	if k < 1 {
		k = nearest(float64(k * float64(n)))
	}
	if k < 1 || k >= float64(n) {
		return 0, fmt.Errorf("data.split is %v of %d samples: it must leave at least one on either side", p.Split, n)
	}
	return int(k), nil
}

// nearest rounds a half up.
func nearest(x float64) float64 { return math.Floor(x + 0.5) }
