package main

import "fmt"

// each writes one instruction for an AVX-512 vector and two for an AVX2 one. Operands that are an Operand are cut into
// halves, anything else is printed as it is; the order is that of the Go assembler, destination last.
func (k *Kernel) each(op string, operands ...any) {
	halves := 2
	if k.Wide {
		halves = 1
	}
	for h := range halves {
		out := make([]any, len(operands))
		for i, o := range operands {
			if v, ok := o.(Operand); ok {
				o = v.half(k.Wide, h)
			}
			out[i] = o
		}
		k.I(op, out...)
	}
}

// once writes one instruction on whole S registers.
func (k *Kernel) once(op string, operands ...any) {
	for i, o := range operands {
		if v, ok := o.(Operand); ok {
			operands[i] = v.half(k.Wide, 0)
		}
	}
	k.I(op, operands...)
}

// pick is the mnemonic of the tier where the two differ.
func (k *Kernel) pick(avx2, avx512 string) string {
	if k.Wide {
		return avx512
	}
	return avx2
}

// Op is dst = a op b lane by lane for any instruction that has this form in both tiers, such as VADDPS. b may be memory.
// dst may be an S when a and b are.
func (k *Kernel) Op(op string, dst, a, b Operand) {
	if _, ok := dst.(S); ok {
		k.once(op, b, a, dst)
		return
	}
	k.each(op, b, a, dst)
}

// Op1 is dst = op(a). a may be memory.
func (k *Kernel) Op1(op string, dst, a Operand) {
	if _, ok := dst.(S); ok {
		k.once(op, a, dst)
		return
	}
	k.each(op, a, dst)
}

// Load reads 64 bytes. Store writes them.
func (k *Kernel) Load(dst V, m Mem)  { k.each("VMOVUPS", m, dst) }
func (k *Kernel) Store(m Mem, src V) { k.each("VMOVUPS", src, m) }

// LoadSplat reads one float32 into all lanes. StoreLane0 writes lane 0.
func (k *Kernel) LoadSplat(dst S, m Mem)  { k.once("VBROADCASTSS", m.String(), dst) }
func (k *Kernel) StoreLane0(m Mem, src S) { k.I("VMOVSS", fmt.Sprintf("X%d", src.r), m) }

// AddLane0 adds one float32 in memory to lane 0.
func (k *Kernel) AddLane0(s S, m Mem) {
	x := fmt.Sprintf("X%d", s.r)
	k.I("VADDSS", m, x, x)
}

// Zero sets all lanes to +0. Move copies; an S spreads over a V.
func (k *Kernel) Zero(dst Operand)      { k.Op(k.pick("VPXOR", "VPXORD"), dst, dst, dst) }
func (k *Kernel) Move(dst, src Operand) { k.Op1("VMOVAPS", dst, src) }

// Add, Sub, Mul, Div are IEEE operations, each rounded; Sqrt is exact and rounded.
// Max and Min return b when either operand is a NaN or both are zero.
func (k *Kernel) Add(dst, a, b Operand) { k.Op("VADDPS", dst, a, b) }
func (k *Kernel) Sub(dst, a, b Operand) { k.Op("VSUBPS", dst, a, b) }
func (k *Kernel) Mul(dst, a, b Operand) { k.Op("VMULPS", dst, a, b) }
func (k *Kernel) Div(dst, a, b Operand) { k.Op("VDIVPS", dst, a, b) }
func (k *Kernel) Max(dst, a, b Operand) { k.Op("VMAXPS", dst, a, b) }
func (k *Kernel) Min(dst, a, b Operand) { k.Op("VMINPS", dst, a, b) }
func (k *Kernel) Sqrt(dst, a Operand)   { k.Op1("VSQRTPS", dst, a) }

// FMA is acc = a·b + acc rounded once, NegFMA is acc = −(a·b) + acc. b may be memory.
func (k *Kernel) FMA(acc, a, b Operand)    { k.Op("VFMADD231PS", acc, a, b) }
func (k *Kernel) NegFMA(acc, a, b Operand) { k.Op("VFNMADD231PS", acc, a, b) }

