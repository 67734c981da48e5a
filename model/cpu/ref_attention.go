package cpu

import (
	"math"

	"github.com/torctrain/torc/internal/detmath"
	"github.com/torctrain/torc/model"
)

func (ref) Attention(o, lse, q, k, v []float32, starts []int32, s model.AttnShape) {
	mustSequences("Attention", o, lse, q, k, v, starts, s)
	eachQuery(starts, s, func(t, first, h, kv int) {
		scores := refScores(q, k, t, first, h, kv, s)
		top, sum := math.Inf(-1), 0.0
		for _, z := range scores {
			top = max(top, z)
		}
		for _, z := range scores {
			sum += detmath.Exp(z - top)
		}
		L := top + detmath.Log(sum)
		lse[t*s.H+h] = float32(L)
		out := make([]float64, s.D)
		for j, z := range scores {
			p, v := detmath.Exp(z-L), v[((first+j)*s.KV+kv)*s.D:]
			for i := range out {
				out[i] += float64(p * float64(v[i]))
			}
		}
		narrow(o[(t*s.H+h)*s.D:], out)
	})
}

func (ref) AttentionGrad(dq, dk, dv, do, o, lse, q, k, v []float32, starts []int32, s model.AttnShape) {
	T := mustSequences("AttentionGrad", o, lse, q, k, v, starts, s)
	mustLen("AttentionGrad", "do", len(do), T*s.H*s.D)
	mustLen("AttentionGrad", "dq", len(dq), T*s.H*s.D)
	mustLen("AttentionGrad", "dk", len(dk), T*s.KV*s.D)
	mustLen("AttentionGrad", "dv", len(dv), T*s.KV*s.D)
	sumQ, sumK, sumV := make([]float64, len(dq)), make([]float64, len(dk)), make([]float64, len(dv))
	eachQuery(starts, s, func(t, first, h, kv int) {
		q0 := (t*s.H + h) * s.D
		delta := 0.0 // Σ_j p_j·dp_j, which is do·o
		for i := range s.D {
			delta += float64(do[q0+i]) * float64(o[q0+i])
		}
		for j, z := range refScores(q, k, t, first, h, kv, s) {
			k0 := ((first+j)*s.KV + kv) * s.D
			p := detmath.Exp(z - float64(lse[t*s.H+h]))
			dp := 0.0
			for i := range s.D {
				dp += float64(do[q0+i]) * float64(v[k0+i])
			}
			ds := p * (dp - delta) * float64(s.Scale)
			for i := range s.D {
				sumQ[q0+i] += float64(ds * float64(k[k0+i]))
				sumK[k0+i] += float64(ds * float64(q[q0+i]))
				sumV[k0+i] += float64(p * float64(do[q0+i]))
			}
		}
	})
	narrow(dq, sumQ)
	narrow(dk, sumK)
	narrow(dv, sumV)
}

// eachQuery calls f for each token t and query head h, with the first key position t sees and h's key-value head.
func eachQuery(starts []int32, s model.AttnShape, f func(t, first, h, kv int)) {
	for i := range len(starts) - 1 {
		for t := int(starts[i]); t < int(starts[i+1]); t++ {
			first := int(starts[i])
			if s.Window > 0 {
				first = max(first, t-s.Window+1)
			}
			for h := range s.H {
				f(t, first, h, h/(s.H/s.KV))
			}
		}
	}
}

// refScores are the scaled products of one query with the keys it sees.
func refScores(q, k []float32, t, first, h, kv int, s model.AttnShape) []float64 {
	scores := make([]float64, t+1-first)
	for j := range scores {
		dot := 0.0
		for i := range s.D {
			dot += float64(q[(t*s.H+h)*s.D+i]) * float64(k[((first+j)*s.KV+kv)*s.D+i])
		}
		scores[j] = dot * float64(s.Scale)
	}
	return scores
}

func narrow(dst []float32, src []float64) {
	for i, x := range src {
		dst[i] = float32(x)
	}
}
