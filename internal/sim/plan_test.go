package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// kind is what can happen.
type kind string

const (
	crash    kind = "crash"       // the process dies; it may come back
	freeze   kind = "freeze"      // no byte in or out, for a while
	reset    kind = "reset"       // all connections between two members break
	cut      kind = "cut"         // no byte from one member to another, for a while
	slow     kind = "slow"        // bytes between two members take long
	corrupt  kind = "corrupt"     // a bit of what a member sends on a ring flips
	join     kind = "join"        // another node comes
	drain    kind = "drain"       // a node is asked to leave
	decapit  kind = "coordinator" // the coordinator dies, and comes back with its journal
	sleepy   kind = "clock"       // the coordinator's clock jumps ahead
	moved    kind = "moved"       // the coordinator dies, and its journal comes to life at another address
	double   kind = "double"      // a second node of a name comes
	flip     kind = "flip"        // a bit of θ flips on one member
	glitch   kind = "glitch"      // a gradient is not finite once
	deaf     kind = "deaf"        // the coordinator's views do not come to a member, for a while, whatever else does
	severed  kind = "severed"     // the coordinator is cut off from all nodes, for a while
	halted   kind = "stop"        // a person stops the run
	badData  kind = "nonfinite"   // the gradient of a sample is not finite on any member
	poisoned kind = "poison"      // whoever computes a sample dies
)

// kinds are drawn from with these weights.
var kinds = []struct {
	kind   kind
	weight int
}{
	{crash, 10}, {freeze, 5}, {reset, 5}, {cut, 4}, {slow, 2}, {corrupt, 4}, {join, 4}, {drain, 3}, {decapit, 4}, {sleepy, 2}, {flip, 2}, {glitch, 2},
}

// fault is one thing that happens: when a member gets to a phase of a step, or some time after the fault before.
type fault struct {
	kind   kind
	member string
	other  string // with reset, cut and slow
	step   uint64
	phase  phase
	follow bool          // it comes after the fault before, whatever the members do
	delay  time.Duration // since then
	last   time.Duration // how long; of crash and coordinator: until it comes back, 0 is never
	number int           // chance

	fired bool // guarded by simulation.mu
}

func (f *fault) String() string {
	s := string(f.kind) + " of " + f.member
	if f.other != "" {
		s += " and " + f.other
	}
	if f.follow {
		return fmt.Sprintf("%s, %v after the one before, for %v", s, f.delay, f.last)
	}
	return fmt.Sprintf("%s, %v after it is in %s of step %d, for %v", s, f.delay, f.phase, f.step, f.last)
}

// plan is all that a seed decides.
type plan struct {
	seed    uint64
	spec    string
	members []string
	min     int                      // members.min; 0: the spec's
	slow    map[string]time.Duration // pace of the slow ones
	latency time.Duration
	heal    time.Duration // how often the simulation mends everything
	bad     string        // what is wrong with the data: kind and place of a sample
	at      place         // of that sample
	faults  []*fault
}

// data is what is wrong with the data and can be survived.
func (p *plan) data() string {
	if p.spec == "skip" {
		return p.bad
	}
	return ""
}

// result names what the outcome depends on: nothing but the spec and the data.
func (p *plan) result() string { return p.spec + "/" + p.data() }

func (p *plan) String() string {
	s := fmt.Sprintf("seed %d: %s, members %s, at least %d, bad data: %q", p.seed, p.spec, strings.Join(p.members, " "), p.min, p.bad)
	for _, f := range p.faults {
		s += "\n\t" + f.String()
	}
	return s
}

func (p *plan) pace(name string) time.Duration {
	if d := p.slow[name]; d > 0 {
		return d
	}
	return 10 * time.Millisecond
}

