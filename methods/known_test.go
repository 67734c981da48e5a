package methods

import (
	"fmt"
	"testing"

	"github.com/torctrain/torc/model/cpu"
)

// The answers change only when results of runs change: then the class of the kernels, or the spec's meaning, has a new name.
func TestKnownAnswerIsPinned(t *testing.T) {
	pinned := map[string]string{"cpu-1": "0ba3c17c72e27c33", "cpu-portable-1": "80bb6820507ca0df"}
	for _, tier := range cpu.Tiers() {
		for _, threads := range []int{1, 3} {
			k := fast(t, threads, tier)
			if got := fmt.Sprintf("%x", KnownAnswer(k))[:16]; got != pinned[k.Name()] {
				t.Errorf("%s with %d threads answers %s, want %s", tier, threads, got, pinned[k.Name()])
			}
		}
	}
}

func BenchmarkKnownAnswer(b *testing.B) {
	k := fast(b, 1, cpu.Auto)
	for range b.N {
		KnownAnswer(k)
	}
}
