package kerneltest

import (
	"fmt"

	"github.com/torctrain/torc/model"
)

// check is one call of one kernel. run takes its operands from m, so that all kernels see the same.
type check struct {
	kernel, name string
	run          func(m *memory, k model.Kernels)
}

func (c check) String() string { return c.kernel + "/" + c.name }

var dtypes = []model.DType{model.F32, model.F16, model.BF16}

// cases are all checks. Sizes stand just below, at and above 16 (virtual lanes), 64 (an unrolled sum, a key block), 128 and
// 512 (blocks of matrix products), and at 1.
func cases() []check {
	var all []check
	all = append(all, linearCases()...)
	all = append(all, sampledCases()...)
	all = append(all, normCases()...)
	all = append(all, elementCases()...)
	all = append(all, attentionCases()...)
	all = append(all, tokenCases()...)
	return all
}

// linear are (T, m, n).
var linear = [][3]int{
	{0, 5, 7},
	{1, 1, 1},
	{1, 16, 64},
	{1, 33, 130},
	{1, 200, 600},
	{2, 17, 15},
	{3, 100, 64},
	{5, 31, 48},
	{6, 64, 17},
	{7, 15, 129},
	{12, 96, 96},
	{13, 47, 33},
	{16, 16, 16},
	{17, 65, 63},
	{63, 24, 100},
	{64, 128, 64},
	{65, 129, 127},
	{100, 20, 257},
	{129, 66, 30},
	{40, 130, 520},
	{520, 18, 40},
	{30, 700, 36},
}

func linearCases() (all []check) {
	for i, s := range linear {
		for _, d := range dtypes {
			if d != model.F32 && i%3 != 0 {
				continue
			}
			T, m, n := s[0], s[1], s[2]
			name := fmt.Sprintf("T=%d,m=%d,n=%d,%v", T, m, n, d)
			all = append(all,
				check{"Linear", name, func(mem *memory, k model.Kernels) {
					w, x := mem.matrix("w", d, m, n), mem.normal("x", T*n, 1)
					k.Linear(mem.out("y", T*m), x, w, T)
				}},
				check{"LinearGradX", name, func(mem *memory, k model.Kernels) {
					w, dy := mem.matrix("w", d, m, n), mem.normal("dy", T*m, 1)
					k.LinearGradX(mem.inout("dx", T*n, 3), dy, w, T)
				}})
		}
		all = append(all, check{"GradDense", fmt.Sprintf("T=%d,m=%d,n=%d", s[0], s[1], s[2]), func(mem *memory, k model.Kernels) {
			T, m, n := s[0], s[1], s[2]
			dy, x := mem.normal("dy", T*m, 1), mem.normal("x", T*n, 1)
			k.GradDense(mem.inout("dw", m*n, 3), dy, x, T)
		}})
	}
	return all
}

func sampledCases() (all []check) {
	for _, s := range [][2]int{{0, 3}, {1, 1}, {1, 40}, {15, 17}, {16, 16}, {63, 65}, {64, 64}, {65, 7}, {130, 33}, {7, 200}} {
		all = append(all, check{"TransposePad", fmt.Sprintf("%d×%d", s[0], s[1]), func(mem *memory, k model.Kernels) {
			src := mem.normal("src", s[0]*s[1], 1)
			k.TransposePad(mem.out("dst", s[1]*model.Pad(s[0])), src, s[0], s[1])
		}})
	}
	for _, T := range []int{0, 1, 15, 64, 65, 128, 300, 513} {
		for name, at := range patterns(37, 53) {
			all = append(all, check{"GradAt", fmt.Sprintf("T=%d,%s", T, name), func(mem *memory, k model.Kernels) {
				const m, n = 37, 53
				k.GradAt(mem.out("dw", len(at)), mem.padded("dyT", m, T), mem.padded("xT", n, T), at, n, T)
			}})
		}
	}
	return all
}

