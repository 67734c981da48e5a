package train

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/methods"
)

// record is how a step ended: with State before the step it makes State after it, at the cost of one update. It is not
// changed once it is kept.
type record struct {
	step    uint64
	sets    [][]uint32 // chosen before the step; nil where they stayed
	scales  []int16    // used by the sum
	side    []byte     // totals beside the sum, in wire form
	sum     []int32
	skipped bool
	tries   uint32
	view    uint64 // number of the one that made it
	seconds float64

	users int // guarded by the keeper: readers of sum
}

func (r *record) toPB() *pb.Record {
	p := &pb.Record{Step: r.step, Side: r.side, Skipped: r.skipped, Seconds: r.seconds, Tries: r.tries, View: r.view, Sets: encodeSets(r.sets)}
	p.Scales = encodeScales(r.scales)
	p.Sum = make([]byte, 4*len(r.sum))
	for i, x := range r.sum {
		binary.LittleEndian.PutUint32(p.Sum[4*i:], uint32(x))
	}
	return p
}

func encodeSets(sets [][]uint32) [][]byte {
	var all [][]byte
	for _, set := range sets {
		all = append(all, methods.EncodeSet(nil, set))
	}
	return all
}

func encodeScales(scales []int16) []byte {
	var b []byte
	for _, e := range scales {
		b = binary.LittleEndian.AppendUint16(b, uint16(e))
	}
	return b
}

