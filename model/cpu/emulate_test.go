package cpu

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/torctrain/torc/model"
)

// machine runs the generated assembly on a processor without its instructions, AVX-512 above all: it reads the text of the
// files and does what the manuals say of each instruction. An access outside the operands of a call panics.
type machine struct {
	steps []step
	entry map[string]int

	pc        int
	reg       [16]uint64
	z         [32][16]uint32
	k1        uint16
	zero, neg bool // flags of the last integer result

	segments [64][]byte // by address: operands of the call, frame, stack
	literals []byte
	symbol   map[string]uint64
}

// step is one instruction, its operands taken apart.
type step struct {
	op    string
	o     []operand
	run   func(m *machine, s *step)
	where string
}

type operand struct {
	kind        byte // 'i'mmediate, 'r'egister, 'v'ector, 'm'emory, 'l'abel
	n           int  // value, register or target
	lanes       int  // of a vector: 4, 8 or 16
	base, index int  // of memory; −1 for none
	scale       int
	name        string
}

// The address space: segment s occupies the middle of the addresses that begin with s.
const (
	segmentBits = 40
	frameAt     = 60
	stackAt     = 61
	literalsAt  = 62
)

func address(segment int) uint64 { return uint64(segment)<<segmentBits + 1<<(segmentBits-1) }

var registers = []string{"AX", "BX", "CX", "DX", "SI", "DI", "SP", "BP", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15"}

// newMachine reads assembly files of this folder.
func newMachine(t testing.TB, files ...string) *machine {
	t.Helper()
	m := &machine{entry: map[string]int{}, symbol: map[string]uint64{}}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		m.assemble(f, string(text))
	}
	m.segments[stackAt] = make([]byte, 4096)
	m.segments[literalsAt] = m.literals
	return m
}

func (m *machine) assemble(file, text string) {
	labels := map[string]int{}
	first := len(m.steps)
	finish := func() {
		for i := first; i < len(m.steps); i++ {
			for j := range m.steps[i].o {
				if o := &m.steps[i].o[j]; o.kind == 'l' {
					at, ok := labels[o.name]
					if !ok {
						panic(m.steps[i].where + ": no label " + o.name)
					}
					o.n = at
				}
			}
		}
		first, labels = len(m.steps), map[string]int{}
	}
	for n, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "//")
		where := fmt.Sprintf("%s:%d: %s", file, n+1, strings.TrimSpace(line))
		op, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case op == "" || op == "#include" || op == "GLOBL":
		case op == "TEXT":
			finish()
			name, _, _ := strings.Cut(strings.TrimPrefix(rest, "·"), "(")
			m.entry[name] = len(m.steps)
		case op == "DATA":
			m.data(file, rest)
		case strings.HasSuffix(op, ":"):
			labels[strings.TrimSuffix(op, ":")] = len(m.steps)
		default:
			s := step{op: op, where: where, run: instructions[op]}
			if s.run == nil {
				s.run = func(_ *machine, s *step) { panic(s.where + ": the emulator lacks this instruction") }
			}
			if rest != "" {
				for _, o := range strings.Split(rest, ", ") {
					s.o = append(s.o, m.operand(file, where, o))
				}
			}
			m.steps = append(m.steps, s)
		}
	}
	finish()
}

// data lays down one DATA line: name<>+off(SB)/size, $value.
func (m *machine) data(file, rest string) {
	place, value, _ := strings.Cut(rest, ", $")
	place, size, _ := strings.Cut(place, "(SB)/")
	name, off, _ := strings.Cut(place, "+")
	v, err := strconv.ParseUint(value, 0, 64)
	n, err2 := strconv.Atoi(size)
	if err != nil || err2 != nil {
		panic("DATA " + rest)
	}
	if off == "0" {
		m.symbol[file+name] = uint64(len(m.literals))
	}
	m.literals = append(m.literals, binary.LittleEndian.AppendUint64(nil, v)[:n]...)
}

