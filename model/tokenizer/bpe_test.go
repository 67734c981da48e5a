package tokenizer

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// randomBPE has symbols 0 to 3, whose merges make longer and longer tokens in random order of rank.
func randomBPE(t *rapid.T) *bpe {
	b := &bpe{merges: map[pair]merge{}}
	words := []string{"a", "b", "c", "d"}
	ids := map[string]int32{"a": 0, "b": 1, "c": 2, "d": 3}
	count := rapid.IntRange(0, 60).Draw(t, "merges")
	ranks := rapid.Permutation(make60()).Draw(t, "ranks")
	for range count {
		left := rapid.IntRange(0, len(words)-1).Draw(t, "left")
		right := rapid.IntRange(0, len(words)-1).Draw(t, "right")
		word := words[left] + words[right]
		if len(word) > 12 {
			continue
		}
		id, known := ids[word]
		if !known {
			id = int32(len(words))
			words, ids[word] = append(words, word), id
		}
		b.merges[pair{int32(left), int32(right)}] = merge{rank: ranks[len(b.merges)], id: id}
	}
	return b
}

func make60() []uint32 {
	ranks := make([]uint32, 60)
	for i := range ranks {
		ranks[i] = uint32(i)
	}
	return ranks
}

// slowMerge is the definition: apply the merge of lowest rank, leftmost first, until there is none.
func slowMerge(b *bpe, ids []int32) []int32 {
	for {
		best, at := merge{rank: noMerge}, 0
		for i := range len(ids) - 1 {
			if m, ok := b.merges[pair{ids[i], ids[i+1]}]; ok && m.rank < best.rank {
				best, at = m, i
			}
		}
		if best.rank == noMerge {
			return ids
		}
		ids = slices.Concat(ids[:at], []int32{best.id}, ids[at+2:])
	}
}

func TestBothMergersFollowTheDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := randomBPE(t)
		ids := rapid.SliceOfN(rapid.Int32Range(0, 3), 0, 48).Draw(t, "ids")
		want := slowMerge(b, slices.Clone(ids))
		scan, heap := slices.Clone(ids), slices.Clone(ids)
		if got := scan[:b.mergeScan(scan)]; !slices.Equal(got, want) {
			t.Errorf("mergeScan(%v) = %v, want %v", ids, got, want)
		}
		if got := heap[:b.mergeHeap(heap, new(word))]; !slices.Equal(got, want) {
			t.Errorf("mergeHeap(%v) = %v, want %v", ids, got, want)
		}
	})
}
