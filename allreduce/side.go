package allreduce

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrOverlap is returned when a lane was added twice.
var ErrOverlap = errors.New("allreduce: lanes overlap")

// Side holds what is reduced beside the values of a step. Every field merges exactly and in any order.
type Side struct {
	Max       []uint32 // (tensors) bits of the largest finite |g| over lanes; they order like the values. Merged by maximum
	Loss      int64    // sum of token losses, fixed point with 20 bits after the point (see FixedLoss)
	Tokens    int64    // all tokens computed
	Counted   int64    // answer tokens, whose losses are in Loss
	Lanes     []uint64 // bitmap of the lanes added
	Count     uint32   // lanes added, also counting one that was added twice
	Proof     uint64   // Σ Proof(step, lane), wrapping
	NonFinite []uint64 // bitmap of lanes whose gradient had NaN or Inf
	Flags     uint32   // OR-ed: StopAsked and its kin
}

// What a member asks of all in Side.Flags: every member sees it in the totals of the same step.
const (
	StopAsked uint32 = 1 << iota // end the run after this step
	ViewAsked                    // leave the view after this step: another one waits
	CopyAsked                    // copy State after this step
	SaveAsked                    // take a checkpoint after this step
)

// NewSide returns an empty Side for so many trained tensors and lanes.
func NewSide(tensors, lanes int) *Side {
	words := (lanes + 63) / 64
	return &Side{Max: make([]uint32, tensors), Lanes: make([]uint64, words), NonFinite: make([]uint64, words)}
}

// alike returns an empty Side of the shape of s.
func (s *Side) alike() *Side { return NewSide(len(s.Max), 64*len(s.Lanes)) }

// Reset empties s and keeps its shape.
func (s *Side) Reset() {
	clear(s.Max)
	clear(s.Lanes)
	clear(s.NonFinite)
	s.Loss, s.Tokens, s.Counted = 0, 0, 0
	s.Count, s.Proof, s.Flags = 0, 0, 0
}

// CopyFrom makes s equal to o, sharing nothing.
func (s *Side) CopyFrom(o *Side) {
	if len(s.Max) != len(o.Max) || len(s.Lanes) != len(o.Lanes) {
		*s = *o.alike()
	}
	copy(s.Max, o.Max)
	copy(s.Lanes, o.Lanes)
	copy(s.NonFinite, o.NonFinite)
	s.Loss, s.Tokens, s.Counted = o.Loss, o.Tokens, o.Counted
	s.Count, s.Proof, s.Flags = o.Count, o.Proof, o.Flags
}

// Add enters a finished lane: bitmap, count and proof.
func (s *Side) Add(step uint64, lane int) {
	s.Lanes[lane/64] |= 1 << (lane % 64)
	s.Count++
	s.Proof += Proof(step, lane)
}

// Has reports whether lane was added.
func (s *Side) Has(lane int) bool { return s.Lanes[lane/64]>>(lane%64)&1 != 0 }

// MarkNonFinite enters lane as one with NaN or Inf in its gradient.
func (s *Side) MarkNonFinite(lane int) { s.NonFinite[lane/64] |= 1 << (lane % 64) }

// Merge adds o to s. When a lane is in both it returns ErrOverlap, s then counts it twice and can no longer be proved;
// when the shapes differ it returns another error and leaves s as it was.
func (s *Side) Merge(o *Side) error {
	if len(o.Max) != len(s.Max) || len(o.Lanes) != len(s.Lanes) || len(o.NonFinite) != len(s.NonFinite) {
		return fmt.Errorf("merge side values: %d tensors and %d lane words, want %d and %d: the members run different specs",
			len(o.Max), len(o.Lanes), len(s.Max), len(s.Lanes))
	}
	for j, m := range o.Max {
		s.Max[j] = max(s.Max[j], m)
	}
	overlap := false
	for i, w := range o.Lanes {
		overlap = overlap || s.Lanes[i]&w != 0
		s.Lanes[i] |= w
		s.NonFinite[i] |= o.NonFinite[i]
	}
	s.Loss += o.Loss
	s.Tokens += o.Tokens
	s.Counted += o.Counted
	s.Count += o.Count
	s.Proof += o.Proof
	s.Flags |= o.Flags
	if overlap {
		return ErrOverlap
	}
	return nil
}

