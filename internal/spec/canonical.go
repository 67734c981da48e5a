package spec

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/torctrain/torc/sharding"
)

// JSON is r in canonical form: no spaces, keys sorted, numbers as the shortest decimal that reads back as the same number.
// Equal specs have equal bytes.
func (r *Resolved) JSON() ([]byte, error) {
	tree, err := r.tree()
	if err != nil {
		return nil, err
	}
	return encode(tree)
}

// notResult are the parts of a resolved spec that cannot influence a result.
var notResult = [][]string{
	{"spec", "name"},
	{"spec", "members"},
	{"spec", "checkpoint"},
	{"spec", "reduce", "pack"},
	{"spec", "reduce", "hop_timeout"},
	// Files count by content and role.
	{"spec", "model"},
	{"spec", "data", "train"},
	{"spec", "data", "validation"},
	{"spec", "data", "sources"},
	{"spec", "data", "columns"}, // the files have their own
}

// Hash is the SHA-256 of the result part of r. It panics if r holds a number that JSON has not, which Check refuses.
func (r *Resolved) Hash() [32]byte {
	tree, err := r.resultTree()
	if err != nil {
		panic("spec: Hash of a spec that has not passed Check: " + err.Error())
	}
	text, err := encode(tree)
	if err != nil {
		panic("spec: Hash: " + err.Error())
	}
	return sha256.Sum256(append([]byte("torc spec 1\n"), text...))
}

// resultTree is tree without what cannot influence a result.
func (r *Resolved) resultTree() (map[string]any, error) {
	tree, err := r.tree()
	if err != nil {
		return nil, err
	}
	for _, path := range notResult {
		section := tree
		for _, key := range path[:len(path)-1] {
			section = section[key].(map[string]any)
		}
		delete(section, path[len(path)-1])
	}
	for _, f := range tree["files"].([]any) {
		delete(f.(map[string]any), "path")
	}
	return tree, nil
}

// FromJSON reads what JSON wrote and checks it.
func FromJSON(text []byte) (*Resolved, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	r := &Resolved{Spec: Default("")}
	if err := d.Decode(r); err != nil {
		return nil, fmt.Errorf("read resolved spec: %w", err)
	}
	if d.More() {
		return nil, fmt.Errorf("read resolved spec: more than one JSON value")
	}
	if err := r.Check(); err != nil {
		return nil, fmt.Errorf("read resolved spec: %w", err)
	}
	switch {
	case r.Steps < 1 || r.Epochs != 0:
		return nil, fmt.Errorf("read resolved spec: steps is %d: it has not been resolved", r.Steps)
	case r.Samples < 1:
		return nil, fmt.Errorf("read resolved spec: samples is %d: there is nothing to train on", r.Samples)
	case len(r.Files) == 0:
		return nil, fmt.Errorf("read resolved spec: it names no files")
	}
	for _, f := range r.Files {
		if !(f.Weight >= 0 && f.Weight <= sharding.MaxWeight) {
			return nil, fmt.Errorf("read resolved spec: weight of %s is %v: use at most %d", f.Role, f.Weight, sharding.MaxWeight)
		}
	}
	if err := r.checkBegin(); err != nil {
		return nil, err
	}
	return r, nil
}

// tree is r as maps, whose keys the encoder sorts, and numbers as they stand in its JSON.
func (r *Resolved) tree() (map[string]any, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("write resolved spec: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	tree := map[string]any{}
	return tree, d.Decode(&tree)
}

func encode(tree map[string]any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(tree); err != nil {
		return nil, fmt.Errorf("write resolved spec: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
