package sharding

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/torctrain/torc/internal/files"
)

// Reader turns the samples of a plan into examples. It tokenises a shard the first time one of its samples is asked for,
// or finds its tokens on disk, and remembers the shards used last. It is safe for concurrent use.
type Reader struct {
	data  *Dataset
	plan  Plan
	enc   *Encoder
	cache string    // directory, "" for none
	sweep sync.Once // of what killed processes left in cache

	mu       sync.Mutex // guards the rest
	shards   map[int]*held
	clock    uint64 // counts uses
	digests  map[int][32]byte
	cacheErr error
}

// held is a shard in memory, or on its way there. Reader.mu guards it; tokens and err do not change once ready is closed.
type held struct {
	ready  chan struct{} // closed when tokens and err are set
	tokens *tokens
	err    error
	used   uint64
}

// NewReader returns a reader of the samples of plan, which has ds.Len() of them. Tokens are kept under cacheDir, if that
// is not empty, by the content they were made from; a damaged file there is written anew.
func NewReader(ds *Dataset, plan Plan, enc *Encoder, cacheDir string) *Reader {
	if plan.N != ds.Len() {
		panic("sharding: NewReader: plan and dataset have different numbers of samples")
	}
	return &Reader{data: ds, plan: plan, enc: enc, cache: cacheDir, shards: map[int]*held{}, digests: map[int][32]byte{}}
}

// Examples returns the micro-batch of lane at step: none if the lane is idle (Plan.At).
// Tokens and Counted are shared and must not be changed. Errors name the sample's file and line.
func (r *Reader) Examples(step uint64, lane int) ([]Example, error) {
	return r.Read(r.plan.At(step, lane))
}

// Read returns the examples of samples, in their order; like Examples.
func (r *Reader) Read(samples []Sample) ([]Example, error) {
	examples := make([]Example, 0, len(samples))
	for _, s := range samples {
		shard := r.plan.ShardOf(s)
		t, err := r.shard(shard)
		if err != nil {
			return nil, err
		}
		examples = append(examples, t.examples[int(s)-shard*r.plan.ShardLen])
	}
	return examples, nil
}

// Prefetch reads the shards that lanes need at step and those that they need next, until ctx is done.
// Errors are left to Examples, which meets them again.
func (r *Reader) Prefetch(ctx context.Context, step uint64, lanes []int) {
	soon := 1 + (r.plan.ShardLen+r.plan.Micro-1)/r.plan.Micro // steps until each lane has met its next shard
	r.prefetch(ctx, step, 1, lanes)
	r.prefetch(ctx, step, soon, lanes)
	if perEpoch := uint64(r.plan.Steps()); (step-1)%perEpoch+uint64(soon) > perEpoch {
		r.prefetch(ctx, (step-1)/perEpoch*perEpoch+perEpoch+1, 1, lanes) // the next epoch begins meanwhile
	}
}

func (r *Reader) prefetch(ctx context.Context, step uint64, steps int, lanes []int) {
	for _, lane := range lanes {
		for _, shard := range r.plan.ShardsAt(step, steps, lane) {
			if ctx.Err() != nil {
				return
			}
			_, _ = r.shard(shard)
		}
	}
}

// Check reads the shards that lanes need in the first epoch, but those read before, and returns the error of the first one
// in the dataset that has any, or why ctx is done. All lanes together need the whole dataset, in every epoch: if Check has
// passed for all of them, on whichever members, no sample can end the run later. The tokens are kept as by Examples, so
// that a second Check costs little.
func (r *Reader) Check(ctx context.Context, lanes []int) error {
	need := map[int]bool{}
	for _, lane := range lanes {
		for _, shard := range r.plan.ShardsAt(1, r.plan.Steps(), lane) {
			need[shard] = true
		}
	}
	read := r.Digests()
	for _, shard := range slices.Sorted(maps.Keys(need)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, ok := read[shard]; ok {
			continue
		}
		if _, err := r.shard(shard); err != nil {
			return err
		}
	}
	return nil
}

// Digest returns the SHA-256 of a shard's tokens: equal on all members, or one of them reads other data.
func (r *Reader) Digest(shard int) ([32]byte, error) {
	t, err := r.shard(shard)
	if err != nil {
		return [32]byte{}, err
	}
	return t.digest, nil
}

// Digests returns the digests of all shards read so far.
func (r *Reader) Digests() map[int][32]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.digests)
}

// CacheError returns why tokens could last not be kept on disk, nil if they could. Reading goes on without.
func (r *Reader) CacheError() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cacheErr
}

// shard returns the tokens of a shard, made by one caller while others wait for it.
func (r *Reader) shard(number int) (*tokens, error) {
	r.mu.Lock()
	h, ok := r.shards[number]
	if !ok {
		h = &held{ready: make(chan struct{})}
		r.shards[number] = h
	}
	r.clock++
	h.used = r.clock
	r.mu.Unlock()
	if ok {
		<-h.ready
		return h.tokens, h.err
	}
	t, err := r.load(number)
	r.mu.Lock()
	defer r.mu.Unlock()
	h.tokens, h.err = t, err // under mu: forget looks at every shard
	close(h.ready)
	if err != nil {
		delete(r.shards, number) // a later call tries again
		return nil, err
	}
	r.digests[number] = t.digest
	r.forget()
	return t, nil
}

// forget drops the shards used longest ago. The caller holds mu.
func (r *Reader) forget() {
	// Each lane reads one shard at a time and may have the next one ready.
	most := 2*r.plan.Lanes + 2
	for len(r.shards) > most {
		oldest := -1
		for number, h := range r.shards {
			if h.tokens != nil && (oldest < 0 || h.used < r.shards[oldest].used) {
				oldest = number
			}
		}
		if oldest < 0 {
			return
		}
		delete(r.shards, oldest)
	}
}

// load finds the tokens of a shard on disk or makes them.
func (r *Reader) load(number int) (*tokens, error) {
	from := number * r.plan.ShardLen
	lines, err := r.data.read(from, from+r.plan.length(number))
	if err != nil {
		return nil, err
	}
	key := cacheKey(shardHash(lines), r.enc.hash())
	if r.cache != "" {
		if t, err := readCache(r.cache, key, len(lines)); err == nil {
			for i := range lines {
				t.examples[i].Where = lines[i].where
			}
			return t, nil
		}
	}
	examples := make([]Example, len(lines))
	for i, l := range lines {
		if examples[i], err = r.enc.Encode(l.raw, l.where); err != nil {
			return nil, err
		}
		examples[i].Answer, examples[i].Empty, examples[i].Bad = "", false, nil
	}
	if r.cache != "" {
		r.sweep.Do(func() {
			files.RemoveStale(r.cache, "*/.tokens-*")
			files.RemoveStale(r.cache, "*/.samples-*") // indexed.cached makes them
		})
		err := writeCache(r.cache, key, examples)
		r.mu.Lock()
		r.cacheErr = err
		r.mu.Unlock()
	}
	return &tokens{examples: examples, digest: digestOf(examples)}, nil
}