func (m *machine) operand(file, where, s string) operand {
	number := func(s string) int {
		n, err := strconv.ParseInt(s, 0, 64)
		if err != nil {
			panic(where + ": number " + s)
		}
		return int(n)
	}
	register := func(s string) int {
		for i, r := range registers {
			if r == s {
				return i
			}
		}
		return -1
	}
	switch {
	case s[0] == '$':
		return operand{kind: 'i', n: number(s[1:])}
	case strings.HasSuffix(s, "(SB)"):
		name, off, _ := strings.Cut(strings.TrimSuffix(s, "(SB)"), "+")
		at, ok := m.symbol[file+name]
		if !ok {
			panic(where + ": no symbol " + name)
		}
		n := int(address(literalsAt)) + int(at)
		if off != "" {
			n += number(off)
		}
		return operand{kind: 'm', n: n, base: -1, index: -1}
	case strings.HasSuffix(s, "(FP)"):
		_, off, _ := strings.Cut(strings.TrimSuffix(s, "(FP)"), "+")
		return operand{kind: 'm', n: int(address(frameAt)) + number(off), base: -1, index: -1}
	case strings.Contains(s, "("):
		off, rest, _ := strings.Cut(s, "(")
		base, rest, _ := strings.Cut(rest, ")")
		o := operand{kind: 'm', base: register(base), index: -1}
		if off != "" {
			o.n = number(off)
		}
		if rest != "" {
			index, scale, _ := strings.Cut(strings.Trim(rest, "()"), "*")
			o.index, o.scale = register(index), number(scale)
		}
		return o
	case register(s) >= 0:
		return operand{kind: 'r', n: register(s)}
	case s == "K1":
		return operand{kind: 'k'}
	}
	if lanes, ok := map[byte]int{'X': 4, 'Y': 8, 'Z': 16}[s[0]]; ok {
		return operand{kind: 'v', n: number(s[1:]), lanes: lanes}
	}
	return operand{kind: 'l', name: s}
}

// at is the n bytes at a memory operand.
func (m *machine) at(o *operand, n int) []byte {
	a := uint64(o.n)
	if o.base >= 0 {
		a += m.reg[o.base]
	}
	if o.index >= 0 {
		a += m.reg[o.index] * uint64(o.scale)
	}
	seg := m.segments[a>>segmentBits]
	off := int(a&(1<<segmentBits-1)) - 1<<(segmentBits-1)
	if off < 0 || off+n > len(seg) {
		panic(fmt.Sprintf("%s: bytes %d to %d of an operand of %d", m.steps[m.pc-1].where, off, off+n, len(seg)))
	}
	return seg[off : off+n]
}

// vec is the lanes of a vector or of memory.
func (m *machine) vec(o *operand, lanes int) []uint32 {
	if o.kind == 'v' {
		return m.z[o.n][:lanes]
	}
	return unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(m.at(o, lanes*4)))), lanes)
}

// finish clears the lanes of a register behind those an instruction wrote, as all encodings used here do.
func (m *machine) finish(o *operand, lanes int) {
	if o.kind == 'v' {
		clear(m.z[o.n][lanes:])
	}
}

func (m *machine) value(o *operand) uint64 {
	switch o.kind {
	case 'i':
		return uint64(o.n)
	case 'r':
		return m.reg[o.n]
	}
	return binary.LittleEndian.Uint64(m.at(o, 8))
}

func (m *machine) value32(o *operand) uint64 {
	if o.kind == 'm' {
		return uint64(binary.LittleEndian.Uint32(m.at(o, 4)))
	}
	return uint64(uint32(m.value(o)))
}

func (m *machine) flags(v uint64) uint64 {
	m.zero, m.neg = v == 0, int64(v) < 0
	return v
}

type run = func(m *machine, s *step)