// padded returns rows of T normal values, each followed by zeros up to Pad(T).
func (m *memory) padded(name string, rows, T int) []float32 {
	pad := model.Pad(T)
	v := m.raw(rows * pad)
	for r := range rows {
		for t := range T {
			v[r*pad+t] = float32(m.rng.NormFloat64())
		}
	}
	return m.keep(name, v)
}

// patterns are sorted selections of an (m, n) weight.
func patterns(m, n int) map[string][]uint32 {
	all := map[string][]uint32{"none": {}, "first": {0}, "last": {uint32(m*n - 1)}}
	for i := range m * n {
		u := uint32(i)
		all["all"] = append(all["all"], u)
		if i/n == 3 || i/n == 4 {
			all["two rows"] = append(all["two rows"], u)
		}
		if i%n == n-1 {
			all["last column"] = append(all["last column"], u)
		}
		if u*2654435761>>28 == 0 {
			all["sparse"] = append(all["sparse"], u)
		}
	}
	return all
}

var widths = []int{1, 2, 15, 16, 17, 48, 63, 64, 65, 127, 128, 130, 576, 1000}

func normCases() (all []check) {
	for i, C := range widths {
		T, d := []int{1, 2, 5, 33}[i%4], dtypes[i%3]
		name := fmt.Sprintf("T=%d,C=%d,%v", T, C, d)
		all = append(all,
			check{"RMSNorm", name, func(mem *memory, k model.Kernels) {
				x, w := mem.normal("x", T*C, 3), mem.matrix("w", d, 1, C)
				k.RMSNorm(mem.out("y", T*C), mem.out("rstd", T), x, w, 1e-5, T)
			}},
			check{"RMSNormGrad", name, func(mem *memory, k model.Kernels) {
				dy, x, w := mem.normal("dy", T*C, 1), mem.normal("x", T*C, 3), mem.matrix("w", d, 1, C)
				rstd := mem.uniform("rstd", T, 0.1, 0.5)
				k.RMSNormGrad(mem.inout("dx", T*C, 1), mem.inout("dw", C, 1), dy, x, rstd, w, T)
			}},
			check{"RMSNormGrad", name + ",frozen", func(mem *memory, k model.Kernels) {
				dy, x, w := mem.normal("dy", T*C, 1), mem.normal("x", T*C, 3), mem.matrix("w", d, 1, C)
				rstd := mem.uniform("rstd", T, 0.1, 0.5)
				k.RMSNormGrad(mem.inout("dx", T*C, 1), nil, dy, x, rstd, w, T)
			}})
	}
	all = append(all, check{"RMSNorm", "tiny", func(mem *memory, k model.Kernels) {
		x, w := mem.normal("x", 3*100, 1e-4), mem.matrix("w", model.F32, 1, 100)
		k.RMSNorm(mem.out("y", 3*100), mem.out("rstd", 3), x, w, 1e-6, 3)
	}})
	for _, D := range []int{2, 6, 16, 32, 64, 80, 128, 130} {
		for _, heads := range []int{1, 3} {
			all = append(all, check{"Rope", fmt.Sprintf("heads=%d,D=%d", heads, D), func(mem *memory, k model.Kernels) {
				const T, positions = 7, 50
				cos, sin := mem.uniform("cos", positions*D/2, -1, 1), mem.uniform("sin", positions*D/2, -1, 1)
				pos := append(mem.ids(T-1, positions), positions-1)
				k.Rope(mem.inout("x", T*heads*D, 1), pos, cos, sin, heads, D)
			}})
		}
	}
	return all
}

// elements are lengths of vectors, beyond the part that one thread takes.
var elements = []int{0, 1, 15, 16, 17, 31, 63, 64, 65, 100, 128, 1000, 4095, 4096, 4097, 20011}

