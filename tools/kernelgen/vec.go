package main

import (
	"bytes"
	"fmt"
	"math"
)

// vec adds the inner loops of everything but matrix products. They have the bits of model/cpu/portable_vec.go: no fused
// multiply-add, the same order of operations.
func vec(f *File) {
	sums(f)
	norms(f)
	elements(f)
	softmax(f)
}

// literal is a constant in all lanes, in memory: an operand that costs no register. It can only be the b of an operation.
type literal struct{ name string }

func (l literal) half(bool, int) string { return l.name + "<>(SB)" }

// Lit lays a constant down for use as an operand.
func (k *Kernel) Lit(v float32) literal { return k.LitBits(math.Float32bits(v)) }

// LitBits is Lit for a bit pattern.
func (k *Kernel) LitBits(u uint32) literal {
	l := literal{fmt.Sprintf("lit%08x", u)}
	global := fmt.Sprintf("GLOBL %s<>(SB), RODATA|NOPTR, $64\n", l.name)
	if !bytes.Contains(k.asm.Bytes(), []byte(global)) {
		k.asm.WriteString("\n")
		for at := 0; at < 64; at += 8 {
			fmt.Fprintf(&k.asm, "DATA %s<>+%d(SB)/8, $0x%08x%08x\n", l.name, at, u, u)
		}
		k.asm.WriteString(global)
	}
	return l
}

// streams are slices of equal length that a loop walks together.
type streams struct {
	*Kernel
	base map[string]Reg
	at   Reg // bytes walked
	left Reg // elements to come
}

// Streams starts a walk over the parameters named; the first gives the length.
func (k *Kernel) Streams(names ...string) *streams {
	s := &streams{Kernel: k, base: map[string]Reg{}, left: k.Arg(names[0] + ".len")}
	for _, n := range names {
		s.base[n] = k.Arg(n)
	}
	s.at = k.Int()
	k.I("XORQ", s.at, s.at)
	return s
}

// Mem is vector i of those that the loop has reached.
func (s *streams) Mem(name string, i int) Mem { return s.base[name].Plus(s.at, 1, 4*Lanes*i) }

// Each runs body for n vectors at a time while there are as many.
func (s *streams) Each(n int, body func()) {
	s.Loop(s.left, n*Lanes, func() {
		body()
		s.I("ADDQ", n*4*Lanes, s.at)
	})
}

// exponent are the registers that Exp needs beside its operand.
type exponent struct {
	min, max   S
	z, t, q, m V
}

// Exponent reserves them. Release gives them back.
func (k *Kernel) Exponent() exponent {
	return exponent{k.Const(expMin), k.Const(expMax), k.Vec(), k.Vec(), k.Vec(), k.Vec()}
}

func (k *Kernel) Release(e exponent) { k.Free(e.min, e.max, e.z, e.t, e.q, e.m) }

// The constants of exp32 in model/cpu/portable_vec.go.
const (
	expMin   = -87.0
	expMax   = 88.0
	expMagic = 12582912.0
	expLog2E = 1.442695
	expLn2Hi = 0.693359375
	expLn2Lo = -2.12194440e-04
)

var expQ = [...]float32{0.499999934, 0.166665201, 0.0416683942, 0.00836878041, 0.00138144671}

// Exp is x = exp(x), step by step as exp32.
func (k *Kernel) Exp(x V, e exponent) {
	z, t, q, m := e.z, e.t, e.q, e.m
	k.Max(z, e.min, x)
	k.Min(z, e.max, z)
	k.Mul(t, z, k.Lit(expLog2E))
	k.Add(t, t, k.Lit(expMagic))
	k.Sub(q, t, k.Lit(expMagic))
	k.Mul(m, q, k.Lit(expLn2Hi))
	k.Sub(z, z, m)
	k.Mul(m, q, k.Lit(expLn2Lo))
	k.Sub(z, z, m)
	k.Mul(q, z, k.Lit(expQ[4]))
	for i := 3; i > 0; i-- {
		k.Add(q, q, k.Lit(expQ[i]))
		k.Mul(q, q, z)
	}
	k.Add(q, q, k.Lit(expQ[0]))
	k.Mul(m, z, z)
	k.Mul(m, m, q)
	k.Add(m, m, z)
	k.Add(m, m, k.Lit(1))
	k.ShiftLeft(t, t, 23)
	k.AddInt(t, t, k.LitBits(127<<23))
	k.Mul(m, m, t)
	k.Select(x, Less, x, k.Lit(expMin), k.Lit(0), m, t)
}
