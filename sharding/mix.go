package sharding

import (
	"slices"

	"github.com/torctrain/torc/internal/rng"
)

// of takes the part of the samples of files, in the order of the files and of their rows.
//
// What is held out is Split of all samples together, before weights: sample i of n is held out if a permutation of n, drawn
// from the seed, puts it among the first. Of what remains, a file of n samples and weight w has ⌊w⌋ copies of all of them,
// one behind the other, and behind those the nearest whole number to (w − ⌊w⌋)·n of them, chosen likewise, each file by itself.
func (p Part) of(files []indexed) ([]indexed, error) {
	if p.Split > 0 {
		n := 0
		for _, x := range files {
			n += len(x.places)
		}
		k, err := p.heldOut(n)
		if err != nil {
			return nil, err
		}
		order, at := rng.New(p.Seed).Sub(streamSplit).Permutation(n), 0
		files = slices.Clone(files)
		for i, x := range files {
			files[i].places = chosen(x.places, func(j int) bool { return (order.Place(at+j) < k) == p.Held })
			at += len(x.places)
		}
	}
	var out []indexed
	for i, x := range files {
		if len(x.places) == 0 {
			continue
		}
		w := x.weight
		if w == 0 || p.Held {
			w = 1
		}
		whole := int(w)
		for range whole {
			out = append(out, x)
		}
		if k := int(nearest(float64((w - float64(whole)) * float64(len(x.places))))); k > 0 {
			order := rng.New(p.Seed).Sub(streamWeight, uint64(i)).Permutation(len(x.places))
			x.places = chosen(x.places, func(j int) bool { return order.Place(j) < k })
			out = append(out, x)
		}
	}
	return out, nil
}

// chosen are the places that take says.
func chosen(places []place, take func(int) bool) []place {
	var out []place
	for j, p := range places {
		if take(j) {
			out = append(out, p)
		}
	}
	return out
}
