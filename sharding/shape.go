package sharding

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// shape is a set of keys that makes a sample.
type shape struct {
	keys     []string // all must be there, with strings
	optional string   // may be there; "" for none
}

// shapes are tried in this order. Samples with messages are another kind (conversation.go), known here for their name.
var shapes = []shape{
	{keys: []string{"text"}},
	{keys: []string{"prompt", "completion"}},
	{keys: []string{"question", "answer"}},
	{keys: []string{"instruction", "output"}, optional: "input"},
	{keys: []string{"messages"}},
}

func (s shape) String() string {
	keys := slices.Clone(s.keys)
	if s.optional != "" {
		keys = slices.Insert(keys, 1, s.optional)
	}
	return strings.Join(keys, "/")
}

// fields are the texts of a sample, by key. Exactly the keys of one shape are there, but for an optional one.
type fields map[string]string

// parse reads a line and checks that its keys make a known sample: one of the two results.
func parse(raw []byte) (fields, *conversation, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, nil, syntax(err)
	}
	if at := halfPair(raw); at >= 0 {
		return nil, nil, fmt.Errorf("has half a surrogate pair, %s, at byte %d, which is no text: write the whole character or remove it", raw[at:at+6], at+1)
	}
	if object == nil {
		return nil, nil, errors.New("is null: write a JSON object")
	}
	c, err := parseConversation(object)
	if c != nil || err != nil {
		return nil, c, err
	}
	f, err := parseFields(object)
	return f, nil, err
}

func parseFields(object map[string]json.RawMessage) (fields, error) {
	s, err := findShape(object)
	if err != nil {
		return nil, err
	}
	f := make(fields, len(object))
	for key, value := range object {
		if key == s.optional && string(value) == "null" {
			continue
		}
		var text string
		if value[0] != '"' {
			return nil, fmt.Errorf("%q is not a string: %s samples are made of strings", key, s)
		}
		if err := json.Unmarshal(value, &text); err != nil {
			return nil, syntax(err)
		}
		f[key] = text
	}
	if text, ok := f["text"]; ok && text == "" {
		return nil, errors.New(`"text" is empty: remove the line`)
	}
	return f, nil
}

// findShape returns the shape that has exactly the keys of object.
func findShape(object map[string]json.RawMessage) (shape, error) {
	best, least := shape{}, math.MaxInt // the shape that shares most keys, then the one with the likeliest misspelling
	for _, s := range shapes {
		missing, extra := s.compare(object)
		if len(missing)+len(extra) == 0 {
			return s, nil
		}
		if cost := distance(missing, extra) - 1000*(len(object)-len(extra)); cost < least {
			best, least = s, cost
		}
	}
	missing, extra := best.compare(object)
	var parts []string
	if len(missing) > 0 {
		parts = append(parts, "it lacks "+quoted(missing))
	}
	if len(extra) > 0 {
		parts = append(parts, "it does not have "+quoted(extra))
	}
	return shape{}, fmt.Errorf("keys %s make no known sample; nearest is %s, where %s: rename or remove keys",
		quoted(slices.Sorted(maps.Keys(object))), best, strings.Join(parts, " and "))
}

// compare returns the keys that the shape has and object lacks, and those that object has beyond it, sorted.
func (s shape) compare(object map[string]json.RawMessage) (missing, extra []string) {
	for _, key := range s.keys {
		if _, ok := object[key]; !ok {
			missing = append(missing, key)
		}
	}
	for key := range object {
		if !slices.Contains(s.keys, key) && (key != s.optional || key == "") {
			extra = append(extra, key)
		}
	}
	slices.Sort(extra)
	return missing, extra
}

// distance tells how far keys are from a shape: what each missing one differs from the nearest extra one, and how many
// extra ones are left over.
func distance(missing, extra []string) int {
	const apart = 100 // more than any two words need
	cost := 0
	for _, m := range missing {
		nearest := apart
		for _, e := range extra {
			nearest = min(nearest, edits(m, strings.ToLower(e)))
		}
		cost += min(nearest*10, apart)
	}
	return cost + max(0, len(extra)-len(missing))*5
}

// edits returns the number of bytes to insert, delete or change to make b of a.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0]++
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// halfPair returns where valid JSON first escapes one half of a surrogate pair without the other, −1 if it does not.
// Libraries disagree on what that stands for: an error, U+FFFD or bytes that are not UTF-8.
func halfPair(raw []byte) int {
	unit := func(at int) uint64 { // the UTF-16 unit escaped there, 0 if there is none
		if at+6 > len(raw) || raw[at] != '\\' || raw[at+1] != 'u' {
			return 0
		}
		u, _ := strconv.ParseUint(string(raw[at+2:at+6]), 16, 16)
		return u
	}
	for at := 0; at < len(raw); at++ {
		if raw[at] != '\\' {
			continue
		}
		switch u := unit(at); {
		case u>>10 == 0x36 && unit(at+6)>>10 == 0x37:
			at += 6 + 5
		case u>>11 == 0x1b:
			return at
		default:
			at++ // of an escape, the rest is no backslash
		}
	}
	return -1
}

// quotedAll lists keys for people.
func quotedAll(keys []string) string {
	var out []string
	for _, key := range keys {
		out = append(out, fmt.Sprintf("%q", key))
	}
	return strings.Join(out, ", ")
}

func quoted(keys []string) string {
	if len(keys) == 0 {
		return "(none)"
	}
	const most = 8
	var out []string
	for _, key := range keys[:min(most, len(keys))] {
		if len(key) > 40 {
			key = key[:40] + "…"
		}
		out = append(out, fmt.Sprintf("%q", key))
	}
	if len(keys) > most {
		out = append(out, "…")
	}
	return strings.Join(out, ", ")
}
