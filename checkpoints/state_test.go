package checkpoints

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/torctrain/torc/methods"
)

func drawState(t *rapid.T) *State {
	bits := rapid.Custom(func(t *rapid.T) float32 { return math.Float32frombits(rapid.Uint32().Draw(t, "bits")) })
	k := rapid.IntRange(0, 40).Draw(t, "k")
	floats := func(name string) []float32 { return rapid.SliceOfN(bits, k, k).Draw(t, name) }
	set := func(name string) []uint32 {
		s := rapid.SliceOfNDistinct(rapid.Uint32(), 0, 12, rapid.ID[uint32]).Draw(t, name)
		slices.Sort(s)
		return s
	}
	s := &State{
		Step: rapid.Uint64().Draw(t, "step"), Theta: floats("θ"), M: floats("m"), V: floats("v"),
		Scales: rapid.SliceOfN(rapid.Int16(), 0, 5).Draw(t, "scales"),
	}
	copy(s.Spec[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "spec"))
	for range rapid.IntRange(0, 4).Draw(t, "sets") {
		s.Sets = append(s.Sets, set("set"))
	}
	if rapid.Bool().Draw(t, "with retired") {
		for range s.Sets {
			at := set("at")
			most := rapid.SampledFrom([]uint32{1, math.MaxUint16, math.MaxUint32}).Draw(t, "most")
			s.Retired = append(s.Retired, methods.Sparse{At: at, Bits: rapid.SliceOfN(rapid.Uint32Range(0, most), len(at), len(at)).Draw(t, "values")})
		}
	}
	if rapid.Bool().Draw(t, "with pending") {
		s.Pending = floats("pending")
	}
	if rapid.Bool().Draw(t, "with ages") {
		s.Ages = rapid.SliceOfN(rapid.Uint16(), len(s.Theta), len(s.Theta)).Draw(t, "ages")
	}
	return s
}

func encode(t interface{ Fatal(...any) }, s *State) []byte {
	var b bytes.Buffer
	n, err := s.WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Fatal("write: ", n, " of ", b.Len(), " bytes: ", err)
	}
	return b.Bytes()
}

func TestStateSurvivesItsBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawState(t)
		b := encode(t, s)
		got, err := ReadState(iotest.OneByteReader(bytes.NewReader(b)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(encode(t, got), b) || got.Digest() != s.Digest() || got.Fence() != s.Fence() {
			t.Fatal("a state read back is another one")
		}
		if got.Step != s.Step || len(got.Theta) != len(s.Theta) || len(got.Sets) != len(s.Sets) || len(got.Retired) != len(s.Retired) {
			t.Fatal("fields differ")
		}
		for i := range s.Sets {
			if !slices.Equal(got.Sets[i], s.Sets[i]) {
				t.Fatal("sets differ")
			}
		}
	})
}

// Large parts cross the borders of every buffer.
func TestLargeStateSurvivesItsBytes(t *testing.T) {
	const k = 1<<20 + 13
	s := &State{Step: 7, Theta: make([]float32, k), M: make([]float32, k), V: make([]float32, k), Scales: []int16{1, -2}, Sets: [][]uint32{make([]uint32, k)}}
	for i := range k {
		s.Theta[i], s.M[i], s.V[i], s.Sets[0][i] = float32(i), -float32(i), 1/float32(i+1), uint32(i)*4000+uint32(i%7)
	}
	s.Retired = []methods.Sparse{{At: s.Sets[0][:100_000], Bits: s.Sets[0][100_000:200_000]}}
	got, err := ReadState(bytes.NewReader(encode(t, s)))
	if err != nil || !reflect.DeepEqual(got, s) {
		t.Fatalf("a state read back is another one (%v)", err)
	}
}

