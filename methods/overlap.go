package methods

import "github.com/torctrain/torc/model"

// MagnitudeOverlap is the share of set that the as many largest |W| would have, too: how much LIFT's choice differs from the
// simplest one. Values count as equal when their first 16 bits are, and of equal ones so many are in as there is room for; so
// it is exact for 16-bit weights but for ties.
func MagnitudeOverlap(w *model.Matrix, set []uint32) float64 {
	if len(set) == 0 {
		return 0
	}
	magnitude := func(i int) uint32 { return storedBits(w, uint32(i)) & 0x7fff }
	if w.DType == model.F32 {
		magnitude = func(i int) uint32 { return storedBits(w, uint32(i)) >> 16 & 0x7fff }
	}
	counts := make([]int, 1<<15)
	for i := range w.Len() {
		counts[magnitude(i)]++
	}
	room, border := len(set), len(counts)-1
	for border > 0 && counts[border] <= room { // all of these are among the largest
		room -= counts[border]
		border--
	}
	sure, tied := 0, 0
	for _, at := range set {
		switch m := int(magnitude(int(at))); {
		case m > border:
			sure++
		case m == border:
			tied++
		}
	}
	if tied > 0 {
		return (float64(sure) + float64(tied)*float64(room)/float64(counts[border])) / float64(len(set))
	}
	return float64(sure) / float64(len(set))
}
