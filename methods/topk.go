package methods

import (
	"errors"
	"math"
)

// errNotFinite is returned when a score is infinite or not a number.
var errNotFinite = errors.New("a score is not finite")

const (
	absMask    = 0x7fffffff
	bucketBits = 18                       // of a score's bits below the bucket: buckets are 1/32 of an octave
	buckets    = 1 << (31 - bucketBits)   // 8192
	infBucket  = 0x7f800000 >> bucketBits // the first bucket of what is not finite
	digitBits  = 9                        // of a score that refine reads at a time
	digits     = (bucketBits + digitBits - 1) / digitBits
)

// topK finds the k entries of largest magnitude of a long list that is shown to it twice, tile by tile, without keeping
// it: a first pass counts magnitudes by the high bits of their IEEE pattern, which orders them, a second collects the
// indices from the k-th bucket on. Of equal magnitudes the lower index wins. Memory: the k indices and the entries of the
// k-th bucket.
//
// Use: count every tile, split, collect every tile in order, set.
type topK struct {
	k    int
	hist [4][buckets]uint32 // four, since neighbours often fall in one bucket and its increments would wait for each other

	bucket uint32   // of the k-th largest
	above  int      // entries in higher buckets
	at     []uint32 // indices of entries from bucket on, ascending
	ties   []tie    // those of them in bucket itself
}

// tie is an entry of the k-th bucket: its place in topK.at and its magnitude.
type tie struct{ place, bits uint32 }

func newTopK(k int) *topK { return &topK{k: k} }

// count is the first pass over a tile.
func (t *topK) count(tile []float32) {
	h0, h1, h2, h3 := &t.hist[0], &t.hist[1], &t.hist[2], &t.hist[3]
	for ; len(tile) >= 4; tile = tile[4:] {
		h0[math.Float32bits(tile[0])&absMask>>bucketBits]++
		h1[math.Float32bits(tile[1])&absMask>>bucketBits]++
		h2[math.Float32bits(tile[2])&absMask>>bucketBits]++
		h3[math.Float32bits(tile[3])&absMask>>bucketBits]++
	}
	for _, v := range tile {
		h0[math.Float32bits(v)&absMask>>bucketBits]++
	}
}

// split ends the first pass. Fewer than k entries are a caller's bug.
func (t *topK) split() error {
	t.above = 0
	for b := buckets - 1; b >= 0; b-- {
		n := int(t.hist[0][b]) + int(t.hist[1][b]) + int(t.hist[2][b]) + int(t.hist[3][b])
		if n > 0 && b >= infBucket {
			return errNotFinite
		}
		if t.above+n >= t.k {
			t.bucket = uint32(b)
			t.at = make([]uint32, 0, t.above+n)
			t.ties = make([]tie, 0, n)
			return nil
		}
		t.above += n
	}
	panic("methods: topK: fewer entries than k")
}

// collect is the second pass over a tile, whose first entry has index from. Tiles come in order.
func (t *topK) collect(from int, tile []float32) {
	low := t.bucket << bucketBits
	for i, v := range tile {
		bits := math.Float32bits(v) & absMask
		if bits < low {
			continue
		}
		if bits>>bucketBits == t.bucket {
			t.ties = append(t.ties, tie{uint32(len(t.at)), bits})
		}
		t.at = append(t.at, uint32(from+i))
	}
}

// set returns the indices, ascending. It ends the use of t.
func (t *topK) set() []uint32 {
	limit, need := refine(t.ties, t.k-t.above)
	next, kept := 0, t.at[:0]
	for place, at := range t.at {
		if next < len(t.ties) && t.ties[next].place == uint32(place) {
			bits := t.ties[next].bits
			next++
			if bits < limit || bits == limit && need == 0 {
				continue
			}
			if bits == limit {
				need--
			}
		}
		kept = append(kept, at)
	}
	return kept
}

// refine returns the magnitude of the want-th largest tie, and how many of the ties of just that magnitude are among the
// first want. It reads the low bits digit by digit, highest first, as a radix sort would, but sorts nothing.
func refine(ties []tie, want int) (limit uint32, need int) {
	if want == 0 {
		return math.MaxUint32, 0
	}
	limit = ties[0].bits >> bucketBits << bucketBits
	mask := uint32(1<<32 - 1<<bucketBits) // the bits of limit known so far
	for d := digits - 1; d >= 0; d-- {
		shift := d * digitBits
		var hist [1 << digitBits]int
		for _, t := range ties {
			if t.bits&mask == limit {
				hist[t.bits>>shift&(1<<digitBits-1)]++
			}
		}
		digit := len(hist) - 1
		for ; hist[digit] < want; digit-- {
			want -= hist[digit]
		}
		limit |= uint32(digit) << shift
		mask |= (1<<digitBits - 1) << shift
	}
	return limit, want
}
