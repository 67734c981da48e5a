package cpu

import (
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
		kerneltest.SameBits(t, newKernels(t, 1, tier), newKernels(t, 2, tier), newKernels(t, 3, tier), newKernels(t, 7, tier))
	})
}

func TestTiersOfOneClassGiveTheSameBits(t *testing.T) {
	classes := map[string][]model.Kernels{}
	for _, tier := range Tiers() {
		k := newKernels(t, 2, tier)
		classes[k.Name()] = append(classes[k.Name()], k)
	}
	for _, same := range classes {
		kerneltest.SameBits(t, same[0], same[1:]...)
	}
}

func attnShape(H, KV, D int) model.AttnShape {
	return model.AttnShape{H: H, KV: KV, D: D, Scale: 0.2}
}

var adamWStep = model.AdamWStep{B1: 0.9, B2: 0.95, OneB1: 0.1, OneB2: 0.05, Eps: 1e-6, Rate: 3e-4, Decay: 1e-5}
