package model

import (
	"encoding/json"
	"math"

	"github.com/torctrain/torc/internal/detmath"
)

// Rope says how positions turn queries and keys. Pair i of a head of D features turns by pos·f_i, f_i = Theta^(−2i/D),
// rescaled as Kind says.
type Rope struct {
	Theta float64
	Kind  string // default, linear or llama3
	// Factor stretches positions: by linear all of them; by llama3 those of pairs that turn less than Low times over
	// Original positions, fading out up to High times.
	Factor, Low, High float64
	Original          float64
}

// readRope reads the rotary fields: rope_theta and rope_scaling, or rope_parameters, which has both in one.
func readRope(f *fields) Rope {
	r := Rope{Theta: f.positive("rope_theta", 10000), Kind: "default"}
	for _, name := range []string{"rope_scaling", "rope_parameters"} {
		if !f.has(name) {
			continue
		}
		var raw json.RawMessage
		f.value(name, &raw, "an object")
		sub, err := parseFields(name+".", raw)
		if err != nil {
			f.failf(name, "%s is not an object", raw)
			return r
		}
		if r.Kind != "default" {
			f.failf(name, "rope_scaling and rope_parameters are both there: keep one")
		}
		r.read(sub)
		if sub.err != nil && f.err == nil {
			f.err = sub.err
		}
	}
	return r
}

func (r *Rope) read(f *fields) {
	r.Theta = f.positive("rope_theta", r.Theta)
	r.Kind = f.text("rope_type", f.text("type", "default"))
	switch r.Kind {
	case "default":
	case "linear":
		r.Factor = f.positive("factor", required)
	case "llama3":
		r.Factor = f.positive("factor", required)
		r.Low, r.High = f.positive("low_freq_factor", required), f.positive("high_freq_factor", required)
		r.Original = f.positive("original_max_position_embeddings", required)
		if f.err == nil && r.High <= r.Low {
			f.failf("high_freq_factor", "%g is not above low_freq_factor, %g", r.High, r.Low)
		}
	default:
		f.failf("rope_type", "%q is not supported: supported are default, linear and llama3", r.Kind)
	}
	f.must("partial_rotary_factor", 1)
	f.must("attention_factor", 1)
	f.rest(func(string) bool { return false })
}

// Frequencies are the angles in radians per position of the D/2 pairs of a head of D features.
// Source of the llama3 rule: the rescaling Meta published with Llama 3.1, as transformers computes it.
func (r Rope) Frequencies(D int) []float64 {
	f := make([]float64, D/2)
	for i := range f {
		f[i] = r.rescale(detmath.Pow(r.Theta, -float64(2*i)/float64(D)))
	}
	return f
}

func (r Rope) rescale(f float64) float64 {
	switch r.Kind {
	case "linear":
		return f / r.Factor
	case "llama3":
		turns := r.Original * f / (2 * math.Pi)
		if turns > r.High {
			return f
		}
		if turns < r.Low {
			return f / r.Factor
		}
		keep := (turns - r.Low) / (r.High - r.Low)
		return float64((1-keep)*f)/r.Factor + float64(keep*f)
	}
	return f
}

// ropeTable holds cos and sin of the angle of each position and pair, (positions, D/2), and the sines negated, which turn
// back. Angles are computed in float64 and rounded once, so an entry does not depend on how large the table is.
type ropeTable struct {
	freq           []float64
	positions      int
	cos, sin, back []float32
}

// grow makes the table cover at least that many positions.
func (r *ropeTable) grow(positions int) {
	if positions <= r.positions {
		return
	}
	n := max(positions, 2*r.positions)
	half := len(r.freq)
	r.cos, r.sin, r.back = make([]float32, n*half), make([]float32, n*half), make([]float32, n*half)
	for p := range n {
		for i, f := range r.freq {
			angle := float64(p) * f
			r.cos[p*half+i] = float32(detmath.Cos(angle))
			r.sin[p*half+i] = float32(detmath.Sin(angle))
			r.back[p*half+i] = -r.sin[p*half+i]
		}
	}
	r.positions = n
}