// Whatever field differs, by whatever bit, digest and fence tell.
func TestDigestAndFenceSeeEveryField(t *testing.T) {
	make := func() *State {
		return &State{
			Step: 3, Theta: []float32{1, 2}, M: []float32{3, 4}, V: []float32{5, 6}, Scales: []int16{7, 8},
			Sets: [][]uint32{{1, 2}, {3}}, Retired: []methods.Sparse{{At: []uint32{9}, Bits: []uint32{10}}, {}}, Pending: []float32{1, 2},
		}
	}
	digests, fences := map[[32]byte]string{}, map[uint64]string{}
	for name, change := range map[string]func(s *State){
		"nothing":             func(*State) {},
		"spec":                func(s *State) { s.Spec[31] = 1 },
		"step":                func(s *State) { s.Step = 4 },
		"θ, by its sign":      func(s *State) { s.Theta[0] = -1 },
		"θ, by its last bit":  func(s *State) { s.Theta[1] = math.Nextafter32(2, 3) },
		"m":                   func(s *State) { s.M[1] = 0 },
		"v":                   func(s *State) { s.V[1] = 0 },
		"order of θ":          func(s *State) { s.Theta[0], s.Theta[1] = 2, 1 },
		"θ exchanged with m":  func(s *State) { s.Theta, s.M = s.M, s.Theta },
		"a scale":             func(s *State) { s.Scales[1] = -8 },
		"a set":               func(s *State) { s.Sets[0][1] = 5 },
		"border of two sets":  func(s *State) { s.Sets = [][]uint32{{1}, {2, 3}} },
		"a retired place":     func(s *State) { s.Retired[0].At[0] = 8 },
		"a retired value":     func(s *State) { s.Retired[0].Bits[0] = 8 },
		"owner of retired":    func(s *State) { s.Retired[0], s.Retired[1] = s.Retired[1], s.Retired[0] },
		"pending":             func(s *State) { s.Pending[0] = 9 },
		"no pending":          func(s *State) { s.Pending = nil },
		"ages":                func(s *State) { s.Ages = []uint16{0, 0} },
		"an age":              func(s *State) { s.Ages = []uint16{0, 1} },
		"no retired":          func(s *State) { s.Retired = nil },
		"no sets, no retired": func(s *State) { s.Sets, s.Retired = nil, nil },
	} {
		s := make()
		change(s)
		if other, ok := digests[s.Digest()]; ok {
			t.Errorf("%q and %q have one digest", name, other)
		}
		if other, ok := fences[s.Fence()]; ok {
			t.Errorf("%q and %q have one fence", name, other)
		}
		digests[s.Digest()], fences[s.Fence()] = name, name
	}
}

// The bytes are part of the format: this digest changes only together with the version.
func TestFormatIsPinned(t *testing.T) {
	s := &State{
		Step: 1, Theta: []float32{1, -2}, M: []float32{0.5, 0}, V: []float32{0.25, 0}, Scales: []int16{-3},
		Sets: [][]uint32{{0, 300}}, Retired: []methods.Sparse{{At: []uint32{7}, Bits: []uint32{0x3f80}}},
	}
	s.Spec[0] = 0xaa
	b := encode(t, s)
	want := "746f7263535401 00" + "aa" + strings.Repeat("00", 31) + "0100000000000000" + "0200000000000000" +
		"0000803f000000c0" + "0000003f00000000" + "0000803e00000000" + "0000000000000000" +
		"01000000" + "fdff" + "01000000" + "02000000" + "0300000000000000" + "00ab02" +
		"01000000" + "01000000" + "0100000000000000" + "07" + "02" + "803f"
	if got := fmt.Sprintf("%x", b); got != strings.ReplaceAll(want, " ", "") {
		t.Errorf("bytes are\n%s, want\n%s", got, strings.ReplaceAll(want, " ", ""))
	}
	s.Ages = []uint16{1, 0x203} // behind the pending θ, in version 2
	want = strings.Replace(want, "746f7263535401", "746f7263535402", 1)
	want = strings.Replace(want, "0000000000000000"+"01000000"+"fdff", "0000000000000000"+"01000302"+"01000000"+"fdff", 1)
	if got := fmt.Sprintf("%x", encode(t, s)); got != strings.ReplaceAll(want, " ", "") {
		t.Errorf("with ages bytes are\n%s, want\n%s", got, strings.ReplaceAll(want, " ", ""))
	}
}

func TestInconsistentStatesAreNotWritten(t *testing.T) {
	for name, s := range map[string]*State{
		"moments":        {Theta: []float32{1}, M: []float32{1}},
		"pending":        {Theta: []float32{1, 2}, M: []float32{1, 2}, V: []float32{1, 2}, Pending: []float32{1}},
		"ages":           {Theta: []float32{1, 2}, M: []float32{1, 2}, V: []float32{1, 2}, Ages: []uint16{1}},
		"retired lists":  {Sets: [][]uint32{{1}}, Retired: make([]methods.Sparse, 2)},
		"retired values": {Sets: [][]uint32{{1}}, Retired: []methods.Sparse{{At: []uint32{1}}}},
	} {
		if _, err := s.WriteTo(io.Discard); err == nil {
			t.Errorf("%s: written", name)
		}
	}
}

