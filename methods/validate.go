package methods

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The values that fields of text may have.
var (
	modes      = []string{"principal", "magnitude", "random"}
	directions = []string{"largest", "smallest", "random", "hybrid"}
	blocks     = []string{"1x1", "1x8", "4x4"}
	choices    = []string{
		"random", "smallest-activation", "largest-activation", "smallest-gradient", "largest-gradient",
		"smallest-weight", "largest-weight", "smallest-lift", "largest-lift",
	}
	penalties = []string{"frobenius", "smoothed", "squared", "retraction"}
	residuals = []string{"fp32", "stored", "base"}
)

// Validate names the first field that has a value it must not have, and what it may be.
func (c Config) Validate() error {
	if c.Budget != "" {
		if _, err := parseBudget(c.Budget, 1); err != nil {
			return err
		}
	}
	switch c.Name {
	case "full":
		return cmp.Or(c.validateModules("all", "linear"), c.validateUnused("modules"))
	case "lift":
		return cmp.Or(c.validateModules("linear", "mlp"),
			c.validateUnused("modules", "budget", "rank", "density", "filter", "mode", "directions", "block", "refresh", "lead", "age"), c.validateLIFT())
	case "s2ft":
		return cmp.Or(c.validateUnused("budget", "o", "down", "v", "up", "select"), c.validateS2FT())
	case "sorsa":
		return cmp.Or(c.validateUnused("budget", "rank", "lambda", "penalty", "residual", "alpha"), c.validateLowRank(), c.validateSORSA())
	case "pissa":
		return cmp.Or(c.validateUnused("budget", "rank", "residual"), c.validateLowRank())
	case "lora":
		return cmp.Or(c.validateUnused("budget", "rank", "alpha", "rslora", "dropout"), c.validateLowRank())
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
		{"budget", c.Budget != ""},
		{"rank", c.Rank != 0},
		{"density", c.Density != 0},
		{"filter", c.Filter != 0},
		{"mode", c.Mode != ""},
		{"directions", c.Directions != ""},
		{"block", c.Block != ""},
		{"refresh", c.Refresh != 0},
		{"lead", c.Lead != 0},
		{"age", c.Age},
		{"o", c.O != 0},
		{"down", c.Down != 0},
		{"v", c.V != 0},
		{"up", c.Up != 0},
		{"select", c.Select != ""},
		{"lambda", c.Lambda != ""},
		{"penalty", c.Penalty != ""},
		{"residual", c.Residual != ""},
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
	for _, f := range []struct {
		name, value string
		known       []string
	}{{"mode", c.Mode, modes}, {"directions", c.Directions, directions}, {"block", c.Block, blocks}} {
		if f.value != "" && !slices.Contains(f.known, f.value) {
			return fmt.Errorf("method.%s is %q: use %s", f.name, f.value, strings.Join(f.known, ", "))
		}
	}
	switch {
	case c.Directions != "" && !c.principal():
		return fmt.Errorf("method.directions is %q, but method.mode %q looks at none: remove one", c.Directions, c.Mode)
	case c.Filter != 0 && !c.principal():
		return fmt.Errorf("method.filter is %d, but method.mode %q approximates nothing: remove one", c.Filter, c.Mode)
	case c.Budget != "" && c.Density != 0:
		return fmt.Errorf("method.budget is %q and method.density is %v: give one of them", c.Budget, c.Density)
	case c.Density == 0 && c.Rank < 1 && c.Budget == "":
		return fmt.Errorf("method.rank is %d: use at least 1, or set density", c.Rank)
	case c.Rank < 0 || c.Rank > 1<<20:
		return fmt.Errorf("method.rank is %d: use 1 to 2^20", c.Rank)
	case !(c.Density >= 0 && c.Density <= 1):
		return fmt.Errorf("method.density is %v: use a share above 0 and up to 1", c.Density)
	case c.Filter < 0 || c.Filter > 1<<20:
		return fmt.Errorf("method.filter is %d: use 1 to 2^20, or 0 for the rank", c.Filter)
	case c.Filter == 0 && c.Rank == 0 && c.principal() && c.Budget == "":
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
	if !slices.Contains(choices, c.Select) {
		return fmt.Errorf("method.select is %q: use %s", c.Select, strings.Join(choices, ", "))
	}
	return nil
}

func (c Config) validateLowRank() error {
	switch {
	case c.Residual != "" && !slices.Contains(residuals, c.Residual):
		return fmt.Errorf("method.residual is %q: use %s", c.Residual, strings.Join(residuals, ", "))
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
	if !slices.Contains(penalties, c.Penalty) {
		return fmt.Errorf("method.penalty is %q: use %s", c.Penalty, strings.Join(penalties, ", "))
	}
	return nil
}
