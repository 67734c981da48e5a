package cpu

import (
	"fmt"
	"testing"

	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/kerneltest"
)

var _ model.Kernels = (*Kernels)(nil)

// eachTier runs f for the tiers of this processor.
func eachTier(t *testing.T, f func(t *testing.T, tier Tier)) {
	for _, tier := range Tiers() {
		t.Run(string(tier), func(t *testing.T) { f(t, tier) })
	}
}

func newKernels(t testing.TB, threads int, tier Tier) *Kernels {
	t.Helper()
	k, err := New(threads, tier)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

func TestKernelsMeetTheSpecification(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) { kerneltest.Run(t, Ref(), newKernels(t, 2, tier)) })
}

func TestGradientsAreDifferenceQuotients(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) { kerneltest.Gradients(t, newKernels(t, 1, tier)) })
}

func TestThreadsDoNotChangeBits(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		one := newKernels(t, 1, tier)
		for _, threads := range []int{2, 3, 7} {
			t.Run(fmt.Sprint(threads), func(t *testing.T) { kerneltest.SameBits(t, one, newKernels(t, threads, tier)) })
		}
	})
}

func TestTiersOfOneClassGiveTheSameBits(t *testing.T) {
	tiers := Tiers()
	for _, tier := range tiers[1:] {
		a, b := newKernels(t, 2, tiers[0]), newKernels(t, 2, tier)
		if a.Name() == b.Name() {
			kerneltest.SameBits(t, a, b)
		}
	}
}

func attnShape(H, KV, D int) model.AttnShape {
	return model.AttnShape{H: H, KV: KV, D: D, Scale: 0.2}
}

var adamWStep = model.AdamWStep{B1: 0.9, B2: 0.95, OneB1: 0.1, OneB2: 0.05, Eps: 1e-6, Rate: 3e-4, Decay: 1e-5}