func decodeInts(b []byte) []int32 {
	x := make([]int32, len(b)/4)
	for i := range x {
		x[i] = int32(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return x
}

func decodeScales(b []byte, tensors int) ([]int16, error) {
	if len(b) != 2*tensors {
		return nil, fmt.Errorf("read scales: %d bytes for %d tensors", len(b), tensors)
	}
	scales := make([]int16, tensors)
	for i := range scales {
		scales[i] = int16(binary.LittleEndian.Uint16(b[2*i:]))
	}
	return scales, nil
}

// stateCopy is State after a step, for whoever joins.
type stateCopy struct {
	step   uint64
	ahead  uint32 // see Trainer.ahead; with it what is needed to go on from there:
	tried  bool   // the try before had lanes that were not finite
	valid  ValidationReport
	totals Totals
	bytes  func() ([]byte, [32]byte, error) // canonical form and its digest, made at the first call
}

// newStateCopy takes s over, which nobody changes any more.
func newStateCopy(s *checkpoints.State, totals Totals) *stateCopy {
	c := &stateCopy{step: s.Step, totals: totals}
	var once sync.Once
	var data []byte
	var digest [32]byte
	var err error
	c.bytes = func() ([]byte, [32]byte, error) {
		once.Do(func() {
			var b bytes.Buffer
			if _, err = s.WriteTo(&b); err == nil {
				data, digest = b.Bytes(), sha256.Sum256(b.Bytes())
			}
			s = nil
		})
		return data, digest, err
	}
	return c
}

// keeper keeps how the last steps ended, and a copy of State while somebody joins: the copy and the records since bring
// anybody level. It is filled by the trainer and read by those who serve others.
type keeper struct {
	budget int64 // bytes of records kept for others; the last record is kept in any case

	mu      sync.Mutex // guards the fields below
	records []*record  // of consecutive steps
	held    int64
	base    uint64 // the step after which the records begin
	copy    *stateCopy
	readers []*reader
	wanted  bool          // somebody asks for a copy,
	least   uint64        // after this step or a later one
	used    time.Time     // when somebody last read copy or records
	more    chan struct{} // closed and replaced when a record or a copy comes
	spare   []int32       // memory of a sum no longer kept

	asks chan struct{} // room for one: a copy is wanted
}

// reader is somebody who follows the records.
type reader struct {
	next uint64    // the first step whose record it has not read
	used time.Time // when it last asked
}

const (
	// lease is how long a copy, and records, are kept for somebody who does not read.
	lease = 30 * time.Second
	// maxReaders is how many are remembered; many more than follow one member.
	maxReaders = 256
)

// newKeeper returns the keeper of a member whose State is that after step base.
func newKeeper(base uint64, budget int64) *keeper {
	return &keeper{base: base, budget: budget, more: make(chan struct{}), asks: make(chan struct{}, 1)}
}

// add keeps a record, and returns memory for the next sum.
func (k *keeper) add(r *record, now time.Time) []int32 {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.records = append(k.records, r)
	k.held += r.size()
	if k.copy != nil && (now.Sub(k.used) > lease || k.held > k.budget) {
		k.copy = nil
	}
	first := k.first(r.step, now)
	for len(k.records) > 1 && k.records[0].step < first {
		old := k.records[0]
		k.records, k.held = k.records[1:], k.held-old.size()
		if old.users == 0 {
			k.spare = old.sum
		}
	}
	k.tell()
	total := k.spare
	k.spare = nil
	if total == nil {
		total = make([]int32, len(r.sum))
	}
	return total
}

// first is the first step whose record is to be kept, last being that of the newest. Whoever follows stops when it hears that it
// has a seat in the next view, and comes there one or two steps later, however long these are: the records since are kept for it.
func (k *keeper) first(last uint64, now time.Time) uint64 {
	first := last
	if k.held > k.budget {
		k.readers = nil
	}
	k.readers = slices.DeleteFunc(k.readers, func(r *reader) bool { return now.Sub(r.used) > lease && last > r.next+1 })
	for _, r := range k.readers {
		first = min(first, r.next)
	}
	if k.copy != nil {
		first = min(first, k.copy.step+1)
	}
	return first
}

// follow notes that somebody reads records from step on.
func (k *keeper) follow(step uint64, now time.Time) *reader {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := &reader{next: step, used: now}
	k.readers = append(k.readers, r)
	k.readers = k.readers[max(0, len(k.readers)-maxReaders):]
	return r
}

// goesOn notes that r has read the records before step.
func (k *keeper) goesOn(r *reader, step uint64, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r.next, r.used = step, now
}

func (r *record) size() int64 {
	n := 4*len(r.sum) + len(r.side)
	for _, set := range r.sets {
		n += 4 * len(set)
	}
	return int64(n)
}

func (k *keeper) tell() {
	close(k.more)
	k.more = make(chan struct{})
}

// put keeps a copy of State.
func (k *keeper) put(c *stateCopy, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.copy, k.used = c, now
	if c.step >= k.least {
		k.wanted, k.least = false, 0
	}
	k.tell()
}

// asked says whether somebody waits for a copy.
func (k *keeper) asked() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.wanted
}

// due says whether somebody waits for a copy, and one after step would do.
func (k *keeper) due(step uint64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.wanted && step >= k.least
}

// take returns a copy of State after step or a later one, if there is one; else it asks for one, and more is closed when
// it is worth another look.
func (k *keeper) take(step uint64, now time.Time) (c *stateCopy, more <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.copy != nil && k.copy.step >= step {
		k.used = now
		return k.copy, nil
	}
	k.wanted, k.least = true, max(k.least, step)
	select {
	case k.asks <- struct{}{}:
	default:
	}
	return nil, k.more
}

// at returns the copy of State after step, or nil.
func (k *keeper) at(step uint64, now time.Time) *stateCopy {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.copy == nil || k.copy.step != step {
		return nil
	}
	k.used = now
	return k.copy
}

// errGone says that a record is no longer kept.
var errGone = errors.New("the record of the step is no longer kept")

// record returns the record of a step, which the caller gives back with done. It is nil when the step is not made yet;
// more is closed when that may have changed.
func (k *keeper) record(step uint64, now time.Time) (r *record, more <-chan struct{}, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.used = now
	first := k.base + 1
	if len(k.records) > 0 {
		first = k.records[0].step
	}
	switch {
	case step < first:
		return nil, nil, fmt.Errorf("%w: step %d, the first kept is %d", errGone, step, first)
	case step >= first+uint64(len(k.records)):
		return nil, k.more, nil
	}
	r = k.records[step-first]
	r.users++
	return r, nil, nil
}

func (k *keeper) done(r *record) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r.users--
}

// oldest is the first step whose record is kept, or the next one to be made.
func (k *keeper) oldest() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.records) == 0 {
		return k.base + 1
	}
	return k.records[0].step
}
