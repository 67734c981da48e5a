package methods

import (
	"cmp"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/model"
)

// s2ftKinds are the weights that s2ft trains, by their share.
func (c Config) s2ftKinds() []s2ftKind {
	return []s2ftKind{{"v", model.V, c.V}, {"o", model.O, c.O}, {"up", model.Up, c.Up}, {"down", model.Down, c.Down}}
}

type s2ftKind struct {
	name   string
	module model.Module
	share  float64
}

// of returns the weights of the kind, in order, and how many units each has.
func (k s2ftKind) of(params []model.ParamShape) (ids, units []int) {
	for id, p := range params {
		if p.Module == k.module {
			ids, units = append(ids, id), append(units, axis(p)/unit(p))
		}
	}
	return ids, units
}

// quotas is how many units of each weight are trained: of each kind its share of what the whole model has, rounded down,
// spread over the layers as evenly as whole units allow.
func (c Config) quotas(params []model.ParamShape) ([]int, error) {
	quotas := make([]int, len(params))
	for _, kind := range c.s2ftKinds() {
		ids, units := kind.of(params)
		total := 0
		for _, n := range units {
			total += n
		}
		want := int(kind.share * float64(total))
		if kind.share > 0 && want == 0 && total > 0 {
			return nil, fmt.Errorf("method.%s is %v: that is no whole one of the model's %d heads or channels: use at least %.4g, or 0", kind.name, kind.share, total, 1.0005/float64(total))
		}
		for i, id := range ids {
			quotas[id] = (i+1)*want/len(ids) - i*want/len(ids)
		}
	}
	return quotas, nil
}

// channels returns the trained rows or columns of each weight, ascending; nil unless the method is s2ft. Only to choose by
// weight does it read w.
func (c Config) channels(params []model.ParamShape, key rng.Key, w *model.Weights) ([][]int32, error) {
	if c.Name != "s2ft" {
		return nil, nil
	}
	quotas, err := c.quotas(params)
	if err != nil {
		return nil, err
	}
	chosen := make([][]int32, len(params))
	if c.byData() {
		return chosen, nil // see probed
	}
	for _, kind := range c.s2ftKinds() {
		ids, units := kind.of(params)
		drawn := key.Sub(uint64(kind.module))
		scores, err := c.unitScores(w, params, ids, quotas, drawn)
		if err != nil {
			return nil, err
		}
		for layer, id := range ids {
			picked := draw(units[layer], quotas[id], drawn.Sub(uint64(layer)))
			if scores != nil {
				picked = rank(scores[layer], quotas[id], strings.HasPrefix(c.Select, "largest"))
			}
			chosen[id] = spread(picked, unit(params[id]))
		}
	}
	return chosen, nil
}

// byData says whether channels are chosen by what a slice of the data shows.
func (c Config) byData() bool {
	return strings.HasSuffix(c.Select, "-activation") || strings.HasSuffix(c.Select, "-gradient")
}

// draw draws so many of n units, ascending.
func draw(n, count int, key rng.Key) []int32 {
	order, picked := key.Permutation(n), make([]int32, count)
	for i := range picked {
		picked[i] = int32(order.At(i))
	}
	slices.Sort(picked)
	return picked
}

// rank returns the units with the largest or smallest scores, ascending; of equal scores the lower unit goes first.
func rank(scores []float64, count int, largest bool) []int32 {
	order := make([]int32, len(scores))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int {
		if largest {
			a, b = b, a
		}
		return cmp.Compare(scores[a], scores[b])
	})
	picked := order[:count]
	slices.Sort(picked)
	return picked
}

// spread lists the channels of units.
func spread(units []int32, size int) []int32 {
	var channels []int32
	for _, u := range units {
		for j := range size {
			channels = append(channels, u*int32(size)+int32(j))
		}
	}
	return channels
}

// scoreRank is the rank of W′ where channels are chosen by it.
const scoreRank = 16

// unitScores scores the units of weights, nil where chance decides. All is computed in float64 by plain loops, so that an
// export on another processor finds the channels of the run.
func (c Config) unitScores(w *model.Weights, params []model.ParamShape, ids, quotas []int, key rng.Key) ([][]float64, error) {
	_, by, _ := strings.Cut(c.Select, "-")
	if by == "" {
		return nil, nil
	}
	scores, errs := make([][]float64, len(ids)), make([]error, len(ids))
	var wait sync.WaitGroup
	slots := make(chan struct{}, runtime.GOMAXPROCS(0)) // one weight for each processor at a time
	for i, id := range ids {
		if quotas[id] == 0 {
			scores[i] = make([]float64, axis(params[id])/unit(params[id]))
			continue
		}
		slots <- struct{}{}
		wait.Go(func() {
			scores[i], errs[i] = scoreUnits(w.Params[id].Matrix, params[id], by, key.Sub(uint64(i)))
			<-slots
		})
	}
	wait.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("choose channels of %s by %s: %w", params[ids[i]].Name, by, err)
		}
	}
	return scores, nil
}

// scoreUnits adds up the squares of the weight, or |W′|, over each unit.
func scoreUnits(w *model.Matrix, p model.ParamShape, by string, key rng.Key) ([]float64, error) {
	if err := decomposable(w); err != nil {
		return nil, err
	}
	scores := make([]float64, axis(p)/unit(p))
	add := func(i, j int, v float64) {
		if readsChannels(p.Module) {
			i = j
		}
		scores[i/unit(p)] += v
	}
	if by == "weight" {
		for at := range w.Len() {
			v := float64(w.At(at))
			add(at/w.Cols, at%w.Cols, float64(v*v))
		}
		return scores, nil
	}
	wide := newWide(w)
	basis := wide.leading(min(scoreRank, w.Rows, w.Cols), rounds, key)
	wide.approximate(basis, func(i int, row []float64) {
		for j, v := range row {
			add(i, j, math.Abs(v))
		}
	})
	return scores, nil
}
