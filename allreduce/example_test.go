package allreduce_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/internal/view"
)

// Three members, each with one lane, sum a gradient of two values.
func Example() {
	const step, lanes, bits = 1, 3, 27
	gradients := [][]float32{{0.5, -1}, {0.25, 2}, {0.125, 4}}
	net := allreduce.MemNet(3)
	means := make([][]float32, 3)
	var wg sync.WaitGroup
	for rank, g := range gradients {
		wg.Go(func() {
			id := allreduce.Identity{Run: "example", View: 1, Rank: rank, Members: 3, Order: []int{0, 1, 2}}
			ring := allreduce.NewRing(id, net.Mesh(id), allreduce.Default())
			defer ring.Close()
			scales, total := allreduce.NewScales(1), make([]int32, 2)
			for try := uint32(0); ; try++ {
				own, side := make([]int32, 2), allreduce.NewSide(1, lanes)
				side.Max[0], _ = allreduce.Quantise(own, g, scales[0])
				side.Tokens, side.Counted = 10, 2
				side.Add(step, rank)
				at := view.Position{View: 1, Step: step, Try: try}
				if err := ring.Sum(context.Background(), at, allreduce.Fence{}, own, total, side, nil); err != nil {
					fmt.Println(err)
					return
				}
				next, commit, err := scales.Judge(side, step, lanes, bits)
				if err != nil {
					fmt.Println(err)
					return
				}
				if scales = next; commit {
					means[rank] = make([]float32, 2)
					allreduce.Dequantise(means[rank], total, scales[0], side.Counted)
					return
				}
			}
		})
	}
	wg.Wait()
	fmt.Println(means)
	// Output: [[0.14583333 0.8333333] [0.14583333 0.8333333] [0.14583333 0.8333333]]
}
