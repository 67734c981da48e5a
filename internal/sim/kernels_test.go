package sim

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/torctrain/torc/model"
)

// phase is a part of a step in which a fault may come.
type phase string

const (
	computing phase = "lane"   // the forward pass of a lane
	updating  phase = "update" // State changes
	selecting phase = "select" // index sets are chosen
	measuring phase = "valid"  // a validation lane
)

// watched are kernels that tell a process how far it is, and do what the simulation wants of them.
type watched struct {
	model.Kernels
	p      *process
	worker bool
}

// GradDense tells a selection where k is a worker's.
func (k *watched) GradDense(dw, dy, x []float32, t int) {
	if k.worker {
		k.p.selects()
	}
	k.Kernels.GradDense(dw, dy, x, t)
}

// Linear tells a selection where k is a worker's.
func (k *watched) Linear(y, x []float32, w *model.Matrix, t int) {
	if k.worker {
		k.p.selects()
	}
	k.Kernels.Linear(y, x, w, t)
}

// CrossEntropy is the middle of a lane.
func (k *watched) CrossEntropy(loss, logits []float32, targets []int32, t int) {
	at, training := k.p.c.world.lanes[hashTargets(targets)]
	spoilt := k.p.computes(at, training)
	k.Kernels.CrossEntropy(loss, logits, targets, t)
	if spoilt {
		logits[0] = float32(math.NaN())
	}
}

// AdamW is a part of the update of a step.
func (k *watched) AdamW(theta, m, v, g []float32, s model.AdamWStep) {
	k.Kernels.AdamW(theta, m, v, g, s)
	h := xxh3.New()
	for _, x := range [][]float32{theta, m, v} {
		var buf []byte
		for _, f := range x {
			buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(f))
		}
		_, _ = h.Write(buf)
	}
	if k.p.updates(s.Rate, h.Sum64()) {
		theta[len(theta)/2] = math.Float32frombits(math.Float32bits(theta[len(theta)/2]) ^ 1<<13)
	}
}

// selects is called again and again while index sets are chosen.
func (p *process) selects() {
	if p.ready.Load() { // before, the method prepares
		p.c.reach(p, selecting, p.committed.Load()+1, -1)
	}
}

// computes is called in the middle of a lane, and says whether its gradient is to be spoilt.
func (p *process) computes(at place, training bool) (spoilt bool) {
	p.ready.Store(true)
	if !training {
		time.Sleep(p.pace / 2)
		p.c.reach(p, measuring, p.committed.Load(), -1)
		p.halt()
		return false
	}
	time.Sleep(p.pace)
	p.c.reach(p, computing, at.step, at.lane)
	p.halt()
	return p.c.spoils(p, at)
}

// halt holds the process still while it is frozen.
func (p *process) halt() {
	n := p.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for p.host.frozen && !p.host.dead {
		n.moved.Wait()
	}
}

// updates is called for each tensor of an update, with the hash of what it made, and says whether a bit is to flip.
func (p *process) updates(rate float32, made uint64) (flip bool) {
	step := p.c.world.rates[p.c.plan.spec][rate]
	if step != p.at.step {
		p.at, p.part = place{step: step}, 0
	}
	p.c.check.made(p, step, p.part, made)
	if p.part++; p.part < p.c.check.parts {
		p.c.reach(p, updating, step, -1)
		return false
	}
	p.part = 0
	p.committed.Store(step)
	p.c.check.committed(p, step)
	return p.c.flips(p, step)
}
