package detmath

import (
	"math"
	"testing"
)

func TestKnownValues(t *testing.T) {
	for _, c := range []struct{ got, want float64 }{
		{Exp(0), 1}, {Exp(1), math.E}, {Exp(-745.2), 0}, {Exp(710), math.Inf(1)},
		{Log(1), 0}, {Log(2), math.Ln2}, {Log(0x1p-1074), -1074 * math.Ln2},
	} {
		if c.got != c.want && math.Abs(c.got-c.want) > 2e-16*math.Abs(c.want) {
			t.Errorf("got %v, want %v", c.got, c.want)
		}
	}
}
