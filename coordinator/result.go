package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/coordinator/control"
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
	if r.state, err = readFinal(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("run %s has no final State yet: wait for its end, stop it, or read a checkpoint with --checkpoint newest", run)
	}
	if err != nil {
		return nil, err
	}
	if r.state.Spec != r.spec.Hash() {
		hash := r.spec.Hash()
		return nil, fmt.Errorf("the State in %s belongs to the spec %x, spec.json beside it has %x: they are of two runs", dir, r.state.Spec[:6], hash[:6])
	}
	return r, nil
}

// readFinal reads the final State of the run whose directory is dir, and makes sure that it is still the one that was kept.
func readFinal(dir string) (*checkpoints.State, error) {
	f, err := os.Open(filepath.Join(dir, "state"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	state, err := checkpoints.ReadState(io.TeeReader(f, h))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "result.json"))
	if errors.Is(err, fs.ErrNotExist) { // it comes a moment after State
		return state, nil
	}
	var result control.Result
	if err == nil {
		err = json.Unmarshal(text, &result)
	}
	if err != nil {
		return nil, fmt.Errorf("read result.json in %s: %w", dir, err)
	}
	if got := fmt.Sprintf("%x", h.Sum(nil)); got != result.Digest {
		return nil, fmt.Errorf("%s has the digest %.12s, result.json beside it says %.12s: the disk has changed it, or the run has just ended again; "+
			"read a checkpoint with --checkpoint newest", f.Name(), got, result.Digest)
	}
	return state, nil
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
