package main

import (
	"bytes"
	"fmt"
	"math"
	"strings"
)

// Lanes is the number of float32 in a V.
const Lanes = 16

// V is a vector of 16 lanes: one ZMM register, or two YMM registers for lanes 0–7 and 8–15.
type V struct{ r [2]int }

// S is one value spread over all lanes: one register in both tiers.
type S struct{ r int }

// Reg is an integer register.
type Reg string

// Mem is an address: the element at Base + Index·Scale + Off, in bytes. As an operand of a V it means 64 bytes.
type Mem struct {
	Base  Reg
	Index Reg // "" for none
	Scale int
	Off   int
}

// At is the address off bytes behind r.
func (r Reg) At(off int) Mem { return Mem{Base: r, Off: off} }

// Plus is the address base + index·scale + off.
func (r Reg) Plus(index Reg, scale, off int) Mem { return Mem{r, index, scale, off} }

// Add is the address off bytes further on.
func (m Mem) Add(off int) Mem { m.Off += off; return m }

func (m Mem) String() string {
	s := fmt.Sprintf("(%s)", m.Base)
	if m.Off != 0 {
		s = fmt.Sprintf("%d(%s)", m.Off, m.Base)
	}
	if m.Index != "" {
		s += fmt.Sprintf("(%s*%d)", m.Index, m.Scale)
	}
	return s
}

// Operand is a V, an S or a Mem of 16 lanes.
type Operand interface{ half(wide bool, h int) string }

func (v V) half(wide bool, h int) string {
	if wide {
		return fmt.Sprintf("Z%d", v.r[0])
	}
	return fmt.Sprintf("Y%d", v.r[h])
}

func (s S) half(wide bool, _ int) string {
	if wide {
		return fmt.Sprintf("Z%d", s.r)
	}
	return fmt.Sprintf("Y%d", s.r)
}

func (m Mem) half(_ bool, h int) string { return m.Add(32 * h).String() }

// Kernel is one assembly function in the making.
type Kernel struct {
	*File
	name   string
	args   map[string]arg
	text   bytes.Buffer
	vec    []bool // vector registers in use
	ints   []Reg  // free integer registers
	labels int
	stack  int // bytes
}

func (k *Kernel) reset() {
	n := 16
	if k.Wide {
		n = 32
	}
	k.vec = make([]bool, n)
	k.ints = []Reg{"R15", "R13", "R12", "R11", "R10", "R9", "R8", "DI", "SI", "DX", "CX", "BX", "AX"}
}

// I writes one instruction. Operands are printed by fmt.Sprint.
func (k *Kernel) I(op string, operands ...any) {
	s := make([]string, len(operands))
	for i, o := range operands {
		if n, ok := o.(int); ok {
			o = fmt.Sprintf("$%d", n)
		}
		s[i] = fmt.Sprint(o)
	}
	line := "\t" + op
	if len(s) > 0 {
		line += " " + strings.Join(s, ", ")
	}
	k.text.WriteString(line + "\n")
}

// Comment writes a line of comment.
func (k *Kernel) Comment(format string, a ...any) { fmt.Fprintf(&k.text, "\t// "+format+"\n", a...) }

// Vec reserves a vector; its value is undefined.
func (k *Kernel) Vec() V {
	v := V{r: [2]int{k.reg(), -1}}
	if !k.Wide {
		v.r[1] = k.reg()
	}
	return v
}

// Vecs reserves n vectors.
func (k *Kernel) Vecs(n int) []V {
	v := make([]V, n)
	for i := range v {
		v[i] = k.Vec()
	}
	return v
}

// Splat reserves a register for one value in all lanes.
func (k *Kernel) Splat() S { return S{k.reg()} }

func (k *Kernel) reg() int {
	for r, used := range k.vec {
		if !used {
			k.vec[r] = true
			return r
		}
	}
	panic(k.name + ": no vector register is left")
}

// Free gives registers back: V, S or Reg.
func (k *Kernel) Free(regs ...any) {
	for _, r := range regs {
		switch r := r.(type) {
		case V:
			k.vec[r.r[0]] = false
			if !k.Wide {
				k.vec[r.r[1]] = false
			}
		case S:
			k.vec[r.r] = false
		case Reg:
			k.ints = append(k.ints, r)
		}
	}
}

