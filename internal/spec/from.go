package spec

import (
	"fmt"
	"slices"
	"strings"
)

// StateRole is the role of the file with the State of another run with which a run begins.
const StateRole = "state"

// BeginFrom makes r a run that begins with the State that another run left after step, which is in file. It goes on counting
// steps from there. What the trained values mean must not differ: model, method and seed.
func (r *Resolved) BeginFrom(other *Resolved, step uint64, file File) error {
	differences, err := Differences(r, other)
	if err != nil {
		return err
	}
	differences = slices.DeleteFunc(differences, func(d string) bool {
		return !strings.HasPrefix(d, "method.") && !strings.HasPrefix(d, "seed ") && !strings.HasPrefix(d, "model/")
	})
	if len(differences) > 0 {
		return fmt.Errorf("its State is of the spec with hash %x and cannot begin this run, whose spec has %x: %s", other.Hash(), r.Hash(), strings.Join(differences, "; "))
	}
	if step == 0 || step >= uint64(r.Steps) {
		return fmt.Errorf("its State is of step %d and steps is %d: steps counts those behind the State too, give the run more (--set steps=%d)", step, r.Steps, 2*max(step, 1))
	}
	file.Role = StateRole
	r.Files, r.After = append(slices.Clip(r.Files), file), step
	return nil
}

// checkBegin says what is wrong with where r begins.
func (r *Resolved) checkBegin() error {
	states := 0
	for _, f := range r.Files {
		if f.Role == StateRole {
			states++
		}
	}
	if states > 1 || (states == 1) != (r.After > 0) || r.After >= uint64(r.Steps) {
		return fmt.Errorf("read resolved spec: it begins after step %d of %d with %d States", r.After, r.Steps, states)
	}
	return nil
}