func elementCases() (all []check) {
	add := func(kernel, name string, run func(mem *memory, k model.Kernels)) {
		all = append(all, check{kernel, name, run})
	}
	for _, n := range elements {
		name := fmt.Sprintf("n=%d", n)
		add("SwiGLU", name, func(mem *memory, k model.Kernels) {
			gate, up := mem.uniform("gate", n, -20, 20), mem.normal("up", n, 2)
			k.SwiGLU(mem.out("y", n), gate, up)
		})
		add("SwiGLU", name+",far", func(mem *memory, k model.Kernels) {
			gate, up := mem.uniform("gate", n, -85, 85), mem.normal("up", n, 2)
			k.SwiGLU(mem.out("y", n), gate, up)
		})
		add("SwiGLU", name+",y=gate", func(mem *memory, k model.Kernels) {
			up, gate := mem.normal("up", n, 2), mem.inout("gate", n, 4)
			k.SwiGLU(gate, gate, up)
		})
		add("SwiGLU", name+",y=up", func(mem *memory, k model.Kernels) {
			gate, up := mem.normal("gate", n, 4), mem.inout("up", n, 2)
			k.SwiGLU(up, gate, up)
		})
		add("SwiGLUGrad", name, func(mem *memory, k model.Kernels) {
			dy, gate, up := mem.normal("dy", n, 1), mem.uniform("gate", n, -20, 20), mem.normal("up", n, 2)
			k.SwiGLUGrad(mem.out("dgate", n), mem.out("dup", n), dy, gate, up)
		})
		add("SwiGLUGrad", name+",in place", func(mem *memory, k model.Kernels) {
			dy, gate, up := mem.normal("dy", n, 1), mem.inout("dgate", n, 4), mem.inout("dup", n, 2)
			k.SwiGLUGrad(gate, up, dy, gate, up)
		})
		add("Add", name, func(mem *memory, k model.Kernels) {
			x := mem.normal("x", n, 1)
			k.Add(mem.inout("y", n, 1), x)
		})
		add("AdamW", name, func(mem *memory, k model.Kernels) {
			g, v := mem.normal("g", n, 1e-3), mem.raw(n)
			for i := range v {
				v[i] = float32(mem.rng.Float64() * 1e-5)
			}
			mem.outputs = append(mem.outputs, output{"v", v})
			k.AdamW(mem.inout("theta", n, 0.1), mem.inout("m", n, 1e-3), v, g, adamW)
		})
	}
	for i, m := range widths {
		T, d := []int{0, 1, 2, 5, 70}[i%5], dtypes[i%3]
		add("AddBias", fmt.Sprintf("T=%d,m=%d,%v", T, m, d), func(mem *memory, k model.Kernels) {
			b := mem.matrix("b", d, 1, m)
			k.AddBias(mem.inout("y", T*m, 1), b, T)
		})
	}
	return all
}

var adamW = model.AdamWStep{B1: 0.9, B2: 0.95, OneB1: 0.1, OneB2: 0.05, Eps: 1e-6, Rate: 3e-4, Decay: 1e-5}

func tokenCases() (all []check) {
	for i, V := range []int{1, 2, 16, 63, 64, 65, 127, 128, 1000, 4095, 4096, 4097, 9001} {
		T := []int{1, 3, 6, 0}[i%4]
		for _, dev := range []float64{1, 15} {
			all = append(all, check{"CrossEntropy", fmt.Sprintf("T=%d,V=%d,dev=%v", T, V, dev), func(mem *memory, k model.Kernels) {
				targets := mem.ids(T, V)
				k.CrossEntropy(mem.out("loss", T), mem.inout("logits", T*V, dev), targets, T)
			}})
		}
	}
	for i, C := range widths {
		T, d, V := []int{1, 0, 5, 40}[i%4], dtypes[i%3], []int{1, 7, 100}[i%3]
		name := fmt.Sprintf("T=%d,V=%d,C=%d,%v", T, V, C, d)
		all = append(all,
			check{"Embed", name, func(mem *memory, k model.Kernels) {
				w, ids := mem.matrix("w", d, V, C), mem.ids(T, V)
				k.Embed(mem.out("y", T*C), w, ids)
			}},
			check{"EmbedGrad", name, func(mem *memory, k model.Kernels) {
				dy, ids := mem.normal("dy", T*C, 1), mem.ids(T, V)
				k.EmbedGrad(mem.inout("dw", V*C, 1), dy, ids)
			}})
	}
	return all
}
