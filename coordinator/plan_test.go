package main

import (
	"fmt"
	"testing"
)

func TestLikeWeightsOfNeighbouringLayersAreOneRow(t *testing.T) {
	var weights []planWeight
	for layer := 5; layer >= 0; layer-- { // the order of backward
		trained := 7
		if layer == 2 {
			trained = 8
		}
		weights = append(weights,
			planWeight{fmt.Sprintf("model.layers.%d.mlp.down_proj.weight", layer), [2]int{4, 6}, trained},
			planWeight{fmt.Sprintf("model.layers.%d.mlp.up_proj.weight", layer), [2]int{6, 4}, 7})
	}
	weights = append(weights, planWeight{"model.embed_tokens.weight", [2]int{9, 4}, 36})
	var got []string
	for _, g := range alike(weights) {
		got = append(got, fmt.Sprint(g.layers(), " ", g.Name, " ", g.Shape, " ", g.Trained))
	}
	want := []string{
		"3–5 mlp.down_proj [4 6] 7",
		"0–5 mlp.up_proj [6 4] 7",
		"2 mlp.down_proj [4 6] 8",
		"0–1 mlp.down_proj [4 6] 7",
		" model.embed_tokens.weight [9 4] 36",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("rows\n%q, want\n%q", got, want)
	}
}
