package train

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/sharding"
)

// dataOpener opens a run's files as lanes.
type dataOpener struct {
	spec    *spec.Resolved
	encoder *sharding.Encoder
	cache   string // directory of token caches
	valid   *sharding.Reader
}

// training are the lanes of the run's data order.
func (o *dataOpener) training(ctx context.Context, files []sharding.File) (Examples, error) {
	ds, err := o.spec.Dataset("train", files, o.cache)
	if err != nil {
		return nil, err
	}
	if ds.Len() != o.spec.Samples {
		return nil, fmt.Errorf("data.train has %d samples here and %d in the spec: the node runs another version of torc", ds.Len(), o.spec.Samples)
	}
	plan := sharding.NewPlan(ds.Len(), o.spec.Batch.Micro, o.spec.Batch.Lanes, o.spec.Seed)
	reader := sharding.NewReader(ds, plan, o.encoder, o.cache)
	if o.spec.Data.Overflow == "refuse" { // a sample that ends the run must do so before it has begun
		lanes := make([]int, plan.Lanes)
		for l := range lanes {
			lanes[l] = l
		}
		if err := reader.Check(ctx, lanes); err != nil {
			return nil, err
		}
	}
	return &training{reader, o}, nil
}

// training reads the training samples, and speaks for the validation's reader too: nobody reads that one ahead.
type training struct {
	*sharding.Reader
	opener *dataOpener
}

// CacheError is why tokens of either kind could not be kept on disk.
func (t *training) CacheError() error {
	if err := t.Reader.CacheError(); err != nil || t.opener.valid == nil {
		return err
	}
	return t.opener.valid.CacheError()
}

// validation gives each lane a fixed contiguous part of the validation samples.
func (o *dataOpener) validation(files []sharding.File) (Examples, error) {
	ds, err := o.spec.Dataset("validation", files, o.cache)
	if err != nil {
		return nil, err
	}
	plan := sharding.NewPlan(ds.Len(), 1, o.spec.Batch.Lanes, o.spec.Seed)
	o.valid = sharding.NewReader(ds, plan, o.encoder, o.cache)
	return &validation{o.valid, ds.Len(), o.spec.Batch.Lanes}, nil
}

type validation struct {
	reader  *sharding.Reader
	samples int
	lanes   int
}

// Examples ignores the step: every validation measures every sample once.
func (v *validation) Examples(_ uint64, lane int) ([]sharding.Example, error) {
	from, to := lane*v.samples/v.lanes, (lane+1)*v.samples/v.lanes
	samples := make([]sharding.Sample, 0, to-from)
	for i := from; i < to; i++ {
		samples = append(samples, sharding.Sample(i))
	}
	return v.reader.Read(samples)
}

// prefetcher is what Examples may be able to do ahead of need.
type prefetcher interface {
	Prefetch(ctx context.Context, step uint64, lanes []int)
	// CacheError is why what was read could not be kept on disk.
	CacheError() error
}

// ahead reads samples before they are needed, in the background.
type ahead struct {
	from   prefetcher // nil when the data cannot
	lanes  []int
	steps  chan uint64 // capacity 1: the newest step not yet looked at
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// readAhead starts to read ahead for lanes; end ends it.
func readAhead(ctx context.Context, data Examples, lanes []int, log *slog.Logger) *ahead {
	a := &ahead{lanes: lanes, steps: make(chan uint64, 1)}
	a.from, _ = data.(prefetcher)
	ctx, a.cancel = context.WithCancel(ctx)
	a.wg.Go(func() {
		warned := false
		for {
			select {
			case <-ctx.Done():
				return
			case step := <-a.steps:
				a.from.Prefetch(ctx, step, a.lanes)
				if err := a.from.CacheError(); err != nil && !warned {
					warned = true
					log.Warn("cannot keep tokens on disk, the next run makes them again", "err", err)
				}
			}
		}
	})
	return a
}

// of says which step is about to begin. It does not block.
func (a *ahead) of(step uint64) {
	if a.from == nil {
		return
	}
	select {
	case <-a.steps:
	default:
	}
	a.steps <- step
}

func (a *ahead) end() {
	a.cancel()
	a.wg.Wait()
}
