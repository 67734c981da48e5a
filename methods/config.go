package methods

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Config chooses a method and its budget. Fields of other methods than the named one must be zero.
type Config struct {
	// Name is the method: "lift", "s2ft", "sorsa", "pissa", "lora" or "full".
	Name string `yaml:"name" json:"name"`
	// Modules says which weights are trained. full: "all" (the default: with embeddings, norms, biases and head) or
	// "linear" (the seven projections). lift: "linear" (the default) or "mlp" (gate, up and down). The others train the projections
	// and have no such field.
	Modules string `yaml:"modules" json:"modules,omitempty"`

	// Rank is the budget of lift: an (m, n) weight trains min((m+n)·Rank, m·n) values, as many as low-rank factors of
	// that rank would have. For sorsa, pissa and lora it is that rank, at most the smaller side of every projection.
	// Default 16, which is 4.6 % of a 135M model and 0.6 % of an 8B one.
	Rank int `yaml:"rank" json:"rank,omitempty"`
	// Density, in (0, 1], is the budget of lift as a share of each weight. 0, the default, leaves the budget to Rank.
	Density float64 `yaml:"density" json:"density,omitempty"`
	// Filter is the rank of the approximation W′ whose largest entries lift trains. Default 0: Rank.
	Filter int `yaml:"filter" json:"filter,omitempty"`
	// Refresh is the number of steps between two selections. Default 400; a fifth of the run is a good value, since the
	// set then follows the weights. 0 keeps the first selection.
	Refresh int `yaml:"refresh" json:"refresh,omitempty"`
	// Lead is how many steps before a refresh its selection starts, in the background, on the weights of that moment.
	// Default 0: the refresh waits for it. Less than Refresh.
	Lead int `yaml:"lead" json:"lead,omitempty"`

	// O, Down, V and Up are the budget of s2ft, as shares of what the whole model has, rounded down: heads whose columns of O
	// are trained, channels of the MLP whose columns of Down are, key-value heads whose rows of V are, channels whose rows of
	// Up are. Defaults 0.052, 0.02, 0 and 0, 1 % of a 135M model.
	O    float64 `yaml:"o" json:"o,omitempty"`
	Down float64 `yaml:"down" json:"down,omitempty"`
	V    float64 `yaml:"v" json:"v,omitempty"`
	Up   float64 `yaml:"up" json:"up,omitempty"`
	// Select is how s2ft chooses heads and channels: "random", by the run's seed.
	Select string `yaml:"select" json:"select,omitempty"`

	// Lambda is the weight of sorsa's penalty, which is a mean over all factors: a number from 0 up, "published" (0.2083, the
	// default: what the authors' runs had) or "paper" (13.33: what the paper's formula gives with their settings). 0 is no penalty.
	Lambda string `yaml:"lambda" json:"lambda,omitempty"`
	// Penalty is how sorsa measures the distance of a factor from orthonormality: "frobenius" (the default, as published),
	// "smoothed" (differentiable at 0) or "squared".
	Penalty string `yaml:"penalty" json:"penalty,omitempty"`
	// Alpha scales the low-rank path by Alpha/Rank. Default 0: sorsa does not scale it, lora takes twice the rank.
	Alpha float64 `yaml:"alpha" json:"alpha,omitempty"`
	// RSLoRA makes that Alpha/√Rank (lora).
	RSLoRA bool `yaml:"rslora" json:"rslora,omitempty"`
	// Dropout, in [0, 1), is the share of a weight's input that lora's path does not see in training, drawn anew for each
	// weight, token, lane and step by the run's seed. Default 0.
	Dropout float64 `yaml:"dropout" json:"dropout,omitempty"`
}

// Default returns the configuration of the named method before anything is said about it.
// An unknown name comes back with nothing else set, for Validate to refuse.
func Default(name string) Config {
	switch name {
	case "full":
		return Config{Name: name, Modules: "all"}
	case "lift":
		return Config{Name: name, Modules: "linear", Rank: 16, Refresh: 400}
	case "s2ft":
		return Config{Name: name, O: 0.052, Down: 0.02, Select: "random"}
	case "sorsa":
		return Config{Name: name, Rank: 16, Lambda: "published", Penalty: "frobenius"}
	case "pissa", "lora":
		return Config{Name: name, Rank: 16}
	}
	return Config{Name: name}
}

// Validate names the first field that has a value it must not have, and what it may be.
func (c Config) Validate() error {
	switch c.Name {
	case "full":
		return cmp.Or(c.validateModules("all", "linear"), c.validateUnused("modules"))
	case "lift":
		return cmp.Or(c.validateModules("linear", "mlp"),
			c.validateUnused("modules", "rank", "density", "filter", "refresh", "lead"), c.validateLIFT())
	case "s2ft":
		return cmp.Or(c.validateUnused("o", "down", "v", "up", "select"), c.validateS2FT())
	case "sorsa":
		return cmp.Or(c.validateUnused("rank", "lambda", "penalty", "alpha"), c.validateLowRank(), c.validateSORSA())
	case "pissa":
		return cmp.Or(c.validateUnused("rank"), c.validateLowRank())
	case "lora":
		return cmp.Or(c.validateUnused("rank", "alpha", "rslora", "dropout"), c.validateLowRank())
	}
	return fmt.Errorf("method.name is %q: use lift, s2ft, sorsa, pissa, lora or full", c.Name)
}

