package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/hub"
	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/model"
)

// sources finds models and data that are named by a path, by a URL or by their place in a hub.
type sources struct{ hub *hub.Client }

// newSources is set up by the settings of cmd and the environment; what a person may want to know goes to standard error.
func newSources(cmd *cobra.Command) (*sources, error) {
	settings, err := config.Load(cmd.Flags(), "coordinator")
	if err != nil {
		return nil, config.Kind(config.ErrUsage, err)
	}
	c, err := hub.New(os.Getenv, settings.Home)
	if err != nil {
		return nil, err
	}
	c.Note = func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) }
	return &sources{c}, nil
}

// model is the directory of a model. A model of a hub that torc does not know is refused before its weights are fetched.
// A relative path starts in dir.
func (s *sources) model(ctx context.Context, name, dir string) (string, error) {
	place, ok, err := s.hub.Model(ctx, below(dir, name), func(dir string) error {
		_, err := model.ReadConfig(dir)
		return err
	})
	if err != nil || ok {
		return place, err
	}
	return within(dir, name), nil
}

// config is the directory of a model's configuration and tokenizer, whose weights need not be there. A relative path starts in dir.
func (s *sources) config(ctx context.Context, name, dir string) (string, error) {
	enough := errors.New("no weights are needed")
	base := ""
	place, ok, err := s.hub.Model(ctx, below(dir, name), func(dir string) error {
		base = dir
		return enough
	})
	switch {
	case errors.Is(err, enough):
		return base, nil
	case err != nil || ok:
		return place, err
	}
	return within(dir, name), nil
}

// find fetches what a spec names and is no path below dir.
func (s *sources) find(ctx context.Context, of *spec.Spec, dir string) (spec.Found, error) {
	found, err := s.findData(ctx, of)
	if err != nil {
		return nil, err
	}
	place, err := s.model(ctx, of.Model, dir)
	if err == nil {
		found[of.Model] = []string{place}
	}
	return found, err
}

// findData fetches data alone.
func (s *sources) findData(ctx context.Context, of *spec.Spec) (spec.Found, error) {
	found := spec.Found{}
	for _, names := range [][]string{of.Data.Train, of.Data.Validation} {
		for _, name := range names {
			if !hub.Remote(name) {
				continue
			}
			paths, err := s.hub.Data(ctx, name, of.Data.Source(name).SHA256)
			if err != nil {
				return nil, err
			}
			found[name] = paths
		}
	}
	return found, nil
}

// below is name as seen from dir, if that is something; else it is left to mean a model of a hub.
func below(dir, name string) string {
	if path := within(dir, name); !hub.Remote(name) && exists(path) {
		return path
	}
	return name
}

// within is path as seen from dir.
func within(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