// lanewise is dst = f(b, a) of operands [1], [0] with the lanes of dst, the last operand.
func lanewise(f func(a, b uint32) uint32) run {
	return func(m *machine, s *step) {
		n := s.o[2].lanes
		b, a, dst := m.vec(&s.o[0], n), m.vec(&s.o[1], n), m.vec(&s.o[2], n)
		for i := range dst {
			dst[i] = f(a[i], b[i])
		}
		m.finish(&s.o[2], n)
	}
}

func floats(f func(a, b float32) float32) run {
	return lanewise(func(a, b uint32) uint32 {
		return math.Float32bits(f(math.Float32frombits(a), math.Float32frombits(b)))
	})
}

func fused(sign float32) run {
	return func(m *machine, s *step) {
		n := s.o[2].lanes
		b, a, dst := m.vec(&s.o[0], n), m.vec(&s.o[1], n), m.vec(&s.o[2], n)
		for i := range dst {
			dst[i] = math.Float32bits(fma32(sign*math.Float32frombits(a[i]), math.Float32frombits(b[i]), math.Float32frombits(dst[i])))
		}
		m.finish(&s.o[2], n)
	}
}

// shift is dst = f(a, by) for operands by, a, dst.
func shift(f func(a uint32, by int) uint32) run {
	return func(m *machine, s *step) {
		n := s.o[2].lanes
		a, dst := m.vec(&s.o[1], n), m.vec(&s.o[2], n)
		for i := range dst {
			dst[i] = f(a[i], s.o[0].n)
		}
		m.finish(&s.o[2], n)
	}
}

// integer is dst = f(dst, src).
func integer(f func(a, b uint64) uint64) run {
	return func(m *machine, s *step) { m.reg[s.o[1].n] = m.flags(f(m.reg[s.o[1].n], m.value(&s.o[0]))) }
}

func jump(when func(m *machine) bool) run {
	return func(m *machine, s *step) {
		if when(m) {
			m.pc = s.o[0].n
		}
	}
}

// extract copies the upper half of a register.
func extract(lanes int) run {
	return func(m *machine, s *step) {
		dst := &m.z[s.o[2].n]
		*dst = [16]uint32(append(append([]uint32(nil), m.z[s.o[1].n][lanes:2*lanes]...), make([]uint32, 16-lanes)...))
	}
}

var (
	bitsAnd = lanewise(func(a, b uint32) uint32 { return a & b })
	bitsXor = lanewise(func(a, b uint32) uint32 { return a ^ b })
)

