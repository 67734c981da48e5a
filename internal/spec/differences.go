package spec

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Differences says in words what of the result part of there is not as in here: every field by its path with both values,
// and every file whose content is another. Specs of equal hashes have none.
func Differences(here, there *Resolved) ([]string, error) {
	a, err := here.resultTree()
	if err != nil {
		return nil, err
	}
	b, err := there.resultTree()
	if err != nil {
		return nil, err
	}
	mine, theirs := filesByRole(a), filesByRole(b)
	delete(a, "files")
	delete(b, "files")
	if section, ok := a["spec"].(map[string]any); ok { // its fields are the spec's own
		delete(a, "spec")
		maps.Copy(a, section)
	}
	if section, ok := b["spec"].(map[string]any); ok {
		delete(b, "spec")
		maps.Copy(b, section)
	}
	found := differ(nil, "", a, b)
	for _, role := range union(mine, theirs) {
		switch {
		case mine[role] == "":
			found = append(found, role+" is not in this one")
		case theirs[role] == "":
			found = append(found, role+" is not in the other")
		case mine[role] != theirs[role]:
			found = append(found, role+" is another file")
		}
	}
	return found, nil
}

// differ appends the fields below path that differ.
func differ(found []string, path string, here, there map[string]any) []string {
	for _, key := range union(here, there) {
		a, b := here[key], there[key]
		sectionA, nestedA := a.(map[string]any)
		sectionB, nestedB := b.(map[string]any)
		if nestedA || nestedB {
			found = differ(found, join(path, key), sectionA, sectionB)
		} else if x, y := text(a), text(b); x != y {
			found = append(found, fmt.Sprintf("%s is %s, there %s", join(path, key), x, y))
		}
	}
	return found
}

// text is a value as it stands in JSON; a field that a spec does not write has its default.
func text(v any) string {
	if v == nil {
		return "its default"
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// filesByRole are the files of a tree, each as text.
func filesByRole(tree map[string]any) map[string]string {
	all := map[string]string{}
	list, _ := tree["files"].([]any)
	for _, f := range list {
		if file, ok := f.(map[string]any); ok {
			all[fmt.Sprint(file["role"])] = text(file)
		}
	}
	return all
}

// union are the keys of both, ascending.
func union[V any](a, b map[string]V) []string {
	all := map[string]bool{}
	for k := range a {
		all[k] = true
	}
	for k := range b {
		all[k] = true
	}
	return slices.Sorted(maps.Keys(all))
}
