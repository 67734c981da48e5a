//go:build !amd64

package allreduce

func quantise(own []int32, g []float32, e int16) (uint32, bool) { return quantiseGo(own, g, e) }

func addWords(dst, own []int32, b []byte) { addWordsGo(dst, own, b) }

func findWidths(widths []byte, values []int32) { findWidthsGo(widths, values) }

func packGroups(stream []byte, values []int32, widths []byte, p int) int {
	return packGroupsGo(stream, values, widths, p)
}

func unpackGroups(dst, own []int32, stream, widths []byte, p int) int {
	return unpackGroupsGo(dst, own, stream, widths, p)
}
