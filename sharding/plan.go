package sharding

import (
	"fmt"

	"github.com/torctrain/torc/internal/rng"
)

// Sample is the index of a sample in its dataset, in the order of files and lines.
type Sample int64

// ShardLen is the number of samples in a shard that NewPlan takes: some 64 KiB of text. Results depend on it.
const ShardLen = 128

// streamOrder separates the random numbers of the data order from all others drawn from a run's seed.
const streamOrder = 0x73616d706c6573

// Plan is the whole data order of a run, as a function of five numbers (docs/protocol.md §1). Per epoch a permutation
// orders the shards and another one, per shard, the samples inside; what results is cut into micro-batches, and each
// lane takes a contiguous part of them. Plan is a value; its methods are pure.
type Plan struct {
	N        int    // samples in the dataset, at least 1
	ShardLen int    // samples in a shard; the last shard may be shorter
	Micro    int    // samples in a micro-batch; the last one of an epoch may be shorter
	Lanes    int    // lanes of the global batch
	Seed     uint64 // of the run
}

// NewPlan returns the plan of a run over n samples.
func NewPlan(n, micro, lanes int, seed uint64) Plan {
	return Plan{N: n, ShardLen: ShardLen, Micro: micro, Lanes: lanes, Seed: seed}
}

// Validate names the first number that makes no plan.
func (p Plan) Validate() error {
	for _, f := range []struct {
		name  string
		value int
	}{{"samples", p.N}, {"samples in a shard", p.ShardLen}, {"samples in a micro-batch", p.Micro}, {"lanes", p.Lanes}} {
		if f.value < 1 || f.value > 1<<40 {
			return fmt.Errorf("plan: number of %s is %d: use 1 to %d", f.name, f.value, 1<<40)
		}
	}
	return nil
}

// MicroBatches returns the number of micro-batches in an epoch, M.
func (p Plan) MicroBatches() int { return (p.N + p.Micro - 1) / p.Micro }

// Steps returns the number of steps in an epoch, ⌈M/L⌉.
func (p Plan) Steps() int { return (p.MicroBatches() + p.Lanes - 1) / p.Lanes }

// Shards returns the number of shards of the dataset.
func (p Plan) Shards() int { return (p.N + p.ShardLen - 1) / p.ShardLen }

// ShardOf returns the shard that holds a sample.
func (p Plan) ShardOf(s Sample) int { return int(s) / p.ShardLen }

// At returns the samples that make the micro-batch of lane at step; step 1 is the first, and epochs follow each other.
// It returns an empty slice when the epoch's tail leaves the lane idle. It panics if lane is not in [0, Lanes) or step is 0.
func (p Plan) At(step uint64, lane int) []Sample {
	epoch, from, to := p.positions(step, 1, lane)
	o := p.order(epoch)
	samples := make([]Sample, 0, to-from)
	var shard shardOrder
	for at := from; at < to; at++ {
		slot, i := o.slot(at)
		if shard.samples.Len() == 0 || shard.slot != slot {
			shard = o.shard(slot)
		}
		samples = append(samples, Sample(shard.number*p.ShardLen+shard.samples.At(i)))
	}
	return samples
}

// ShardsAt returns the shards that lane reads in steps step to step+steps−1 of step's epoch, in the order of need.
func (p Plan) ShardsAt(step uint64, steps, lane int) []int {
	epoch, from, to := p.positions(step, steps, lane)
	if from == to {
		return nil
	}
	o := p.order(epoch)
	first, _ := o.slot(from)
	last, _ := o.slot(to - 1)
	shards := make([]int, 0, last-first+1)
	for slot := first; slot <= last; slot++ {
		shards = append(shards, o.shards.At(slot))
	}
	return shards
}

// positions returns the epoch of step, and which places of its order lane reads from step on, for so many steps.
func (p Plan) positions(step uint64, steps, lane int) (epoch uint64, from, to int) {
	if lane < 0 || lane >= p.Lanes || step == 0 {
		panic(fmt.Sprintf("sharding: Plan: step %d, lane %d, want step from 1 and lane in [0, %d)", step, lane, p.Lanes))
	}
	epoch, within := (step-1)/uint64(p.Steps()), int((step-1)%uint64(p.Steps()))
	first, end := p.share(lane), p.share(lane+1)
	from = min(first+within, end)
	to = min(from+steps, end)
	return epoch, min(from*p.Micro, p.N), min(to*p.Micro, p.N)
}

// share returns the first micro-batch of lane, ⌊l·M/L⌋, without overflow.
func (p Plan) share(lane int) int {
	m := p.MicroBatches()
	return m/p.Lanes*lane + m%p.Lanes*lane/p.Lanes
}

// order is the order of one epoch. The shorter last shard lies somewhere among the others.
type order struct {
	plan   Plan
	key    rng.Key
	shards rng.Permutation // slot → shard
	short  int             // slot of the last shard
}

func (p Plan) order(epoch uint64) order {
	key := rng.New(p.Seed).Sub(streamOrder, epoch)
	shards := key.Sub(0).Permutation(p.Shards())
	return order{plan: p, key: key, shards: shards, short: shards.Place(p.Shards() - 1)}
}

// length returns the number of samples in a shard.
func (p Plan) length(shard int) int { return min(p.ShardLen, p.N-shard*p.ShardLen) }

// slot returns the slot that a place of the order falls into, and the place within it.
func (o order) slot(at int) (slot, within int) {
	n, last := o.plan.ShardLen, o.plan.length(o.plan.Shards()-1)
	if start := o.short * n; at >= start+last {
		at += n - last // as if the last shard were full
	}
	return at / n, at % n
}

// shardOrder is the order of the samples in the shard at a slot.
type shardOrder struct {
	slot, number int
	samples      rng.Permutation
}

func (o order) shard(slot int) shardOrder {
	number := o.shards.At(slot)
	return shardOrder{slot: slot, number: number, samples: o.key.Sub(1, uint64(number)).Permutation(o.plan.length(number))}
}