// draw makes the plan of a seed.
func draw(seed uint64) *plan {
	r := rand.New(rand.NewPCG(seed, 0x5eed))
	p := &plan{seed: seed, spec: "lift", slow: map[string]time.Duration{}, latency: time.Duration(r.IntN(3)) * 500 * time.Microsecond, heal: 30 * time.Second}
	if r.IntN(4) == 0 {
		p.spec = "lora"
	}
	n := 1 + r.IntN(5)
	for i := range n {
		p.members = append(p.members, string(rune('a'+i)))
	}
	if r.IntN(4) == 0 {
		p.slow[p.members[r.IntN(n)]] = 40 * time.Millisecond
	}
	switch r.IntN(25) {
	case 0:
		p.spec, p.at = "skip", place{2 + r.Uint64N(2), r.IntN(lanes)}
		p.bad = fmt.Sprint(badData, p.at)
	case 1:
		p.at = place{1 + r.Uint64N(steps), r.IntN(lanes)}
		p.bad = fmt.Sprint(badData, p.at)
	case 2:
		p.at = place{1 + r.Uint64N(steps), r.IntN(lanes)}
		p.bad = fmt.Sprint(poisoned, p.at)
	}
	glitches := strings.HasPrefix(p.bad, string(badData))
	for i := range 1 + r.IntN(4) {
		f := drawFault(r, p, i)
		if f.kind == glitch && glitches { // two in one step end the run, as they should
			f.kind = reset
			f.other = p.members[0]
		}
		glitches = glitches || f.kind == glitch
		p.faults = append(p.faults, f)
	}
	p.vary(rand.New(rand.NewPCG(seed, 0xd1ce)))
	doubles := slices.ContainsFunc(p.faults, func(f *fault) bool { return f.kind == double }) // they may keep a disk away for good
	if p.spec == "lift" && !doubles && rand.New(rand.NewPCG(seed, 0x5a7e)).IntN(2) == 0 {
		p.spec = "kept"
	}
	for i, k := range []kind{deaf, severed} {
		if d := rand.New(rand.NewPCG(seed, 0xdeaf+uint64(i))); d.IntN(16) == 0 {
			p.faults = append(p.faults, &fault{
				kind: k, member: p.members[d.IntN(n)], step: 1 + d.Uint64N(steps), phase: computing,
				last: time.Duration(1+d.IntN(6_000_000)) * time.Microsecond,
			})
		}
	}
	return p
}

// vary adds what concerns the cluster as a whole.
func (p *plan) vary(r *rand.Rand) {
	n := len(p.members)
	if n > 1 && r.IntN(6) == 0 {
		p.min = 2 + r.IntN(n-1)
	}
	if r.IntN(4) == 0 {
		p.faults = append(p.faults, &fault{
			kind: []kind{moved, double}[r.IntN(2)], member: p.members[r.IntN(n)],
			step: 1 + r.Uint64N(steps), phase: []phase{computing, updating, selecting}[r.IntN(3)],
			last: time.Duration(1+r.IntN(3_000_000)) * time.Microsecond,
		})
	}
}

func drawFault(r *rand.Rand, p *plan, i int) *fault {
	sum := 0
	for _, k := range kinds {
		sum += k.weight
	}
	f := &fault{step: 1 + r.Uint64N(steps), number: r.IntN(1 << 20)}
	x := r.IntN(sum)
	for _, k := range kinds {
		if x -= k.weight; x < 0 {
			f.kind = k.kind
			break
		}
	}
	f.member = p.members[r.IntN(len(p.members))]
	if f.kind == reset || f.kind == cut || f.kind == slow {
		f.other = p.members[r.IntN(len(p.members))]
	}
	f.phase = []phase{computing, computing, updating, selecting, measuring}[r.IntN(5)]
	if r.IntN(2) == 0 {
		f.delay = time.Duration(r.IntN(30_000)) * time.Microsecond
	}
	if f.follow = i > 0 && r.IntN(2) == 0; f.follow {
		f.delay = time.Duration(r.IntN(4_000_000)) * time.Microsecond
	}
	switch f.kind {
	case crash, decapit:
		if r.IntN(3) > 0 {
			f.last = time.Duration(1+r.IntN(5_000_000)) * time.Microsecond
		}
	case freeze, cut, slow, sleepy:
		f.last = time.Duration(1+r.IntN(10_000_000)) * time.Microsecond
	}
	return f
}
