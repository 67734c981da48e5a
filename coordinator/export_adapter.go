package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"github.com/torctrain/torc/checkpoints/adapter"
	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
)

// exportFormats are what export writes.
const exportFormats = "hf (a model), peft (a LoRA adapter of lora, pissa or sorsa), shira (a SHiRA adapter of lift with one set) or delta (a file for coordinator delta)"

// checkFormat refuses what is no format of export.
func checkFormat(format string) error {
	switch format {
	case "hf", "peft", "shira", "delta":
		return nil
	}
	return config.Usagef("--format %s: use %s", format, exportFormats)
}

// exportAdapter writes what a run changed of its base, in any format but hf.
func (r *result) exportAdapter(out, format string) error {
	d, err := r.delta()
	if err != nil {
		return err
	}
	switch format {
	case "peft":
		return d.WriteLoRA(out, r.spec.Model)
	case "shira":
		return d.WriteSHiRA(out, r.spec.Model)
	}
	return writeDelta(d, out)
}

// writeDelta writes a delta to a file that must not exist.
func writeDelta(d *adapter.Delta, out string) error {
	if err := mustBeNew(out); err != nil {
		return err
	}
	return d.Write(out)
}

// mustBeNew refuses a name that something has.
func mustBeNew(path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s exists: remove it or choose another name", path)
	}
	return nil
}

// delta is what the run changed.
func (r *result) delta() (*adapter.Delta, error) {
	base, err := model.Load(r.base)
	if err != nil {
		return nil, err
	}
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
	if err := methods.Prepare(m, workers, w); err != nil {
		return nil, err
	}
	start := m.Start(w)
	if err := r.state.Apply(m, w); err != nil {
		return nil, err
	}
	d, err := adapter.Of(m, r.state.Theta, start, base, r.spec.Method.Name)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", r.spec.Name, err)
	}
	return d, nil
}

// oneThreaded are kernels of one thread, one for each processor, until done.
func oneThreaded() (workers []model.Kernels, done func(), err error) {
	var all []*cpu.Kernels
	done = func() {
		for _, k := range all {
			k.Close()
		}
	}
	for range runtime.NumCPU() {
		k, err := cpu.New(1, cpu.Auto)
		if err != nil {
			done()
			return nil, nil, err
		}
		all, workers = append(all, k), append(workers, k)
	}
	return workers, done, nil
}
