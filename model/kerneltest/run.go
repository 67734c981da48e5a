package kerneltest

import (
	"math"
	"testing"

	"github.com/torctrain/torc/model"
)

// Run checks got against ref, the specification. Each tolerance of Float32 may be replaced by a wider one, for arithmetic
// narrower than float32.
func Run(t *testing.T, ref, got model.Kernels, wider ...map[string]Tolerance) {
	t.Helper()
	for _, c := range cases() {
		tol, ok := Float32[c.kernel]
		for _, w := range wider {
			if w, found := w[c.kernel]; found {
				tol = w
			}
		}
		if !ok {
			t.Fatalf("no tolerance for %s", c.kernel)
		}
		compare(t, c, tol, results(t, c, ref), results(t, c, got))
	}
	rows(t, got)
	nonFinite(t, got)
	lengths(t, got)
}

// SameBits checks that a and the others give the same bits in every case.
func SameBits(t *testing.T, a model.Kernels, others ...model.Kernels) {
	t.Helper()
	for _, c := range cases() {
		want := results(t, c, a)
		for _, b := range others {
			compare(t, c, Tolerance{}, want, results(t, c, b))
		}
	}
}

// results runs c once.
func results(t *testing.T, c check, k model.Kernels) []output {
	t.Helper()
	mem := newMemory(c.String())
	c.run(mem, k)
	if name := mem.changed(); name != "" {
		t.Errorf("%v of %s: input %s was written to", c, k.Name(), name)
	}
	return mem.results()
}

func compare(t *testing.T, c check, tol Tolerance, want, got []output) {
	t.Helper()
	for i, w := range want {
		if at := tol.worst(got[i].v, w.v); at >= 0 {
			t.Errorf("%v: %s is %v (%#08x), want %v (%#08x), tolerance %+v", c, w.at(at), got[i].v[at],
				math.Float32bits(got[i].v[at]), w.v[at], math.Float32bits(w.v[at]), tol)
		}
	}
}
