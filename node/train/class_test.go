package train

import (
	"testing"

	"github.com/torctrain/torc/model/cpu"
)

// protocol.md §2, Arithmetic: threads do not change a class, another tier's twin may.
func TestClassDoesNotDependOnThreads(t *testing.T) {
	classes := map[cpu.Tier]string{}
	for _, tier := range cpu.Tiers() {
		for _, threads := range []int{1, 2, 5} {
			k, err := cpu.New(threads, tier)
			if err != nil {
				t.Fatal(err)
			}
			class := Class(k)
			k.Close()
			if was, seen := classes[tier]; seen && was != class {
				t.Errorf("%s with %d threads is %s, with 1 %s", tier, threads, class, was)
			}
			classes[tier] = class
		}
	}
	if a, b := classes[cpu.AVX2], classes[cpu.AVX512]; a != "" && b != "" && a != b {
		t.Errorf("avx2 is %s, avx512 %s: want one class", a, b)
	}
	if classes[cpu.AVX2] == classes[cpu.Portable] {
		t.Errorf("avx2 and portable are both %s: the test sees too little", classes[cpu.Portable])
	}
}

func BenchmarkClass(b *testing.B) {
	k, err := cpu.New(2, cpu.Auto)
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close()
	for b.Loop() {
		Class(k)
	}
}
