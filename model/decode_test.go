package model_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/torctrain/torc/model"
)

// However the tokens come, in one piece, one by one or in between, the cached path has the bits of the full forward pass.
func TestCachedLogitsHaveTheBitsOfTheFullForward(t *testing.T) {
	for name, changes := range families() {
		t.Run(name, func(t *testing.T) {
			// 150 tokens: more than two blocks of keys
			c := tiny(t, changes)
			w := weights(c, model.BF16)
			ids := make([]int32, 150)
			for i := range ids {
				ids[i] = int32((i*i + 3*i) % c.Vocab)
			}
			for _, k := range kernels(t) {
				m := model.New(w, k)
				full := m.AllLogits(ids)
				for _, pieces := range [][]int{{150}, {149, 1}, {1, 1, 1, 60, 1, 1, 64, 21}, append([]int{120}, slices.Repeat([]int{1}, 30)...)} {
					d := m.Decoder(150)
					d.Next(ids[:7])
					d.Reset()
					at := 0
					for _, n := range pieces {
						logits := d.Next(ids[at : at+n])
						at += n
						if d.Len() != at || d.Room() != 150-at {
							t.Fatalf("decoder has %d tokens and room for %d after %d", d.Len(), d.Room(), at)
						}
						if !sameBits(logits, full[(at-1)*c.Vocab:at*c.Vocab]) {
							t.Fatalf("%s, pieces %v: logits after token %d differ from those of the full forward pass", k.Name(), pieces[:min(8, len(pieces))], at)
						}
					}
				}
			}
		})
	}
}

func TestGreedyTakesTheBestTokenUntilToldToStop(t *testing.T) {
	c := tiny(t, nil)
	for _, k := range kernels(t) {
		m := model.New(weights(c, model.F32), k)
		prompt := []int32{1, 5, 2}
		var want []int32
		for range 6 {
			logits := m.AllLogits(append(slices.Clone(prompt), want...))
			last := logits[len(logits)-c.Vocab:]
			best := 0
			for i := range last {
				if last[i] > last[best] {
					best = i
				}
			}
			want = append(want, int32(best))
		}
		d := m.Decoder(20)
		got := model.Greedy(d, prompt, 6, nil)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: greedy %v, want %v", k.Name(), got, want)
		}
		stop := want[2]
		first := slices.Index(want, stop)
		if got := model.Greedy(d, prompt, 6, func(id int32) bool { return id == stop }); !slices.Equal(got, want[:first+1]) {
			t.Errorf("%s: greedy up to %d is %v, want %v", k.Name(), stop, got, want[:first+1])
		}
		if got := model.Greedy(m.Decoder(5), prompt, 6, nil); !slices.Equal(got, want[:3]) {
			t.Errorf("%s: with room for 2 more tokens greedy is %v, want %v", k.Name(), got, want[:3])
		}
		if got := model.Greedy(m.Decoder(2), prompt, 6, nil); got != nil {
			t.Errorf("%s: a prompt that does not fit gives %v", k.Name(), got)
		}
	}
}

// Decoding several sequences at a time is decoding each by itself, to the bit, whenever each begins and ends.
func TestSequencesDecodedTogetherHaveTheBitsTheyHaveAlone(t *testing.T) {
	for name, changes := range families() {
		t.Run(name, func(t *testing.T) {
			c := tiny(t, changes)
			w := weights(c, model.BF16)
			var prompts [][]int32
			for i := range 7 {
				p := make([]int32, 1+(i*29)%83)
				for j := range p {
					p[j] = int32((i*i + 5*j + j*j) % c.Vocab)
				}
				prompts = append(prompts, p)
			}
			stop := func(id int32) bool { return id%7 == 3 } // so that they end at different times
			for _, k := range kernels(t) {
				m := model.New(w, k)
				want := make([][]int32, len(prompts))
				for i, p := range prompts {
					want[i] = model.Greedy(m.Decoder(120), p, 20, stop)
				}
				for _, width := range []int{1, 2, 3, 16} {
					seen := 0
					for i, ids := range model.GreedyAll(m, prompts, 20, width, stop) {
						seen++
						if !slices.Equal(ids, want[i]) {
							t.Errorf("%s: prompt %d continues with %v when %d are decoded at a time, with %v alone", k.Name(), i, ids, width, want[i])
						}
					}
					if seen != len(prompts) {
						t.Errorf("%s: %d continuations of %d prompts, %d at a time", k.Name(), seen, len(prompts), width)
					}
				}
				a, b := m.Decoder(90), m.Decoder(90)
				alone := slices.Clone(a.Next(prompts[5]))
				a.Reset()
				b.Next(prompts[1])
				logits := model.NextAll([]*model.Decoder{b, a}, [][]int32{{1}, prompts[5]})
				if !sameBits(logits[1], alone) {
					t.Errorf("%s: logits beside another sequence differ from those alone", k.Name())
				}
			}
		})
	}
}
