package checkpoints

import (
	"fmt"
	"strconv"
)

// Config says when checkpoints are taken and how they are kept. It is no part of the result. The zero value is not valid:
// start from Default.
type Config struct {
	// Every is the number of steps from one checkpoint to the next. Default 100; 0 means that none are taken. A crash
	// costs half of it on average, in steps that are made again.
	Every int `yaml:"every" json:"every"`
	// Keep is how many of the newest committed checkpoints stay. Default 2; 2 to 1000. One alone would be deleted by a
	// member that has heard of the next one while others have not.
	Keep int `yaml:"keep" json:"keep"`
	// KeepBest is how many stay besides, those with the lowest validation loss. Default 0; 0 to 1000.
	KeepBest int `yaml:"keep_best" json:"keep_best"`
	// Data is the number of pieces that make a checkpoint whole; each has 1/Data of the state's bytes. It is fixed for a
	// run. More pieces spread over more members and cost each less disk. Default 4; 1 to 64.
	Data int `yaml:"data" json:"data"`
	// Parity is how many members may be lost, with their disks, without loss of a checkpoint: a number, or "auto" for
	// DefaultParity. Default "auto"; 0 to 64.
	Parity string `yaml:"parity" json:"parity"`
	// Mirror is a directory, as every member sees it, to which members copy the pieces of committed checkpoints: shared or
	// object storage that is mounted. Default: none.
	Mirror string `yaml:"mirror" json:"mirror,omitempty"`
}

const (
	maxKept   = 1000
	maxData   = 64
	maxParity = 64
)

// Default returns the configuration used where a spec says nothing.
func Default() Config { return Config{Every: 100, Keep: 2, Data: 4, Parity: "auto"} }

// Validate reports the first field out of range.
func (c Config) Validate() error {
	switch {
	case c.Every < 0:
		return fmt.Errorf("checkpoint.every is %d: use a number of steps, or 0 for no checkpoints", c.Every)
	case c.Keep < 2 || c.Keep > maxKept:
		return fmt.Errorf("checkpoint.keep is %d: use 2 to %d", c.Keep, maxKept)
	case c.KeepBest < 0 || c.KeepBest > maxKept:
		return fmt.Errorf("checkpoint.keep_best is %d: use 0 to %d", c.KeepBest, maxKept)
	case c.Data < 1 || c.Data > maxData:
		return fmt.Errorf("checkpoint.data is %d: use 1 to %d", c.Data, maxData)
	}
	if c.Parity == "auto" {
		return nil
	}
	if n, err := strconv.Atoi(c.Parity); err != nil || n < 0 || n > maxParity {
		return fmt.Errorf("checkpoint.parity is %q: use auto or a number of members, 0 to %d", c.Parity, maxParity)
	}
	return nil
}

// Losses is Parity for a view of this many members: how many of them may be lost. A lone member can lose none, and no view
// all of its members. c must be valid.
func (c Config) Losses(members int) int {
	n, err := strconv.Atoi(c.Parity)
	if err != nil {
		n = DefaultParity(members)
	}
	return max(0, min(n, members-1))
}

// Due says whether a checkpoint is taken after step.
func (c Config) Due(step uint64) bool { return c.Every > 0 && step > 0 && step%uint64(c.Every) == 0 }