// Prove returns ErrProof unless s holds each of the lanes exactly once at this step.
func (s *Side) Prove(step uint64, lanes int) error {
	count, proof := WantProof(step, lanes)
	if s.Count == count && s.Proof == proof {
		return nil
	}
	var missing []int
	for l := range lanes {
		if l/64 >= len(s.Lanes) || !s.Has(l) {
			missing = append(missing, l)
		}
	}
	return fmt.Errorf("%w: step %d has %d of %d lanes, proof %016x, want %016x, missing %v", ErrProof, step, s.Count, count, s.Proof, proof, missing)
}

// Proof is what one lane of a step adds to Side.Proof: a fixed mix of both numbers.
func Proof(step uint64, lane int) uint64 {
	return mix(mix(step) + uint64(lane))
}

// WantProof returns the count and the proof of a step that holds each lane once.
func WantProof(step uint64, lanes int) (count uint32, proof uint64) {
	for l := range lanes {
		proof += Proof(step, l)
	}
	return uint32(lanes), proof
}

// mix is the output function of SplitMix64 (Steele, Lea, Flood 2014) after one step of its counter.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// FixedLoss turns a sum of token losses into the fixed point of Side.Loss: nearest multiple of 2^−20, ties to even.
// A loss that is not finite or reaches 2^40 becomes 0; such a lane is marked non-finite by its gradient.
func FixedLoss(sum float64) int64 {
	if !(sum > -(1<<40) && sum < 1<<40) {
		return 0
	}
	x := sum * (1 << 20)
	n := int64(x)
	switch rest := x - float64(n); {
	case rest > 0.5 || rest == 0.5 && n&1 != 0:
		n++
	case rest < -0.5 || rest == -0.5 && n&1 != 0:
		n--
	}
	return n
}

// MeanLoss is the loss per counted token, 0 when none was counted.
func (s *Side) MeanLoss() float64 {
	if s.Counted == 0 {
		return 0
	}
	return float64(s.Loss) / (1 << 20) / float64(s.Counted)
}

// sideBytes is the length of an encoded Side: a fixed part, then Max, Lanes and NonFinite.
func sideBytes(tensors, words int) int { return 48 + 4*tensors + 16*words }

func (s *Side) size() int { return sideBytes(len(s.Max), len(s.Lanes)) }

// Append appends the wire form of s, little endian.
func (s *Side) Append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, uint32(len(s.Max)))
	b = le.AppendUint32(b, uint32(len(s.Lanes)))
	b = le.AppendUint64(b, uint64(s.Loss))
	b = le.AppendUint64(b, uint64(s.Tokens))
	b = le.AppendUint64(b, uint64(s.Counted))
	b = le.AppendUint64(b, s.Proof)
	b = le.AppendUint32(b, s.Count)
	b = le.AppendUint32(b, s.Flags)
	for _, m := range s.Max {
		b = le.AppendUint32(b, m)
	}
	for _, w := range s.Lanes {
		b = le.AppendUint64(b, w)
	}
	for _, w := range s.NonFinite {
		b = le.AppendUint64(b, w)
	}
	return b
}

// Decode reads the wire form into s, whose shape says what is expected. On error s is undefined.
func (s *Side) Decode(b []byte) error {
	if len(b) != s.size() {
		return fmt.Errorf("decode side values: %d bytes, want %d: the members run different specs", len(b), s.size())
	}
	le := binary.LittleEndian
	if t, w := le.Uint32(b), le.Uint32(b[4:]); int64(t) != int64(len(s.Max)) || int64(w) != int64(len(s.Lanes)) {
		return fmt.Errorf("decode side values: %d tensors and %d lane words, want %d and %d", t, w, len(s.Max), len(s.Lanes))
	}
	s.Loss = int64(le.Uint64(b[8:]))
	s.Tokens = int64(le.Uint64(b[16:]))
	s.Counted = int64(le.Uint64(b[24:]))
	s.Proof = le.Uint64(b[32:])
	s.Count = le.Uint32(b[40:])
	s.Flags = le.Uint32(b[44:])
	b = b[48:]
	for j := range s.Max {
		s.Max[j] = le.Uint32(b[4*j:])
	}
	b = b[4*len(s.Max):]
	for i := range s.Lanes {
		s.Lanes[i] = le.Uint64(b[8*i:])
	}
	b = b[8*len(s.Lanes):]
	for i := range s.NonFinite {
		s.NonFinite[i] = le.Uint64(b[8*i:])
	}
	return nil
}
