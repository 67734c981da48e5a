package allreduce

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

var (
	// ErrProof is returned by Scales.Judge when a sum does not hold each lane exactly once.
	ErrProof = errors.New("allreduce: a lane is missing or counted twice")
	// ErrTooLarge is returned by Scales.Judge when a gradient does not fit even the smallest scale.
	ErrTooLarge = errors.New("allreduce: gradient is too large for any scale")
)

// Scales holds the exponent of each trained tensor: g is summed as round(g·2^e). Members hold the same Scales.
type Scales []int16

// NewScales returns scales for a run that has not begun: none.
func NewScales(tensors int) Scales {
	s := make(Scales, tensors)
	for j := range s {
		s[j] = NoScale
	}
	return s
}

// Judge decides, from totals every member has alike, whether the step just summed under s may commit.
//
// It may iff no lane was non-finite and, for every tensor j, L·⌈M_j·2^e_j⌉ < 2^31, so that no partial sum in any order
// can have overflowed. Then next equals s. Otherwise next are the scales for the next try: those of the tensors that
// failed are set from M_j. M_j does not depend on e_j, so one more try suffices, unless lanes are non-finite, which the
// caller finds in side.NonFinite and handles by Config.OnNonFinite.
//
// err is ErrProof when the sum does not contain each of the lanes exactly once at this step; such a sum must not be used.
//
// Source: protocol.md §2.3.
func (s Scales) Judge(side *Side, step uint64, lanes, bits int) (next Scales, commit bool, err error) {
	if err := side.Prove(step, lanes); err != nil {
		return nil, false, err
	}
	if len(side.Max) != len(s) {
		panic(fmt.Sprintf("allreduce: Judge: len(side.Max)=%d, want %d", len(side.Max), len(s)))
	}
	next, commit = slices.Clone(s), true
	for _, word := range side.NonFinite {
		commit = commit && word == 0
	}
	for j, m := range side.Max {
		if fits(m, s[j], lanes) {
			continue
		}
		commit = false
		next[j] = aim(m, lanes, bits)
		if !fits(m, next[j], lanes) {
			return nil, false, fmt.Errorf("%w: tensor %d reaches %g over %d lanes", ErrTooLarge, j, math.Float32frombits(m), lanes)
		}
	}
	return next, commit, nil
}

// After returns the scales for the step that follows a committed one: each moves towards L·M_j·2^e_j ≈ 2^bits when it is
// more than one bit off, down at once, up by one, and not at all when M_j = 0.
//
// Source: protocol.md §2.4.
func (s Scales) After(side *Side, lanes, bits int) Scales {
	next := slices.Clone(s)
	for j, m := range side.Max {
		if m == 0 || s[j] == NoScale {
			continue
		}
		switch size := float64(lanes) * value(m) * pow2(s[j]); {
		case size > bit(bits+1):
			next[j] = aim(m, lanes, bits)
		case size < bit(bits-1):
			next[j] = min(s[j]+1, maxScale)
		}
	}
	return next
}

// fits reports whether L lanes of at most M cannot overflow an int32 under scale e.
func fits(m uint32, e int16, lanes int) bool {
	if m == 0 {
		return true
	}
	if e == NoScale {
		return false
	}
	x := value(m) * pow2(e)
	return x < bit(31) && float64(lanes)*-math.Floor(-x) < bit(31)
}

// aim returns the largest scale with L·M·2^e ≤ 2^bits, within bounds.
func aim(m uint32, lanes, bits int) int16 {
	// M has 24 bits and L fewer than 29, so the product is exact and never subnormal.
	v := math.Float64bits(float64(lanes) * value(m))
	e := bits - (int(v>>52) - 1023)
	if v<<12 != 0 {
		e--
	}
	return int16(max(minScale, min(e, maxScale)))
}

// value is the float32 with the given bits, as float64.
func value(bits uint32) float64 { return float64(math.Float32frombits(bits)) }

// bit is 2^n.
func bit(n int) float64 { return float64(uint64(1) << n) }