func (c Config) validateModules(known ...string) error {
	if slices.Contains(known, c.Modules) {
		return nil
	}
	return fmt.Errorf("method.modules is %q: with %s use %s", c.Modules, c.Name, strings.Join(known, " or "))
}

// validateUnused refuses fields that are set but not among those the method has.
func (c Config) validateUnused(has ...string) error {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"modules", c.Modules != ""},
		{"rank", c.Rank != 0},
		{"density", c.Density != 0},
		{"filter", c.Filter != 0},
		{"refresh", c.Refresh != 0},
		{"lead", c.Lead != 0},
		{"o", c.O != 0},
		{"down", c.Down != 0},
		{"v", c.V != 0},
		{"up", c.Up != 0},
		{"select", c.Select != ""},
		{"lambda", c.Lambda != ""},
		{"penalty", c.Penalty != ""},
		{"alpha", c.Alpha != 0},
		{"rslora", c.RSLoRA},
		{"dropout", c.Dropout != 0},
	} {
		if f.set && !slices.Contains(has, f.name) {
			return fmt.Errorf("method.%s is set, but %s has no such field, only %s", f.name, c.Name, strings.Join(has, ", "))
		}
	}
	return nil
}

func (c Config) validateLIFT() error {
	switch {
	case c.Density == 0 && c.Rank < 1:
		return fmt.Errorf("method.rank is %d: use at least 1, or set density", c.Rank)
	case c.Rank < 0 || c.Rank > 1<<20:
		return fmt.Errorf("method.rank is %d: use 1 to 2^20", c.Rank)
	case !(c.Density >= 0 && c.Density <= 1):
		return fmt.Errorf("method.density is %v: use a share above 0 and up to 1", c.Density)
	case c.Filter < 0 || c.Filter > 1<<20:
		return fmt.Errorf("method.filter is %d: use 1 to 2^20, or 0 for the rank", c.Filter)
	case c.Filter == 0 && c.Rank == 0:
		return fmt.Errorf("method.filter is 0 and method.rank is 0: set one, it is the rank of the approximation that selects")
	case c.Refresh < 0:
		return fmt.Errorf("method.refresh is %d: use a number of steps, or 0 to keep the first selection", c.Refresh)
	case c.Lead < 0 || c.Lead > 0 && c.Lead >= c.Refresh:
		return fmt.Errorf("method.lead is %d: use 0 to %d, less than refresh", c.Lead, max(0, c.Refresh-1))
	}
	return nil
}

func (c Config) validateS2FT() error {
	for _, f := range []struct {
		name  string
		share float64
	}{{"o", c.O}, {"down", c.Down}, {"v", c.V}, {"up", c.Up}} {
		if !(f.share >= 0 && f.share <= 1) {
			return fmt.Errorf("method.%s is %v: use a share from 0 to 1", f.name, f.share)
		}
	}
	if c.O+c.Down+c.V+c.Up == 0 {
		return errors.New("method.o, down, v and up are all 0: set the share of one at least")
	}
	if c.Select != "random" {
		return fmt.Errorf("method.select is %q: use random", c.Select)
	}
	return nil
}

func (c Config) validateLowRank() error {
	switch {
	case c.Rank < 1 || c.Rank > 1<<20:
		return fmt.Errorf("method.rank is %d: use 1 or more, up to the smaller side of the weights", c.Rank)
	case !(c.Alpha >= 0 && c.Alpha < 1e30):
		return fmt.Errorf("method.alpha is %v: use a number above 0, or 0 for the default", c.Alpha)
	case !(c.Dropout >= 0 && c.Dropout < 1):
		return fmt.Errorf("method.dropout is %v: use at least 0 and less than 1", c.Dropout)
	}
	return nil
}

func (c Config) validateSORSA() error {
	if _, ok := c.lambda(); !ok {
		return fmt.Errorf("method.lambda is %q: use a number from 0 up, published or paper", c.Lambda)
	}
	if c.Penalty != "frobenius" && c.Penalty != "smoothed" && c.Penalty != "squared" {
		return fmt.Errorf("method.penalty is %q: use frobenius, smoothed or squared", c.Penalty)
	}
	return nil
}

// filter is the rank of W′.
func (c Config) filter() int {
	if c.Filter > 0 {
		return c.Filter
	}
	return c.Rank
}

// budget is how many values of an (m, n) weight lift trains: at least one.
func (c Config) budget(m, n int) int {
	if c.Density > 0 {
		return max(1, int(math.Floor(c.Density*float64(m*n)+0.5)))
	}
	return min((m+n)*c.Rank, m*n)
}
