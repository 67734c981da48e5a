package allreduce

// Pure arithmetic of who sends what when; no clock, no goroutine.
//
// The vector is cut into segments that go round the ring one behind the other, each as a reduce-scatter followed by an
// all-gather. A segment has one chunk for each position of the ring; a chunk of one segment is one frame. With n
// members a segment takes 2(n−1) hops, and at hop h the member at position p
//
//	sends    chunk (p − h) mod n      and      receives chunk (p − 1 − h) mod n.
//
// In hops 0 … n−2 the receiver adds its own values to the chunk, so that after hop n−2 each chunk is complete in one
// place; in hops n−1 … 2n−3 complete chunks are handed on. What a member receives at hop h it sends at hop h+1.

// schedule is the plan of one sum of a vector over the ring.
type schedule struct {
	members  int
	length   int // K, values in the vector
	segments int
	chunk    int // values in a chunk, a multiple of group; the last chunks may be shorter or empty
}

// overlap is how many segments a vector is cut into, if it is long enough, so that hops work at the same time.
const overlap = 4

// minFrame is the number of values below which a frame is not cut further for the sake of overlap.
const minFrame = 16 << 10

// newSchedule plans a sum of length values over n members with at most frame values in a chunk.
func newSchedule(n, length, frame int) schedule {
	frame = max(group, min(frame, max(minFrame, ceilDiv(length, n*overlap))))
	s := schedule{members: n, length: length, segments: max(1, ceilDiv(length, n*frame))}
	// Even chunks: the last segment must not be a short one that everybody waits for.
	s.chunk = max(1, ceilDiv(ceilDiv(length, n*s.segments), group)) * group
	s.segments = max(1, ceilDiv(length, n*s.chunk))
	return s
}

// hops is the number of hops of each segment.
func (s schedule) hops() int { return 2 * (s.members - 1) }

// bounds returns the part [lo, hi) of the vector that is a chunk of a segment; lo == hi when it is empty.
func (s schedule) bounds(segment, chunk int) (lo, hi int) {
	lo = min((segment*s.members+chunk)*s.chunk, s.length)
	return lo, min(lo+s.chunk, s.length)
}

// sends returns the chunk that the member at position pos sends at hop.
func (s schedule) sends(pos, hop int) int { return mod(pos-hop, s.members) }

// receives returns the chunk that the member at position pos receives at hop.
func (s schedule) receives(pos, hop int) int { return mod(pos-1-hop, s.members) }

// adds reports whether the receiver adds its own values at hop; otherwise the chunk is complete.
func (s schedule) adds(hop int) bool { return hop < s.members-1 }

// frames counts the frames with values that the member at position pos sends and receives; empty chunks do not travel.
func (s schedule) frames(pos int) (sent, received int) {
	full := s.length / (s.members * s.chunk) // segments without an empty chunk
	sent, received = full*s.hops(), full*s.hops()
	for seg := full; seg < s.segments; seg++ {
		for h := range s.hops() {
			if lo, hi := s.bounds(seg, s.sends(pos, h)); lo < hi {
				sent++
			}
			if lo, hi := s.bounds(seg, s.receives(pos, h)); lo < hi {
				received++
			}
		}
	}
	return sent, received
}

// Side values go round once to be merged, from position 0 to n−1, and once more to be handed out: at hop h they go from
// position h mod n to the next. Each member sends at most two frames, however many members there are.

// sideHops returns the hops at which the member at position pos receives and then sends side values; −1 is none. The
// first pair belongs to the merging round, the second to the handing out.
func sideHops(pos, n int) (mergeIn, mergeOut, totalIn, totalOut int) {
	mergeIn, mergeOut, totalIn, totalOut = pos-1, pos, n-1+pos, n+pos
	switch pos {
	case n - 1: // the total exists here after the merge
		totalIn, mergeOut, totalOut = -1, -1, n-1
	case n - 2: // the last to be told
		totalOut = -1
	}
	return mergeIn, mergeOut, totalIn, totalOut
}

// direct reports whether a vector of so many bytes is exchanged in one round, everyone with everyone.
func direct(n int, bytes, limit int) bool { return n <= maxDirect && bytes <= limit }

// maxDirect bounds the links a member keeps for direct exchange.
const maxDirect = 32

func ceilDiv(a, b int) int { return (a + b - 1) / b }

func mod(a, n int) int { return ((a % n) + n) % n }