func TestMalformedStatesAreRefused(t *testing.T) {
	s := &State{
		Step: 1, Theta: []float32{1, 2}, M: []float32{1, 2}, V: []float32{1, 2}, Scales: []int16{1},
		Sets: [][]uint32{{5, 9}}, Retired: []methods.Sparse{{At: []uint32{2}, Bits: []uint32{3}}}, Pending: []float32{1, 2}, Ages: []uint16{1, 2},
	}
	good := encode(t, s)
	for n := range good {
		if _, err := ReadState(bytes.NewReader(good[:n])); !errors.Is(err, ErrMalformed) {
			t.Errorf("the first %d of %d bytes: error is %v", n, len(good), err)
		}
	}
	if _, err := ReadState(bytes.NewReader(append(slices.Clone(good), 0))); !errors.Is(err, ErrMalformed) {
		t.Errorf("a byte too many: error is %v", err)
	}
	newer := slices.Clone(good)
	newer[len(magic)] = 9
	if _, err := ReadState(bytes.NewReader(newer)); err == nil || !strings.Contains(err.Error(), "version 9") {
		t.Errorf("another version: error is %v", err)
	}
	broken := errors.New("disk on fire")
	if _, err := ReadState(io.MultiReader(bytes.NewReader(good[:50]), iotest.ErrReader(broken))); !errors.Is(err, broken) || errors.Is(err, ErrMalformed) {
		t.Errorf("a broken reader: error is %v", err)
	}
}

// A count that lies costs memory in proportion to the bytes that came, not to the count.
func TestHugeCountsAllocateLittle(t *testing.T) {
	b := append([]byte(magic), version, 0)
	b = append(b, make([]byte, 40)...)
	b = append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0) // K = 2^40 − 1
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := ReadState(bytes.NewReader(b)); !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	allocated := after.TotalAlloc - before.TotalAlloc
	if allocated > 4<<20 {
		t.Errorf("reading %d bytes allocated %d", len(b), allocated)
	}
}

func FuzzReadState(f *testing.F) {
	s := &State{
		Step: 1, Theta: []float32{1, 2}, M: []float32{1, 2}, V: []float32{1, 2}, Scales: []int16{1},
		Sets: [][]uint32{{5, 9}, {}}, Retired: []methods.Sparse{{At: []uint32{2}, Bits: []uint32{3}}, {At: []uint32{1}, Bits: []uint32{1 << 20}}},
	}
	f.Add(encode(f, s))
	s.Ages = []uint16{1, 1 << 15}
	f.Add(encode(f, s))
	f.Add(encode(f, &State{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ReadState(bytes.NewReader(b))
		if err != nil {
			return
		}
		if got := encode(t, s); !bytes.Equal(got, b) {
			t.Fatalf("%x was taken for %x", b, got)
		}
	})
}

func BenchmarkState(b *testing.B) {
	const k = 1 << 20
	s := &State{Theta: make([]float32, k), M: make([]float32, k), V: make([]float32, k), Sets: [][]uint32{make([]uint32, k)}}
	for i := range k {
		s.Sets[0][i] = uint32(i * 20)
	}
	for name, f := range map[string]func(){
		"fence": func() { s.Fence() }, "digest": func() { s.Digest() },
		"read": func() { _, _ = ReadState(bytes.NewReader(encode(b, s))) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(16 * k)
			for range b.N {
				f()
			}
		})
	}
}

// A copy is equal and shares nothing, also in memory that was used before.
func TestCopyIsEqualAndApart(t *testing.T) {
	var dst State
	rapid.Check(t, func(t *rapid.T) {
		s := drawState(t)
		dst.CopyFrom(s)
		want := s.Digest()
		if dst.Digest() != want || dst.Fence() != s.Fence() {
			t.Fatal("a copy is another state")
		}
		for _, v := range [][]float32{s.Theta, s.M, s.V, s.Pending} {
			for i := range v {
				v[i]++
			}
		}
		for i := range s.Scales {
			s.Scales[i]++
		}
		for i := range s.Ages {
			s.Ages[i]++
		}
		for _, v := range s.Sets {
			clear(v)
		}
		for _, r := range s.Retired {
			clear(r.At)
			clear(r.Bits)
		}
		if dst.Digest() != want {
			t.Fatal("a copy changes with what it was made of")
		}
	})
}

// A copy goes into the memory that was reserved for it, and is no other for that.
func TestReservedMemoryIsUsed(t *testing.T) {
	from, s := stateAt(5, 3000), &State{}
	from.Pending = append([]float32(nil), from.Theta...)
	from.Ages = make([]uint16, len(from.Theta))
	s.Reserve(from.Lengths())
	theta, set := &s.Theta[0], &s.Sets[0][0]
	if n := testing.AllocsPerRun(1, func() { s.CopyFrom(from) }); n != 0 {
		t.Errorf("the copy allocates %v times", n)
	}
	if &s.Theta[0] != theta || &s.Sets[0][0] != set {
		t.Error("the copy is elsewhere")
	}
	if s.Digest() != from.Digest() {
		t.Error("the copy is another state")
	}
}
