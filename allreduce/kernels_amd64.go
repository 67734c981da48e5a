package allreduce

import "golang.org/x/sys/cpu"

// fast reports whether the AVX2 kernels may be used. Their results equal those of the portable twins bit for bit.
var fast = cpu.X86.HasAVX2

// quantiseAVX2 is quantiseGo for n elements, a multiple of 8. scale is 2^e as float32: the product is exact unless it
// leaves the normal range, where it rounds to 0 or becomes −2^31 as in float64. bad is not 0 if an element was not finite.
//
//go:noescape
func quantiseAVX2(own *int32, src *float32, n int, scale float32) (max, bad uint32)

// addWordsAVX2 does dst[i] = own[i] + b[i] for n words, a multiple of 8.
//
//go:noescape
func addWordsAVX2(dst, own *int32, b *byte, n int)

// findWidthsAVX2 is findWidthsGo for n groups.
//
//go:noescape
func findWidthsAVX2(widths *byte, values *int32, n int)

// packGroupsAVX2 is packGroupsGo for n groups. It writes no row behind the last that holds a bit.
//
//go:noescape
func packGroupsAVX2(stream *byte, values *int32, widths *byte, n, p int) int

// unpackGroupsAVX2 is unpackGroupsGo for n groups; own may be nil. It reads one row behind the last that holds a bit.
//
//go:noescape
func unpackGroupsAVX2(dst, own *int32, stream, widths *byte, n, p int) int

func quantise(own []int32, g []float32, e int16) (max uint32, finite bool) {
	n := len(g) &^ 7
	if !fast || n == 0 {
		return quantiseGo(own, g, e)
	}
	max, bad := quantiseAVX2(&own[0], &g[0], n, float32(pow2(e)))
	tail, ok := quantiseGo(own[n:], g[n:], e)
	if tail > max {
		max = tail
	}
	return max, ok && bad == 0
}

func addWords(dst, own []int32, b []byte) {
	n := len(dst) &^ 7
	if !fast || n == 0 {
		addWordsGo(dst, own, b)
		return
	}
	_, _ = own[len(dst)-1], b[4*len(dst)-1]
	addWordsAVX2(&dst[0], &own[0], &b[0], n)
	addWordsGo(dst[n:], own[n:], b[4*n:])
}

func findWidths(widths []byte, values []int32) {
	if !fast || len(widths) == 0 {
		findWidthsGo(widths, values)
		return
	}
	_ = values[len(widths)*group-1]
	findWidthsAVX2(&widths[0], &values[0], len(widths))
}

func packGroups(stream []byte, values []int32, widths []byte, p int) int {
	if !fast || len(widths) == 0 || len(stream) == 0 {
		return packGroupsGo(stream, values, widths, p)
	}
	_ = values[len(widths)*group-1]
	return packGroupsAVX2(&stream[0], &values[0], &widths[0], len(widths), p)
}

func unpackGroups(dst, own []int32, stream, widths []byte, p int) int {
	if !fast || len(widths) == 0 || len(stream) == 0 || cap(stream)-len(stream) < slack {
		return unpackGroupsGo(dst, own, stream, widths, p)
	}
	_ = dst[len(widths)*group-1]
	var first *int32
	if own != nil {
		_ = own[len(widths)*group-1]
		first = &own[0]
	}
	return unpackGroupsAVX2(&dst[0], first, &stream[0], &widths[0], len(widths), p)
}
