package allreduce

import (
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// heavyTail draws values like quantised gradients: most are small, few are large, neighbours are alike.
func heavyTail(n, bits int, seed uint64) []int32 {
	rng := rand.New(rand.NewPCG(seed, 1))
	v := make([]int32, n)
	row := 1.0
	for i := range v {
		if i%576 == 0 {
			row = math.Exp(rng.NormFloat64())
		}
		// Student's t with 3 degrees of freedom.
		chi := 0.0
		for range 3 {
			x := rng.NormFloat64()
			chi += x * x
		}
		t := rng.NormFloat64() / math.Sqrt(chi/3) * row
		v[i] = int32(max(-1, min(1, t/400)) * math.Exp2(float64(bits)))
	}
	return v
}

func drawValues(t *rapid.T) []int32 {
	bits := rapid.IntRange(0, 32).Draw(t, "bits")
	n := rapid.IntRange(0, 1500).Draw(t, "n")
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	v := make([]int32, n)
	for i := range v {
		w := bits
		if rng.IntN(8) == 0 {
			w = rng.IntN(bits + 1)
		}
		v[i] = int32(rng.Uint64() << 32 >> 32)
		if w < 32 {
			v[i] &= 1<<w - 1
			v[i] -= int32(rng.IntN(2)) << w
		}
	}
	if n > 0 && rng.IntN(4) == 0 {
		clear(v[:rng.IntN(n)])
	}
	return v
}

// cut returns b in parts, as it may come from the network.
func cut(b []byte, rng *rand.Rand) [][]byte {
	var parts [][]byte
	longest := 1 + rng.IntN(2000)
	for len(b) > 0 {
		n := rng.IntN(min(len(b), longest)) + 1
		parts = append(parts, b[:n:n])
		b = b[n:]
	}
	return parts
}

// decode is addRaw or addPacked, with the checksums checked.
func decode(dst, own []int32, parts [][]byte, packed bool) error {
	wantIn := crc32.Checksum(slices.Concat(parts...), castagnoli)
	if packed {
		in, err := addPacked(dst, own, parts)
		if err == nil && in != wantIn {
			return fmt.Errorf("checksum %08x, want %08x", in, wantIn)
		}
		return err
	}
	in, out, err := addRaw(dst, own, parts)
	if err != nil {
		return err
	}
	b := room(len(dst))
	putWords(b, dst)
	if wantOut := crc32.Checksum(b[:4*len(dst)], castagnoli); in != wantIn || own != nil && out != wantOut {
		return fmt.Errorf("checksums %08x and %08x, want %08x and %08x", in, out, wantIn, wantOut)
	}
	return nil
}

func room(n int) []byte { return make([]byte, 4*n+slack) }

func TestValuesSurviveTheirEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawValues(t)
		pack := rapid.Bool().Draw(t, "pack")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "cuts"), 0))
		b := room(len(v))
		n, packed := encodeValues(b, v, pack)
		if n > 4*len(v) {
			t.Fatalf("%d values take %d bytes, more than raw", len(v), n)
		}
		got := make([]int32, len(v))
		if err := decode(got, nil, cut(b[:n], rng), packed); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, v) {
			t.Fatalf("decoded %v, want %v", got, v)
		}
		own := slices.Clone(v)
		for i := range own {
			own[i] = own[i]*31 + int32(i)
		}
		if err := decode(got, own, cut(b[:n], rng), packed); err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if got[i] != own[i]+v[i] {
				t.Fatalf("sum[%d] = %d, want %d", i, got[i], own[i]+v[i])
			}
		}
		if err := decode(own, own, cut(b[:n], rng), packed); err != nil || !slices.Equal(own, got) {
			t.Fatalf("adding in place gives %v (%v), want %v", own, err, got)
		}
	})
}