// instructions are those of all kernels but the transposes, which AVX-512 has from AVX2. Operands stand in the order of the Go assembler, destination last.
var instructions = map[string]run{
	"PREFETCHT0": func(*machine, *step) {},
	"RET":        func(m *machine, _ *step) { m.pc = -1 },
	"VZEROUPPER": func(m *machine, _ *step) {
		for i := range 16 {
			clear(m.z[i][4:])
		}
	},
	"MOVQ": func(m *machine, s *step) {
		if v := m.value(&s.o[0]); s.o[1].kind == 'r' {
			m.reg[s.o[1].n] = v
		} else {
			binary.LittleEndian.PutUint64(m.at(&s.o[1], 8), v)
		}
	},
	"MOVL":  func(m *machine, s *step) { m.reg[s.o[1].n] = m.value32(&s.o[0]) },
	"ADDQ":  integer(func(a, b uint64) uint64 { return a + b }),
	"SUBQ":  integer(func(a, b uint64) uint64 { return a - b }),
	"IMULQ": integer(func(a, b uint64) uint64 { return a * b }),
	"SHLQ":  integer(func(a, b uint64) uint64 { return a << b }),
	"XORQ":  integer(func(a, b uint64) uint64 { return a ^ b }),
	"SUBL":  func(m *machine, s *step) { m.reg[s.o[1].n] = uint64(uint32(m.reg[s.o[1].n] - m.value32(&s.o[0]))) },
	"NEGQ":  func(m *machine, s *step) { m.reg[s.o[0].n] = m.flags(-m.reg[s.o[0].n]) },
	"CMPQ":  func(m *machine, s *step) { m.flags(m.value(&s.o[0]) - m.value(&s.o[1])) },
	"CMPB":  func(m *machine, s *step) { m.flags(uint64(m.at(&s.o[0], 1)[0]) - m.value(&s.o[1])) },
	"TESTQ": func(m *machine, s *step) { m.flags(m.value(&s.o[0]) & m.value(&s.o[1])) },
	"LEAQ": func(m *machine, s *step) {
		o := s.o[0]
		m.reg[s.o[1].n] = m.reg[o.base] + uint64(o.n)
		if o.index >= 0 {
			m.reg[s.o[1].n] = m.reg[o.base] + uint64(o.n) + m.reg[o.index]*uint64(o.scale)
		}
	},
	"JMP": jump(func(*machine) bool { return true }),
	"JEQ": jump(func(m *machine) bool { return m.zero }),
	"JNE": jump(func(m *machine) bool { return !m.zero }),
	"JLT": jump(func(m *machine) bool { return m.neg }), // no result here overflows
	"JGE": jump(func(m *machine) bool { return !m.neg }),

	"VMOVUPS": func(m *machine, s *step) {
		n := max(s.o[0].lanes, s.o[1].lanes)
		copy(m.vec(&s.o[1], n), m.vec(&s.o[0], n))
		m.finish(&s.o[1], n)
	},
	"VMOVSS": func(m *machine, s *step) {
		m.vec(&s.o[1], 1)[0] = m.vec(&s.o[0], 1)[0]
		m.finish(&s.o[1], 1)
	},
	"VBROADCASTSS": func(m *machine, s *step) {
		v, n := m.vec(&s.o[0], 1)[0], s.o[1].lanes
		for i := range n {
			m.z[s.o[1].n][i] = v
		}
		m.finish(&s.o[1], n)
	},
	"VADDPS": floats(func(a, b float32) float32 { return a + b }),
	"VADDSS": func(m *machine, s *step) {
		a, b := math.Float32frombits(m.vec(&s.o[1], 1)[0]), math.Float32frombits(m.vec(&s.o[0], 1)[0])
		upper := m.z[s.o[1].n]
		m.z[s.o[2].n] = upper
		m.z[s.o[2].n][0] = math.Float32bits(a + b)
		m.finish(&s.o[2], 4)
	},
	"VSUBPS":       floats(func(a, b float32) float32 { return a - b }),
	"VMULPS":       floats(func(a, b float32) float32 { return a * b }),
	"VDIVPS":       floats(func(a, b float32) float32 { return a / b }),
	"VMAXPS":       floats(max32),
	"VMINPS":       floats(min32),
	"VFMADD231PS":  fused(1),
	"VFNMADD231PS": fused(-1),
	"VSQRTPS": func(m *machine, s *step) {
		n := s.o[1].lanes
		a, dst := m.vec(&s.o[0], n), m.vec(&s.o[1], n)
		for i := range dst {
			dst[i] = math.Float32bits(float32(math.Sqrt(float64(math.Float32frombits(a[i])))))
		}
		m.finish(&s.o[1], n)
	},
	"VPAND": bitsAnd, "VPANDD": bitsAnd, "VPXOR": bitsXor, "VPXORD": bitsXor,
	"VPADDD": lanewise(func(a, b uint32) uint32 { return a + b }),
	"VPSLLD": shift(func(a uint32, by int) uint32 { return a << by }),

	"VCMPPS": func(m *machine, s *step) {
		const lessOQ = 17
		if s.o[0].n != lessOQ {
			panic(s.where + ": unknown predicate")
		}
		n := s.o[2].lanes
		b, a := m.vec(&s.o[1], n), m.vec(&s.o[2], n)
		less := func(i int) bool { return math.Float32frombits(a[i]) < math.Float32frombits(b[i]) }
		if s.o[3].kind == 'k' {
			m.k1 = 0
			for i := range n {
				if less(i) {
					m.k1 |= 1 << i
				}
			}
			return
		}
		dst := m.vec(&s.o[3], n)
		for i := range dst {
			v := uint32(0)
			if less(i) {
				v = math.MaxUint32
			}
			dst[i] = v
		}
		m.finish(&s.o[3], n)
	},
	"VBLENDMPS": func(m *machine, s *step) {
		n := s.o[3].lanes
		yes, no, dst := m.vec(&s.o[0], n), m.vec(&s.o[1], n), m.vec(&s.o[3], n)
		for i := range dst {
			v := no[i]
			if m.k1>>i&1 != 0 {
				v = yes[i]
			}
			dst[i] = v
		}
		m.finish(&s.o[3], n)
	},
	"VBLENDVPS": func(m *machine, s *step) {
		n := s.o[3].lanes
		mask, yes, no, dst := m.vec(&s.o[0], n), m.vec(&s.o[1], n), m.vec(&s.o[2], n), m.vec(&s.o[3], n)
		for i := range dst {
			v := no[i]
			if mask[i]>>31 != 0 {
				v = yes[i]
			}
			dst[i] = v
		}
		m.finish(&s.o[3], n)
	},
	"VEXTRACTF64X4": extract(8), "VEXTRACTF32X4": extract(4), "VEXTRACTF128": extract(4),
	"VPERMILPS": func(m *machine, s *step) {
		a, imm := m.z[s.o[1].n], s.o[0].n
		for i := range 4 {
			m.z[s.o[2].n][i] = a[imm>>(2*i)&3]
		}
		m.finish(&s.o[2], 4)
	},
	"VPMOVZXWD": widening(func(u uint16) uint32 { return uint32(u) }),
	"VCVTPH2PS": widening(func(u uint16) uint32 { return math.Float32bits(model.FromF16(u)) }),
}

