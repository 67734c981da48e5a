package sharding

import "fmt"

// Config says which files a run reads and how a sample that is too long is treated.
type Config struct {
	// Train are the files to train on: paths or glob patterns, in this order, those of a pattern by name.
	Train []string `yaml:"train" json:"train"`
	// Validation are the files whose loss is measured during the run. Default: none.
	Validation []string `yaml:"validation" json:"validation"`
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
	return nil
}
