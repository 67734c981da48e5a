package train

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/torctrain/torc/internal/view"
	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
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
		if x, ok := t.lead.picked[i]; ok {
			t.keepPick(i, x)
		}
		if _, ok := t.picked[i]; !ok {
			missing = append(missing, i)
		}
	}
	if err := t.selectSets(ctx, selected, missing); err != nil {
		return fmt.Errorf("refresh before step %d: %w", step, err)
	}
	own := encodePicks(t.picked, mine)
	at := view.Position{View: t.viewHash, Step: step, Try: refreshTry}
	parts, err := t.ring.Gather(ctx, at, t.fence(), own)
	if err != nil {
		return fmt.Errorf("refresh before step %d: %w", step, err)
	}
	sets, report, err := t.unpackPicks(parts, selected, owner)
	if err != nil {
		return fmt.Errorf("refresh before step %d: %w", step, err)
	}
	if err := t.adopt(sets); err != nil {
		return fmt.Errorf("refresh before step %d: %w", step, err)
	}
	t.settle(computing)
	report.Step, report.Seconds = step, time.Since(start).Seconds()
	t.observer.Refreshed(*report)
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

// pick is what a member selected for one weight.
type pick struct {
	set     []uint32
	overlap float64 // methods.MagnitudeOverlap
	seconds float64 // of one processor
}

// choose selects for weight id, which w is.
func (t *Trainer) choose(k model.Kernels, id model.WeightID, w *model.Matrix) (pick, error) {
	start := time.Now()
	set, err := t.refresher.Select(k, id, w)
	if err != nil {
		return pick{}, err
	}
	overlap := methods.MagnitudeOverlap(w, set)
	return pick{set, overlap, time.Since(start).Seconds()}, nil
}

// selectSets selects for selected[i], for each i of missing, one weight per worker at a time, and keeps the sets.
func (t *Trainer) selectSets(ctx context.Context, selected []methods.Selected, missing []int) error {
	defer t.works()()
	picks := make([]pick, len(missing))
	defer func() {
		for n, i := range missing {
			if picks[n].set != nil {
				t.keepPick(i, picks[n])
			}
		}
	}()
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for _, k := range t.job.Workers {
		g.Go(func() error {
			for n := int(next.Add(1)) - 1; n < len(missing); n = int(next.Add(1)) - 1 {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				id := selected[missing[n]].Weight
				var err error
				if picks[n], err = t.choose(k, id, t.seen(id)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// keepPick keeps the set of selected[i] until all are adopted.
func (t *Trainer) keepPick(i int, x pick) {
	if t.picked == nil {
		t.picked = map[int]pick{}
	}
	t.picked[i] = x
}

// encodePicks is what a member gathers: the seconds its selections took, then of each of its weights, in the order of Selected,
// overlap and set. Only sets have a part in the result.
func encodePicks(picks map[int]pick, mine []int) []byte {
	seconds := 0.0
	for _, i := range mine {
		seconds += picks[i].seconds
	}
	b := binary.LittleEndian.AppendUint64(nil, math.Float64bits(seconds))
	for _, i := range mine {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(picks[i].overlap))
		b = methods.EncodeSet(b, picks[i].set)
	}
	return b
}

// unpackPicks reads what each rank gathered, and compares it with the sets there are.
func (t *Trainer) unpackPicks(parts [][]byte, selected []methods.Selected, owner []int) ([][]uint32, *RefreshReport, error) {
	report := &RefreshReport{}
	for rank, b := range parts {
		seconds, rest, err := decodeFloat(b)
		if err != nil {
			return nil, nil, fmt.Errorf("read sets of rank %d: %w", rank, err)
		}
		parts[rank] = rest
		report.Shares = append(report.Shares, RefreshShare{Member: t.view.Members[rank].Node.Name, Seconds: seconds})
	}
	sets, was := make([][]uint32, len(selected)), t.refresher.Sets()
	fresh, total := 0, 0
	for i, s := range selected {
		p, rank := t.job.Weights.Params[s.Weight], owner[i]
		overlap, rest, err := decodeFloat(parts[rank])
		if err == nil {
			sets[i], parts[rank], err = methods.DecodeSet(rest, s.Count, uint64(p.Len()))
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read set of %s from rank %d: %w", p.Name, rank, err)
		}
		var old []uint32
		if was != nil {
			old = was[i]
		}
		n := newcomers(old, sets[i])
		fresh, total = fresh+n, total+s.Count
		report.Shares[rank].Weights++
		report.Weights = append(report.Weights, RefreshedWeight{
			Name: p.Name, Rank: rank, Selected: s.Count, Churn: float64(n) / float64(max(1, s.Count)), Overlap: overlap,
		})
	}
	report.Churn = float64(fresh) / float64(max(1, total))
	return sets, report, nil
}

// decodeFloat takes a float64 off the beginning of b.
func decodeFloat(b []byte) (float64, []byte, error) {
	if len(b) < 8 {
		return 0, nil, fmt.Errorf("%d bytes are too few: the members run different versions", len(b))
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(b)), b[8:], nil
}

// newcomers is how many indices of next are not in was; both are sorted.
func newcomers(was, next []uint32) (n int) {
	for _, at := range next {
		for len(was) > 0 && was[0] < at {
			was = was[1:]
		}
		if len(was) == 0 || was[0] != at {
			n++
		}
	}
	return n
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