func widening(f func(u uint16) uint32) run {
	return func(m *machine, s *step) {
		n := s.o[1].lanes
		src := m.at(&s.o[0], 2*n)
		for i := range n {
			m.z[s.o[1].n][i] = f(binary.LittleEndian.Uint16(src[2*i:]))
		}
		m.finish(&s.o[1], n)
	}
}

// call runs a function on Go arguments and returns the float32 behind them, if it stored one.
func (m *machine) call(name string, args ...any) float32 {
	var frame []byte
	word := func(v uint64) { frame = binary.LittleEndian.AppendUint64(frame, v) }
	align := func(n int) {
		for len(frame)%n != 0 {
			frame = append(frame, 0)
		}
	}
	for i, a := range args {
		slice := func(p unsafe.Pointer, n, size int) {
			align(8)
			m.segments[i+1] = unsafe.Slice((*byte)(p), n*size)
			word(address(i + 1))
			word(uint64(n))
			word(uint64(n))
		}
		switch a := a.(type) {
		case []float32:
			slice(unsafe.Pointer(unsafe.SliceData(a)), len(a), 4)
		case []uint32:
			slice(unsafe.Pointer(unsafe.SliceData(a)), len(a), 4)
		case []uint16:
			slice(unsafe.Pointer(unsafe.SliceData(a)), len(a), 2)
		case int:
			align(8)
			word(uint64(a))
		case uint32:
			align(4)
			frame = binary.LittleEndian.AppendUint32(frame, a)
		case float32:
			align(4)
			frame = binary.LittleEndian.AppendUint32(frame, math.Float32bits(a))
		case bool:
			b := byte(0)
			if a {
				b = 1
			}
			frame = append(frame, b)
		default:
			panic(fmt.Sprintf("argument of type %T", a))
		}
	}
	align(8)
	result := len(frame)
	word(0)
	m.segments[frameAt] = frame
	m.reg[6] = address(stackAt) // SP
	at, ok := m.entry[name]
	if !ok {
		panic("no function " + name)
	}
	for m.pc = at; m.pc >= 0; {
		s := &m.steps[m.pc]
		m.pc++
		s.run(m, s)
	}
	return math.Float32frombits(binary.LittleEndian.Uint32(frame[result:]))
}
