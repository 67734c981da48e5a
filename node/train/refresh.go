package train

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/torctrain/torc/internal/view"
	"github.com/torctrain/torc/methods"
)

// refreshTry marks the position of a refresh's gather, which precedes the first try of its step.
const refreshTry = 1 << 31

// refresh recomputes the index sets before the step being made: every weight by its owner, gathered by all. Who owns what
// cannot show in the result, since Select is pure. What this member selected is kept until the sets are adopted.
func (t *Trainer) refresh(ctx context.Context) error {
	start, step := time.Now(), t.step+1
	selected := t.refresher.Selected()
	owner := owners(selected, len(t.view.Members))
	var mine, missing []int
	for i := range selected {
		if owner[i] != t.rank {
			continue
		}
		mine = append(mine, i)
		if set := t.lead.picked[i]; set != nil {
			t.pick(i, set)
		}
		if t.picked[i] == nil {
			missing = append(missing, i)
		}
	}
	if err := t.selectSets(ctx, selected, missing); err != nil {
		return fmt.Errorf("refresh before step %d: %w", step, err)
	}
	var own []byte
	for _, i := range mine {
		own = methods.EncodeSet(own, t.picked[i])
	}
	at := view.Position{View: t.viewHash, Step: step, Try: refreshTry}
	parts, err := t.ring.Gather(ctx, at, t.fence(), own)
	if err != nil {
		return fmt.Errorf("refresh before step %d: %w", step, err)
	}
	sets, err := t.unpackSets(parts, selected, owner)
	if err != nil {
		return fmt.Errorf("refresh before step %d: %w", step, err)
	}
	churn := churn(t.refresher.Sets(), sets)
	if err := t.adopt(sets); err != nil {
		return fmt.Errorf("refresh before step %d: %w", step, err)
	}
	t.settle(computing)
	t.observer.Refreshed(RefreshReport{Step: step, Seconds: time.Since(start).Seconds(), Churn: churn})
	return nil
}

// adopt replaces the index sets.
func (t *Trainer) adopt(sets [][]uint32) error {
	was := t.selector.Sets()
	if err := t.selector.Adopt(sets, t.job.Weights, t.theta, t.m, t.v); err != nil {
		return err
	}
	if t.ages != nil {
		methods.RemapAges(was, sets, t.ages)
	}
	t.sets, t.pending, t.lead.picked = hashSets(sets), nil, nil
	return nil
}

// selectSets computes the sets of selected[i] for each i of missing, one weight per worker at a time, and keeps them.
func (t *Trainer) selectSets(ctx context.Context, selected []methods.Selected, missing []int) error {
	sets := make([][]uint32, len(missing))
	defer func() {
		for n, i := range missing {
			if sets[n] != nil {
				t.pick(i, sets[n])
			}
		}
	}()
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for _, k := range t.job.Workers {
		g.Go(func() error {
			for i := int(next.Add(1)) - 1; i < len(missing); i = int(next.Add(1)) - 1 {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				id := selected[missing[i]].Weight
				set, err := t.refresher.Select(k, id, t.seen(id))
				if err != nil {
					return err
				}
				sets[i] = set
			}
			return nil
		})
	}
	return g.Wait()
}

// pick keeps the set of selected[i] until all are adopted.
func (t *Trainer) pick(i int, set []uint32) {
	if t.picked == nil {
		t.picked = map[int][]uint32{}
	}
	t.picked[i] = set
}

// unpackSets reads what each rank gathered: the sets of its weights in the order of Selected.
func (t *Trainer) unpackSets(parts [][]byte, selected []methods.Selected, owner []int) ([][]uint32, error) {
	sets := make([][]uint32, len(selected))
	for i, s := range selected {
		limit := uint64(t.job.Weights.Params[s.Weight].Len())
		set, rest, err := methods.DecodeSet(parts[owner[i]], s.Count, limit)
		if err != nil {
			return nil, fmt.Errorf("read set of %s from rank %d: %w", t.job.Weights.Params[s.Weight].Name, owner[i], err)
		}
		sets[i], parts[owner[i]] = set, rest
	}
	return sets, nil
}

// churn is the share of indices in next that are not in was; both are sorted.
func churn(was, next [][]uint32) float64 {
	fresh, total := 0, 0
	for i, set := range next {
		total += len(set)
		if was == nil {
			fresh += len(set)
			continue
		}
		old := was[i]
		for _, at := range set {
			for len(old) > 0 && old[0] < at {
				old = old[1:]
			}
			if len(old) == 0 || old[0] != at {
				fresh++
			}
		}
	}
	return float64(fresh) / float64(max(1, total))
}

// owners spreads the weights over n members by cost: the costliest first, each to the least burdened member.
func owners(selected []methods.Selected, n int) []int {
	order := make([]int, len(selected))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(selected[b].Cost, selected[a].Cost) })
	owner, load := make([]int, len(selected)), make([]float64, n)
	for _, i := range order {
		least := 0
		for r := range load {
			if load[r] < load[least] {
				least = r
			}
		}
		owner[i] = least
		load[least] += selected[i].Cost
	}
	return owner
}
