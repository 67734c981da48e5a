package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/cache"
	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/files"
	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
)

// result is an ended run as the coordinator keeps it under $TORC_HOME/runs/RUN.
type result struct {
	spec  *spec.Resolved
	state *checkpoints.State
	base  string // a directory with the base model's files
	cache cache.Dir
}

// openResult reads a run's final State and finds its base model by content.
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
	r := &result{cache: factorCache(home)}
	if r.spec, err = spec.FromJSON(text); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, "spec.json"), err)
	}
	f, err := os.Open(filepath.Join(dir, "state"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("run %s has no final State yet: wait for its end, or stop it", run)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if r.state, err = checkpoints.ReadState(f); err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	if r.state.Spec != r.spec.Hash() {
		return nil, fmt.Errorf("%s belongs to another spec (%x) than %s (%x)", f.Name(), r.state.Spec[:6], "spec.json", sha256.Sum256(text))
	}
	r.base, err = layOutBase(home, r.spec)
	return r, err
}

// factorCache is where decompositions of weights are kept, for nodes and commands of one home alike.
func factorCache(home string) cache.Dir { return cache.Dir(filepath.Join(home, "cache", "factors")) }

// close removes what openResult laid out.
func (r *result) close() { os.RemoveAll(r.base) }

// layOutBase makes a directory that looks like the run's base model, out of files found by content.
func layOutBase(home string, s *spec.Resolved) (string, error) {
	store, paths := files.Under(home), map[string]string{}
	for _, f := range s.Files {
		name, ok := strings.CutPrefix(f.Role, "model/")
		if !ok {
			continue
		}
		path, found, err := store.Find(f.SHA256[:], f.Size, f.Path)
		if err != nil {
			return "", err
		}
		if !found {
			return "", fmt.Errorf("the base model's %s (sha256 %x) is neither at %s nor below %s: put it back", name, f.SHA256[:6], f.Path, store.Dir)
		}
		paths[name] = path
	}
	dir, err := os.MkdirTemp("", "torc-base-*")
	if err != nil {
		return "", err
	}
	if err := files.LayOut(dir, paths); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
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
	var workers []model.Kernels
	for range runtime.NumCPU() {
		k, err := cpu.New(1, cpu.Auto)
		if err != nil {
			return nil, err
		}
		defer k.Close()
		workers = append(workers, k)
	}
	return w, r.state.Merge(workers, m, w)
}