// And, Or, Xor and AndNot (^a & b) work on bits. AddInt and SubInt on int32 lanes; ShiftLeft and ShiftRight (filling
// with zeros) by a fixed count.
func (k *Kernel) And(dst, a, b Operand)    { k.Op(k.pick("VPAND", "VPANDD"), dst, a, b) }
func (k *Kernel) Or(dst, a, b Operand)     { k.Op(k.pick("VPOR", "VPORD"), dst, a, b) }
func (k *Kernel) Xor(dst, a, b Operand)    { k.Op(k.pick("VPXOR", "VPXORD"), dst, a, b) }
func (k *Kernel) AndNot(dst, a, b Operand) { k.Op(k.pick("VPANDN", "VPANDND"), dst, a, b) }
func (k *Kernel) AddInt(dst, a, b Operand) { k.Op("VPADDD", dst, a, b) }
func (k *Kernel) SubInt(dst, a, b Operand) { k.Op("VPSUBD", dst, a, b) }

func (k *Kernel) ShiftLeft(dst, a V, by int)  { k.each("VPSLLD", by, a, dst) }
func (k *Kernel) ShiftRight(dst, a V, by int) { k.each("VPSRLD", by, a, dst) }

// ToInt converts to int32, to nearest even. FromInt converts back. Round rounds to an integral float, to nearest even.
func (k *Kernel) ToInt(dst, a V)   { k.each("VCVTPS2DQ", a, dst) }
func (k *Kernel) FromInt(dst, a V) { k.each("VCVTDQ2PS", a, dst) }
func (k *Kernel) Round(dst, a V)   { k.each(k.pick("VROUNDPS", "VRNDSCALEPS"), 8, a, dst) }

// Predicates of Select; all are false when an operand is a NaN.
const (
	Equal   = 0  // a = b
	Less    = 17 // a < b
	AtMost  = 18 // a ≤ b
	Greater = 30 // a > b
)

// Select is dst = yes where a pred b, else no. mask is scratch (untouched by AVX-512, which uses K1); it may be a, b or
// dst but not yes or no.
func (k *Kernel) Select(dst V, pred int, a, b, yes, no Operand, mask V) {
	if k.Wide {
		k.I("VCMPPS", pred, b.half(true, 0), a.half(true, 0), "K1")
		k.I("VBLENDMPS", yes.half(true, 0), no.half(true, 0), "K1", dst.half(true, 0))
		return
	}
	k.each("VCMPPS", pred, b, a, mask)
	k.each("VBLENDVPS", mask, yes, no, dst)
}

// WidenBF16 and WidenF16 read 16 half-sized floats (32 bytes) as float32.
func (k *Kernel) WidenBF16(dst V, m Mem) {
	k.widen("VPMOVZXWD", dst, m)
	k.ShiftLeft(dst, dst, 16)
}

func (k *Kernel) WidenF16(dst V, m Mem) { k.widen("VCVTPH2PS", dst, m) }

func (k *Kernel) widen(op string, dst V, m Mem) {
	if k.Wide {
		k.I(op, m, dst.half(true, 0))
		return
	}
	k.I(op, m, dst.half(false, 0))
	k.I(op, m.Add(16), dst.half(false, 1))
}

// FoldAdd adds the 16 lanes of v by the fixed tree — lane i and i+8, then i+4, i+2, i+1 — into lane 0 of v's first
// register, which it returns; v is used up. tmp is scratch. FoldMax is the same with Max.
func (k *Kernel) FoldAdd(v V, tmp S) S { return k.fold("VADDPS", v, tmp) }
func (k *Kernel) FoldMax(v V, tmp S) S { return k.fold("VMAXPS", v, tmp) }

func (k *Kernel) fold(op string, v V, tmp S) S {
	y := func(r int) string { return fmt.Sprintf("Y%d", r) }
	x := func(r int) string { return fmt.Sprintf("X%d", r) }
	a, t := v.r[0], tmp.r
	if k.Wide {
		k.I("VEXTRACTF64X4", 1, fmt.Sprintf("Z%d", a), y(t))
		k.I(op, y(t), y(a), y(a))
		k.I("VEXTRACTF32X4", 1, y(a), x(t))
	} else {
		k.I(op, y(v.r[1]), y(a), y(a))
		k.I("VEXTRACTF128", 1, y(a), x(t))
	}
	k.I(op, x(t), x(a), x(a))
	k.I("VPERMILPS", 0x0e, x(a), x(t))
	k.I(op, x(t), x(a), x(a))
	k.I("VPERMILPS", 0x01, x(a), x(t))
	k.I(op, x(t), x(a), x(a))
	return S{a}
}

// Spread copies lane 0 of s to all its lanes.
func (k *Kernel) Spread(s S) { k.I("VBROADCASTSS", fmt.Sprintf("X%d", s.r), s.half(k.Wide, 0)) }
