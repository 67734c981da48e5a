package methods

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/torctrain/torc/model"
)

// Spend returns c with its budget turned into what the method has of its own: rank, density or shares; c itself if it has
// no budget. The number of values trained comes as near to the budget as that allows:
//
//	sorsa, pissa, lora  the nearest rank
//	lift                that rank, if it trains just as many values, else the share of each weight; W′ has the nearest rank
//	s2ft                as much for each of O, Down, V and Up whose share was not 0, in whole heads and channels
//
// A budget that the method cannot spend is refused with the nearest one that it can.
func (c Config) Spend(params []model.ParamShape) (Config, error) {
	if c.Budget == "" {
		return c, nil
	}
	elements, sides := 0, 0 // of the projections, and of those that the method trains
	trained, weights, least := 0, 0, math.MaxInt
	for _, p := range params {
		if !p.Module.Linear() {
			continue
		}
		elements += p.Rows * p.Cols
		if c.Name == "s2ft" || c.trains(p.Module) {
			trained += p.Rows * p.Cols
			weights++
			sides += p.Rows + p.Cols + c.values1()
			least = min(least, p.Rows, p.Cols)
		}
	}
	want, err := parseBudget(c.Budget, elements)
	if err != nil {
		return c, err
	}
	if trained == 0 {
		return c, fmt.Errorf("method.budget is %q: the model has none of the weights that %s trains", c.Budget, c.Name)
	}
	refuse := func(format string, args ...any) (Config, error) {
		return c, fmt.Errorf("method.budget is %q, %d values of %d: %s", c.Budget, want, elements, fmt.Sprintf(format, args...))
	}
	rank := max(1, (want+sides/2)/sides)
	spent := c
	spent.Budget = ""
	switch c.Name {
	case "s2ft":
		return c.spendShares(spent, params, want, refuse)
	case "lift":
		if want > trained {
			return refuse("lift trains at most %d", trained)
		}
		if one := weights * c.block().size(); 2*want < one {
			return refuse("the least that lift can train is one entry or block of each weight, %d values", one)
		}
		spent.Rank = rank
		if sides*rank != want {
			if spent.Filter == 0 && c.principal() {
				spent.Filter = rank
			}
			spent.Rank, spent.Density = 0, float64(want)/float64(trained)
		}
	default:
		if 2*want < sides {
			return refuse("the least that %s can train is rank 1, %d values", c.Name, sides)
		}
		if rank > least {
			return refuse("the most that %s can train is rank %d, %d values", c.Name, least, sides*least)
		}
		spent.Rank = rank
	}
	return spent, nil
}

// values1 is how many singular values each rank has in θ.
func (c Config) values1() int {
	if c.Name == "sorsa" {
		return 1
	}
	return 0
}

// spendShares divides want among the kinds of weights that s2ft trains.
func (c Config) spendShares(spent Config, params []model.ParamShape, want int, refuse func(string, ...any) (Config, error)) (Config, error) {
	left, kinds := want, 0 // what whole heads leave over goes to channels
	for _, share := range []float64{c.O, c.Down, c.V, c.Up} {
		if share > 0 {
			kinds++
		}
	}
	for _, kind := range []struct {
		name   string
		module model.Module
		share  *float64
	}{{"o", model.O, &spent.O}, {"v", model.V, &spent.V}, {"up", model.Up, &spent.Up}, {"down", model.Down, &spent.Down}} { // heads first
		if *kind.share == 0 {
			continue
		}
		elements, units, size := 0, 0, 0
		for _, p := range params {
			if p.Module == kind.module {
				elements += p.Rows * p.Cols
				units += axis(p) / unit(p)
				size = p.Rows * p.Cols / axis(p) * unit(p)
			}
		}
		if units == 0 {
			return refuse("the model has no weights of the kind method.%s: set it to 0", kind.name)
		}
		count := (left/kinds + size/2) / size
		switch {
		case count == 0:
			return refuse("method.%s takes at least %d values for each head or channel: use a larger budget, or set it to 0", kind.name, size)
		case count > units:
			return refuse("method.%s has %d values at the most: use a smaller budget, or set method.v and up too", kind.name, elements)
		}
		// Half a unit more, so that the product rounded down is the count again.
		*kind.share = min(1, (float64(count)+0.5)/float64(units))
		left, kinds = left-count*size, kinds-1
	}
	return spent, nil
}

// parseBudget reads a budget: a number of values, or a part of so many elements.
func parseBudget(text string, elements int) (int, error) {
	if part, ok := strings.CutSuffix(text, "%"); ok {
		v, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
		if err != nil || !(v > 0 && v <= 100) {
			return 0, fmt.Errorf("method.budget is %q: use more than 0%% and up to 100%%", text)
		}
		return max(1, int(math.Floor(v/100*float64(elements)+0.5))), nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("method.budget is %q: use a share such as 5%%, or a number of values", text)
	}
	return n, nil
}

// filter is the rank of W′.
func (c Config) filter() int {
	if c.Filter > 0 {
		return c.Filter
	}
	return c.Rank
}

// count is how many values of an (m, n) weight lift trains: at least one, and whole blocks.
func (c Config) count(m, n int) int {
	k := min((m+n)*c.Rank, m*n)
	if c.Density > 0 {
		k = max(1, int(math.Floor(c.Density*float64(m*n)+0.5)))
	}
	size := c.block().size()
	return max(1, k/size) * size
}
