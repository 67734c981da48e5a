package train

import (
	"fmt"
	"math"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/sharding"
)

// lane computes lanes one by one and adds each, quantised, to own and side. It owns the scratch that takes: a tensor-sized
// gradient of one weight at a time, so that no gradient of the length of θ exists, also not for the method full.
type lane struct {
	model   *model.Llama
	method  methods.Method
	tensors []methods.Tensor
	span    map[model.WeightID]span // the tensors of each trained weight
	scratch []float32               // dθ of the weight that is being pulled
	batch   model.Batch
	chance  rng.Key // of the run, for what a lane's gradient draws

	// While a lane runs:
	own    []int32
	side   *allreduce.Side
	scales allreduce.Scales
	finite bool
	done   func(upTo int) // called when own[:upTo] is complete; nil unless this is the member's last lane
}

// span is a range of tensors, those of one weight.
type span struct{ from, to int }

// streamLane names the random numbers of lanes among those of a run: FNV-1a of "train/dropout".
const streamLane = 0x1fc616ddad4bab59

func newLane(m *model.Llama, method methods.Method, seed uint64) *lane {
	l := &lane{
		model: m, method: method, tensors: method.Tensors(), span: map[model.WeightID]span{}, chance: rng.New(seed).Sub(streamLane),
	}
	longest := 0
	for j, t := range l.tensors {
		s, seen := l.span[t.Weight]
		if !seen {
			s.from = j
		}
		s.to = j + 1
		l.span[t.Weight] = s
		longest = max(longest, t.Off+t.Len-l.tensors[s.from].Off)
	}
	l.scratch = make([]float32, longest)
	return l
}

// add computes the gradient of one lane's micro-batch and adds it to own and side. An empty micro-batch adds zeros.
func (l *lane) add(number int, step uint64, examples []sharding.Example, own []int32, side *allreduce.Side, scales allreduce.Scales, done func(int)) {
	side.Add(step, number)
	l.own, l.side, l.scales, l.finite, l.done = own, side, scales, true, done
	side.Tokens += int64(fill(&l.batch, examples))
	if len(examples) == 0 {
		return
	}
	l.batch.Chance = l.chance.Sub(step, uint64(number))
	loss, counted := l.model.Gradient(l.batch, l)
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		l.finite, loss, counted = false, 0, 0 // the mean loss is that of the other lanes
	}
	side.Loss += allreduce.FixedLoss(loss)
	side.Counted += int64(counted)
	if !l.finite {
		side.MarkNonFinite(number)
	}
}

// Outer takes the gradient of a linear weight from the backward pass (model.GradSink).
func (l *lane) Outer(id model.WeightID, o *model.Outer) {
	s := l.span[id]
	l.method.Pull(id, o, l.dtheta(s))
	l.quantise(s)
}

// Whole takes the gradient of any other weight from the backward pass (model.GradSink).
func (l *lane) Whole(id model.WeightID, dw []float32) {
	s := l.span[id]
	l.method.PullWhole(id, dw, l.dtheta(s))
	l.quantise(s)
}

func (l *lane) dtheta(s span) []float32 {
	first, last := l.tensors[s.from], l.tensors[s.to-1]
	return l.scratch[:last.Off+last.Len-first.Off]
}

func (l *lane) quantise(s span) {
	base := l.tensors[s.from].Off
	for j := s.from; j < s.to; j++ {
		t := l.tensors[j]
		bits, finite := allreduce.Quantise(l.own[t.Off:t.Off+t.Len], l.scratch[t.Off-base:t.Off-base+t.Len], l.scales[j])
		l.side.Max[j] = max(l.side.Max[j], bits)
		l.finite = l.finite && finite
	}
	if l.done != nil {
		last := l.tensors[s.to-1]
		l.done(last.Off + last.Len)
	}
}

// fill replaces what is in b by the examples and returns the number of their tokens.
func fill(b *model.Batch, examples []sharding.Example) (tokens int) {
	b.Reset()
	for _, e := range examples {
		b.Add(e.Tokens, e.Counted)
		tokens += len(e.Tokens)
	}
	return tokens
}

// nameLanes lists the lanes of a bitmap for people.
func nameLanes(bitmap []uint64) string {
	s := ""
	for i := range len(bitmap) * 64 {
		if bitmap[i/64]>>(i%64)&1 == 0 {
			continue
		}
		if s != "" {
			s += ", "
		}
		s += fmt.Sprint(i)
	}
	return s
}