// Int reserves an integer register; its value is undefined.
func (k *Kernel) Int() Reg {
	if len(k.ints) == 0 {
		panic(k.name + ": no integer register is left")
	}
	r := k.ints[len(k.ints)-1]
	k.ints = k.ints[:len(k.ints)-1]
	return r
}

// Arg loads a parameter into a new integer register: a number, a bool as 0 or 1, or the address of a slice's first
// element. "name.len" is a slice's length.
func (k *Kernel) Arg(name string) Reg {
	r := k.Int()
	switch a := k.args[strings.TrimSuffix(name, ".len")]; {
	case a.typ == "":
		panic(k.name + ": no parameter " + name)
	case strings.HasPrefix(a.typ, "[]") && strings.HasSuffix(name, ".len"):
		k.I("MOVQ", fmt.Sprintf("%s_len+%d(FP)", strings.TrimSuffix(name, ".len"), a.off+8), r)
	case strings.HasPrefix(a.typ, "[]"):
		k.I("MOVQ", fmt.Sprintf("%s_base+%d(FP)", name, a.off), r)
	case a.typ == "bool":
		k.I("MOVBLZX", k.Frame(name), r)
	case a.typ == "int32":
		k.I("MOVLQSX", k.Frame(name), r)
	case a.typ == "uint32":
		k.I("MOVL", k.Frame(name), r)
	default:
		k.I("MOVQ", k.Frame(name), r)
	}
	return r
}

// Frame is a number parameter as a memory operand of I.
func (k *Kernel) Frame(name string) string {
	a := k.args[name]
	if a.typ == "" {
		panic(k.name + ": no parameter " + name)
	}
	return fmt.Sprintf("%s+%d(FP)", name, a.off)
}

// ArgSplat loads a float32 parameter into all lanes of a new S.
func (k *Kernel) ArgSplat(name string) S {
	s := k.Splat()
	k.I("VBROADCASTSS", k.Frame(name), s.half(k.Wide, 0))
	return s
}

// Return stores lane 0 of s in a float32 result.
func (k *Kernel) Return(name string, s S) {
	k.I("VMOVSS", fmt.Sprintf("X%d", s.r), k.Frame(name))
}

// Stack reserves memory that the kernel may use as it likes, at most a few hundred bytes.
func (k *Kernel) Stack(bytes int) Mem {
	k.stack += bytes
	return Mem{Base: "SP", Off: k.stack - bytes}
}

// Const loads a float32 constant into all lanes of a new S.
func (k *Kernel) Const(v float32) S { return k.Bits(math.Float32bits(v)) }

// Bits loads a 32-bit pattern into all lanes of a new S.
func (k *Kernel) Bits(u uint32) S {
	s := k.Splat()
	name := fmt.Sprintf("bits%08x<>", u)
	if !k.consts[u] {
		k.consts[u] = true
		fmt.Fprintf(&k.asm, "\nDATA %s+0(SB)/4, $0x%08x\nGLOBL %s(SB), RODATA|NOPTR, $4\n", name, u, name)
	}
	k.I("VBROADCASTSS", name+"(SB)", s.half(k.Wide, 0))
	return s
}

// Label makes a new label. Labels are written by Mark.
func (k *Kernel) Label(hint string) string {
	k.labels++
	return fmt.Sprintf("%s%d", hint, k.labels)
}

// Mark puts a label here.
func (k *Kernel) Mark(label string) { k.text.WriteString(label + ":\n") }

// Loop repeats body while n ≥ step, taking step from n each time; n keeps the rest.
func (k *Kernel) Loop(n Reg, step int, body func()) {
	top, end := k.Label("loop"), k.Label("end")
	k.I("SUBQ", step, n)
	k.I("JLT", end)
	k.Mark(top)
	body()
	k.I("SUBQ", step, n)
	k.I("JGE", top)
	k.Mark(end)
	k.I("ADDQ", step, n)
}

// If writes body so that it runs only when r is not zero.
func (k *Kernel) If(r Reg, body func()) {
	end := k.Label("skip")
	k.I("TESTQ", r, r)
	k.I("JEQ", end)
	body()
	k.Mark(end)
}
