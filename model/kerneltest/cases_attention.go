package kerneltest

import (
	"fmt"

	"github.com/torctrain/torc/model"
)

// attention is one shape: lengths of the sequences of a batch, heads, features, window.
type attention struct {
	lengths []int
	s       model.AttnShape
}

func attentions() []attention {
	shape := func(H, KV, D, window int) model.AttnShape {
		return model.AttnShape{H: H, KV: KV, D: D, Window: window, Scale: 0.125}
	}
	return []attention{
		{[]int{}, shape(2, 1, 16, 0)},
		{[]int{0}, shape(2, 1, 16, 0)},
		{[]int{1}, shape(1, 1, 16, 0)},
		{[]int{5}, shape(2, 1, 8, 0)},
		{[]int{2}, shape(3, 3, 2, 0)},
		{[]int{16, 15, 17}, shape(2, 2, 32, 0)},
		{[]int{63}, shape(3, 1, 64, 0)},
		{[]int{64}, shape(3, 1, 64, 0)},
		{[]int{65}, shape(3, 1, 64, 0)},
		{[]int{127, 1}, shape(4, 1, 32, 0)},
		{[]int{128, 129}, shape(4, 2, 16, 0)},
		{[]int{0, 3, 0, 0, 70, 0}, shape(6, 2, 20, 0)},
		{[]int{200, 1, 2, 3, 1, 1, 7, 1}, shape(2, 1, 80, 0)},
		{[]int{1, 1, 1, 1, 150}, shape(2, 2, 128, 0)},
		{[]int{100}, shape(8, 2, 130, 0)},
		{[]int{90, 3}, shape(2, 1, 16, 1)},
		{[]int{90, 70}, shape(4, 2, 32, 7)},
		{[]int{200}, shape(2, 1, 16, 63)},
		{[]int{200}, shape(2, 1, 16, 64)},
		{[]int{200, 66}, shape(2, 1, 16, 65)},
		{[]int{270}, shape(2, 1, 32, 100)},
		{[]int{150}, shape(3, 1, 16, 1000)},
	}
}

func (a attention) String() string {
	s := a.s
	return fmt.Sprintf("%v,H=%d,KV=%d,D=%d,window=%d", a.lengths, s.H, s.KV, s.D, s.Window)
}

func (a attention) starts() []int32 {
	starts := []int32{0}
	for _, n := range a.lengths {
		starts = append(starts, starts[len(starts)-1]+int32(n))
	}
	return starts
}

func (a attention) tokens() int { return int(a.starts()[len(a.lengths)]) }

func attentionCases() (all []check) {
	for _, a := range attentions() {
		T, s := a.tokens(), a.s
		for _, dev := range []float64{1, 2} { // flat softmax and peaked softmax
			name := fmt.Sprintf("%v,dev=%v", a, dev)
			all = append(all, check{"Attention", name, func(mem *memory, k model.Kernels) {
				q, kk, v := mem.normal("q", T*s.H*s.D, dev), mem.normal("k", T*s.KV*s.D, dev), mem.normal("v", T*s.KV*s.D, 1)
				k.Attention(mem.out("o", T*s.H*s.D), mem.out("lse", T*s.H), q, kk, v, a.starts(), s)
			}}, check{"AttentionGrad", name, func(mem *memory, k model.Kernels) {
				q, kk, v := mem.normal("q", T*s.H*s.D, dev), mem.normal("k", T*s.KV*s.D, dev), mem.normal("v", T*s.KV*s.D, 1)
				do := mem.normal("do", T*s.H*s.D, 1)
				o, lse := mem.raw(T*s.H*s.D), mem.raw(T*s.H)
				k.Attention(o, lse, q, kk, v, a.starts(), s)
				mem.keep("o", o)
				mem.keep("lse", lse)
				dq, dk, dv := mem.out("dq", len(q)), mem.out("dk", len(kk)), mem.out("dv", len(v))
				k.AttentionGrad(dq, dk, dv, do, o, lse, q, kk, v, a.starts(), s)
			}})
		}
	}
	for _, skip := range []int{1, 63, 64, 65, 99} {
		all = append(all, check{"Attention", fmt.Sprintf("skip=%d of 100", skip), func(mem *memory, k model.Kernels) {
			s := model.AttnShape{H: 4, KV: 2, D: 32, Skip: skip, Scale: 0.2}
			q, kk, v := mem.normal("q", 100*s.H*s.D, 1), mem.normal("k", 100*s.KV*s.D, 1), mem.normal("v", 100*s.KV*s.D, 1)
			o, lse := mem.out("o", len(q)), mem.out("lse", 100*s.H)
			k.Attention(o, lse, q, kk, v, []int32{0, 100}, s)
			mem.only("o and lse", append(append([]float32(nil), o[skip*s.H*s.D:]...), lse[skip*s.H:]...))
		}})
	}
	return all
}