// Fast kernels and portable twins write the same bytes: a member with AVX2 and one without understand each other.
func TestKernelsEqualTheirTwins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawValues(t)
		v = v[:len(v)/group*group]
		groups := len(v) / group
		w, wGo := make([]byte, groups), make([]byte, groups)
		findWidths(w, v)
		findWidthsGo(wGo, v)
		if !slices.Equal(w, wGo) {
			t.Fatalf("widths %v, portable %v", w, wGo)
		}
		size := streamBytes(w)
		b, bGo := make([]byte, size, size+slack), make([]byte, size, size+slack)
		cut := rapid.IntRange(0, groups).Draw(t, "cut")
		p := packGroups(b, v[:cut*group], w[:cut], 0)
		p = packGroups(b, v[cut*group:], w[cut:], p)
		pGo := packGroupsGo(bGo, v[:cut*group], w[:cut], 0)
		pGo = packGroupsGo(bGo, v[cut*group:], w[cut:], pGo)
		if p != pGo || !slices.Equal(b, bGo) {
			t.Fatalf("packed to bit %d %x, portable to bit %d %x", p, b, pGo, bGo)
		}
		got, gotGo := make([]int32, len(v)), make([]int32, len(v))
		unpackGroups(got, v, b, w, 0)
		unpackGroupsGo(gotGo, v, b, w, 0)
		inPlace := slices.Clone(v)
		unpackGroupsGo(inPlace, inPlace, b, w, 0)
		if !slices.Equal(got, gotGo) || !slices.Equal(got, inPlace) {
			t.Fatalf("unpacked %v, portable %v", got, gotGo)
		}
		raw := room(len(v))
		putWords(raw, v)
		addWords(got, v, raw)
		addWordsGo(gotGo, v, raw)
		if !slices.Equal(got, gotGo) {
			t.Fatalf("added %v, portable %v", got, gotGo)
		}
	})
}

// The fast kernels work on whole rows; none may write behind what it was given.
func TestPackingStaysInsideItsBytes(t *testing.T) {
	for width := 0; width <= 32; width++ {
		for _, n := range []int{1, 7, 63, 64, 65, 200, 640} {
			v := make([]int32, n)
			for i := range v {
				v[i] = int32(uint64(1)<<width>>1) - 1
			}
			b := make([]byte, 4*n+512)
			for i := range b {
				b[i] = 0xa5
			}
			length := packValues(b[:4*n+slack], v, 4*n+slack)
			if length < 0 {
				continue
			}
			for i, x := range b[length:] {
				if x != 0xa5 {
					t.Fatalf("width %d, %d values: byte %d behind the end of %d was written", width, n, i, length)
				}
			}
		}
	}
}

func TestPackingGainsOnGradients(t *testing.T) {
	for _, bits := range []int{20, 24} {
		v := heavyTail(1<<16, bits, 1)
		n, packed := encodeValues(room(len(v)), v, true)
		ratio := float64(n) / float64(4*len(v))
		t.Logf("sums of %d bits pack to %.3f", bits, ratio)
		if !packed || ratio > 0.7 {
			t.Errorf("sums of %d bits pack to %.3f of their size, want at most 0.7", bits, ratio)
		}
	}
}

func FuzzPackedPayloadIsNeverTrusted(f *testing.F) {
	v := heavyTail(200, 20, 1)
	b := room(len(v))
	n, _ := encodeValues(b, v, true)
	f.Add(b[:n], 200, true, uint64(0))
	f.Add(b[:n-1], 200, true, uint64(1))
	f.Add([]byte{33, 0, 0, 0}, 64, true, uint64(2))
	f.Add([]byte{1, 2, 3}, 1, false, uint64(3))
	f.Fuzz(func(t *testing.T, payload []byte, count int, packed bool, cuts uint64) {
		if count < 0 || count > 1<<12 {
			return
		}
		whole, parts := make([]int32, count), make([]int32, count)
		errWhole := decode(whole, nil, [][]byte{payload}, packed)
		errParts := decode(parts, make([]int32, count), cut(payload, rand.New(rand.NewPCG(cuts, 0))), packed)
		if (errWhole == nil) != (errParts == nil) || errWhole == nil && !slices.Equal(whole, parts) {
			t.Fatalf("whole and in parts it decodes differently: %v and %v", errWhole, errParts)
		}
	})
}

func BenchmarkCodec(b *testing.B) {
	const n = 128 << 10
	v := heavyTail(n, 24, 1)
	own, dst := make([]int32, n), make([]int32, n)
	raw, packed := room(n), room(n)
	putWords(raw, v)
	length, _ := encodeValues(packed, v, true)
	for _, c := range []struct {
		name string
		run  func()
	}{
		{"pack", func() { encodeValues(packed, v, true) }},
		{"unpackAdd", func() { _, _ = addPacked(dst, own, [][]byte{packed[:length]}) }},
		{"unpack", func() { _, _ = addPacked(dst, nil, [][]byte{packed[:length]}) }},
		{"rawAdd", func() { addWords(dst, own, raw) }},
		{"rawAddGo", func() { addWordsGo(dst, own, raw) }},
		{"raw", func() { putWords(raw, v) }},
		{"crc", func() { crc32.Checksum(raw[:4*n], castagnoli) }},
		{"widthsGo", func() { findWidthsGo(packed[:n/group], v) }},
	} {
		b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
			b.SetBytes(4 * n)
			for b.Loop() {
				c.run()
			}
		})
	}
}
