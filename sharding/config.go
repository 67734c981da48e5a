package sharding

import (
	"encoding/hex"
	"fmt"
	"slices"
)

// Config says which files a run reads and how a sample that is too long is treated.
type Config struct {
	// Train are the files to train on: paths or glob patterns, in this order, those of a pattern by name.
	Train []string `yaml:"train" json:"train"`
	// Validation are the files whose loss is measured during the run. Default: none.
	Validation []string `yaml:"validation" json:"validation"`
	// Sources are the entries of Train and Validation of which more is said than their path. Default: none.
	Sources []Source `yaml:"-" json:"sources,omitempty"`
	// Columns say which keys of the files' objects make the samples. Default: none, their own.
	Columns Columns `yaml:"columns" json:"columns,omitempty"`
	// Split is what of the training samples is held out and measured in place of Validation: below 1 a share, else a
	// number. Default 0: nothing. Which samples these are follows from the seed.
	Split float64 `yaml:"split" json:"split,omitempty"`
	// BadRows says what happens to rows that are no samples: "refuse" ends the launch naming file and line, "skip" counts
	// them and passes over. Default "refuse", which is written as nothing.
	BadRows string `yaml:"bad_rows" json:"bad_rows,omitempty"`
	// MaxTokens is the longest sample in tokens. Default 512; at least 2.
	MaxTokens int `yaml:"max_tokens" json:"max_tokens"`
	// Overflow says what happens to a longer sample: "truncate" cuts its end, "refuse" ends the run naming file and line.
	// Default "truncate".
	Overflow string `yaml:"overflow" json:"overflow"`
}

// Default returns the configuration before a spec says anything.
func Default() Config { return Config{MaxTokens: 512, Overflow: "truncate"} }

// Validate names the first field that has a value it must not have, and what it may be.
func (c Config) Validate() error {
	switch {
	case c.MaxTokens < 2 || c.MaxTokens > 1<<20:
		return fmt.Errorf("data.max_tokens is %d: use 2 to %d", c.MaxTokens, 1<<20)
	case c.Overflow != "truncate" && c.Overflow != "refuse":
		return fmt.Errorf("data.overflow is %q: use truncate or refuse", c.Overflow)
	}
	return c.validateSources()
}

func (c Config) validateSources() error {
	switch {
	case !(c.Split >= 0 && c.Split <= 1<<40) || c.Split >= 1 && c.Split != nearest(c.Split):
		return fmt.Errorf("data.split is %v: use a share below 1 or a whole number of samples", c.Split)
	case c.Split > 0 && len(c.Validation) > 0:
		return fmt.Errorf("data.split is %v and data.validation names files: give one of them", c.Split)
	case c.BadRows != "" && c.BadRows != "refuse" && c.BadRows != "skip":
		return fmt.Errorf("data.bad_rows is %q: use refuse or skip", c.BadRows)
	}
	if err := c.Columns.Validate("data.columns"); err != nil {
		return err
	}
	for _, s := range c.Sources {
		sum, err := hex.DecodeString(s.SHA256)
		switch {
		case !(s.Weight == 0 || s.Weight >= 1e-6 && s.Weight <= MaxWeight):
			return fmt.Errorf("weight of %q is %v: use a number above 0, at most %d", s.Path, s.Weight, MaxWeight)
		case s.Weight != 0 && !slices.Contains(c.Train, s.Path):
			return fmt.Errorf("weight of %q is %v: only files of data.train have weights", s.Path, s.Weight)
		case err != nil || len(sum) != 0 && len(sum) != 32:
			return fmt.Errorf("sha256 of %q is %q: write the 64 digits of a SHA-256", s.Path, s.SHA256)
		}
		if err := s.Columns.Validate("columns of " + s.Path); err != nil {
			return err
		}
	}
	return nil
}

// Source is what is said of a path, with c's columns unless it has its own.
func (c Config) Source(path string) Source {
	out := Source{Path: path}
	for _, s := range c.Sources {
		if s.Path == path {
			out = s
		}
	}
	if out.Columns == nil {
		out.Columns = c.Columns
	}
	return out
}

// Part is what of its files a run trains on, or with held what it validates on.
func (c Config) Part(seed uint64, held bool) Part {
	return Part{Split: c.Split, Held: held && c.Split > 0, Seed: seed, SkipBad: c.BadRows == "skip"}
}
