package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/cache"
	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/files"
	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
)

// result is a State of a run: the last one, as the coordinator keeps it under $TORC_HOME/runs/RUN, or a checkpoint.
type result struct {
	spec  *spec.Resolved
	state *checkpoints.State
	base  string // a directory with the base model's files
	cache cache.Dir
}

// openResult reads a run's final State. Its base is laid out apart.
func openResult(home, run string) (*result, error) {
	dir := filepath.Join(home, "runs", run)
	if run == "" || run != filepath.Base(run) {
		return nil, config.Usagef("run %q: not a run's name", run)
	}
	text, err := os.ReadFile(filepath.Join(dir, "spec.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no run %s below %s: `coordinator runs` lists them, --home names another place", run, home)
	}
	if err != nil {
		return nil, err
	}
	r := &result{}
	if r.spec, err = spec.FromJSON(text); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, "spec.json"), err)
	}
	f, err := os.Open(filepath.Join(dir, "state"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("run %s has no final State yet: wait for its end, stop it, or read a checkpoint with --checkpoint newest", run)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if r.state, err = checkpoints.ReadState(f); err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	if r.state.Spec != r.spec.Hash() {
		hash := r.spec.Hash()
		return nil, fmt.Errorf("%s belongs to the spec %x, spec.json beside it has %x: they are of two runs", f.Name(), r.state.Spec[:6], hash[:6])
	}
	return r, nil
}

// factorCache is where decompositions of weights are kept, for nodes and commands of one home alike.
func factorCache(home string) cache.Dir { return cache.Dir(filepath.Join(home, "cache", "factors")) }

// close removes what layOut made.
func (r *result) close() { os.RemoveAll(r.base) }

// layOut makes a directory that looks like the run's base model, out of files found by content: below home, in dir, which may
// be empty, where launch found them, or by fetch, which may be nil.
func (r *result) layOut(home, dir string, fetch func(spec.File) (string, error)) error {
	r.cache = factorCache(home)
	store, paths := files.Under(home), map[string]string{}
	for _, f := range r.spec.Files {
		name, ok := strings.CutPrefix(f.Role, "model/")
		if !ok {
			continue
		}
		hint := f.Path
		if dir != "" {
			hint = filepath.Join(dir, name)
		}
		path, found, err := store.Find(f.SHA256[:], f.Size, hint)
		if err == nil && !found && fetch != nil {
			path, err = fetch(f)
			found = err == nil
		}
		if err != nil {
			return fmt.Errorf("get the base model's %s: %w", name, err)
		}
		if !found {
			return fmt.Errorf("the base model's %s (sha256 %x) is neither at %s nor below %s: put it back, or name a directory that has it with --base", name, f.SHA256[:6], hint, store.Dir)
		}
		paths[name] = path
	}
	var err error
	if r.base, err = os.MkdirTemp("", "torc-base-*"); err != nil {
		return err
	}
	if err := files.LayOut(r.base, paths); err != nil {
		r.close()
		return err
	}
	return nil
}

// weights are the base's weights with the trained values in place.
func (r *result) weights() (*model.Weights, error) {
	w, err := model.Load(r.base)
	if err != nil {
		return nil, err
	}
	m, err := methods.New(r.spec.Method, w, r.spec.Seed)
	if err != nil {
		return nil, err
	}
	methods.UseCache(m, r.cache)
	workers, done, err := oneThreaded()
	if err != nil {
		return nil, err
	}
	defer done()
	return w, r.state.Merge(workers, m, w)
}
