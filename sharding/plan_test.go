package sharding

import (
	"fmt"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func plans() *rapid.Generator[Plan] {
	return rapid.Custom(func(t *rapid.T) Plan {
		return Plan{
			N:        rapid.IntRange(1, 900).Draw(t, "N"),
			ShardLen: rapid.IntRange(1, 130).Draw(t, "n"),
			Micro:    rapid.IntRange(1, 9).Draw(t, "b"),
			Lanes:    rapid.IntRange(1, 40).Draw(t, "L"),
			Seed:     rapid.Uint64().Draw(t, "seed"),
		}
	})
}

// docs/protocol.md I4.
func TestEverySampleIsUsedExactlyOncePerEpoch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := plans().Draw(t, "plan")
		epoch := rapid.Uint64Range(0, 3).Draw(t, "epoch")
		seen := make([]int, p.N)
		for s := range uint64(p.Steps()) {
			for lane := range p.Lanes {
				samples := p.At(epoch*uint64(p.Steps())+s+1, lane)
				if len(samples) > p.Micro {
					t.Fatalf("micro-batch of %d samples, want at most %d", len(samples), p.Micro)
				}
				for _, sample := range samples {
					seen[sample]++
				}
			}
		}
		for sample, n := range seen {
			if n != 1 {
				t.Fatalf("sample %d is used %d times", sample, n)
			}
		}
	})
}

func TestLanesAreWithinOneMicroBatchOfEachOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := plans().Draw(t, "plan")
		least, most := p.Steps(), 0
		for lane := range p.Lanes {
			n, idle := 0, false
			for s := range uint64(p.Steps()) {
				samples := p.At(s+1, lane)
				if len(samples) > 0 && idle {
					t.Fatalf("lane %d works again after it was idle", lane)
				}
				idle = len(samples) == 0
				if !idle {
					n++
				}
			}
			least, most = min(least, n), max(most, n)
		}
		if most-least > 1 || most != p.Steps() {
			t.Fatalf("lanes have %d to %d micro-batches in %d steps", least, most, p.Steps())
		}
	})
}

func TestLanesReadWholeShardsButAtTheirBorders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := plans().Draw(t, "plan")
		readers := map[int]int{}
		for lane := range p.Lanes {
			got := map[int]int{}
			var inOrder []int
			for s := range uint64(p.Steps()) {
				for _, sample := range p.At(s+1, lane) {
					shard := p.ShardOf(sample)
					if got[shard] == 0 {
						inOrder = append(inOrder, shard)
					}
					got[shard]++
				}
			}
			if announced := p.ShardsAt(1, p.Steps(), lane); !slices.Equal(announced, inOrder) {
				t.Fatalf("lane %d reads shards %v, ShardsAt says %v", lane, inOrder, announced)
			}
			for i, shard := range inOrder {
				readers[shard]++
				if i > 0 && i < len(inOrder)-1 && got[shard] != p.length(shard) {
					t.Fatalf("lane %d reads %d of %d samples of shard %d, in the middle of its part", lane, got[shard], p.length(shard), shard)
				}
			}
		}
		if len(readers) != p.Shards() {
			t.Fatalf("%d of %d shards are read", len(readers), p.Shards())
		}
	})
}

// docs/protocol.md I11: the order depends on the five numbers only, so it can be written down.
func TestOrderNeverChanges(t *testing.T) {
	p := Plan{N: 10, ShardLen: 4, Micro: 2, Lanes: 2, Seed: 43}
	got := ""
	for step := uint64(1); step <= 6; step++ {
		got += fmt.Sprint(p.At(step, 0), p.At(step, 1), " ")
	}
	if want := "[8 9] [1 2] [3 0] [6 5] [] [4 7] [9 8] [5 7] [4 6] [1 0] [] [3 2] "; got != want {
		t.Errorf("order is %s, want %s: a changed order changes the result of every run", got, want)
	}
}

func TestEpochsAndSeedsHaveDifferentOrders(t *testing.T) {
	order := func(p Plan, epoch int) (all []Sample) {
		for step := range p.Steps() {
			all = append(all, p.At(uint64(epoch*p.Steps()+step+1), 0)...)
		}
		return all
	}
	p := Plan{N: 500, ShardLen: 64, Micro: 1, Lanes: 1, Seed: 1}
	q := p
	q.Seed = 2
	for name, other := range map[string][]Sample{"next epoch": order(p, 1), "other seed": order(q, 0)} {
		same := 0
		for i, s := range order(p, 0) {
			if other[i] == s {
				same++
			}
		}
		if same > 20 {
			t.Errorf("%s: %d of %d samples stand in the same place", name, same, p.N)
		}
	}
}

func TestLargePlansDoNotOverflow(t *testing.T) {
	p := Plan{N: 1 << 40, ShardLen: 1 << 10, Micro: 1, Lanes: 1 << 20, Seed: 3}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	m, l := big.NewInt(int64(p.MicroBatches())), big.NewInt(int64(p.Lanes))
	for _, lane := range []int{0, 1, 777, 1<<20 - 1, 1 << 20} {
		want := new(big.Int).Div(new(big.Int).Mul(m, big.NewInt(int64(lane))), l)
		if got := p.share(lane); big.NewInt(int64(got)).Cmp(want) != 0 {
			t.Errorf("lane %d begins at micro-batch %d, want %v", lane, got, want)
		}
	}
	if s := p.At(uint64(p.Steps()), p.Lanes-1); len(s) != 1 || s[0] < 0 || int(s[0]) >= p.N {
		t.Errorf("the last micro-batch is %v", s)
	}
}

func TestPlanRefusesNumbersThatMakeNone(t *testing.T) {
	good := NewPlan(100, 2, 8, 1)
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for i, edit := range []func(*Plan){
		func(p *Plan) { p.N = 0 }, func(p *Plan) { p.ShardLen = 0 }, func(p *Plan) { p.Micro = -1 }, func(p *Plan) { p.Lanes = 0 },
		func(p *Plan) { p.N = 1<<40 + 1 },
	} {
		bad := good
		edit(&bad)
		if bad.Validate() == nil {
			t.Errorf("plan %d, %+v, is valid", i, bad)
		}
	}
}

func BenchmarkAt(b *testing.B) {
	p := NewPlan(1<<20, 1, 32, 43)
	for b.Loop() {
		p.At(777, 5)
	}
}

func ExamplePlan() {
	p := Plan{N: 6, ShardLen: 4, Micro: 1, Lanes: 2, Seed: 7}
	for step := uint64(1); step <= uint64(p.Steps()); step++ {
		fmt.Println(p.At(step, 0), p.At(step, 1))
	}
	// Output:
	// [3] [0]
	// [1] [5]
	// [2] [4]
}
