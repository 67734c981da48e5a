package control

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/torctrain/torc/internal/pb"
)

// BenchmarkGrowth plays seconds of a cluster at work, with one step in each: what the coordinator decides and is told for one
// member in one second should not depend on how many there are.
func BenchmarkGrowth(b *testing.B) {
	for _, members := range []int{4, 16, 64, 256} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			p := trainingPlay(b, members)
			bytes, before := 0, processor(b)
			for b.Loop() {
				bytes += p.second()
			}
			perMember := float64(b.N * members)
			b.ReportMetric(float64((processor(b)-before).Microseconds())/perMember, "µs/member·s")
			b.ReportMetric(float64(bytes)/perMember, "B/member·s")
		})
	}
}

// processor is the processor time that this process has used.
func processor(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestACoordinatorHearsOfEachMemberAsMuchInAnyCrowd is what of BenchmarkGrowth does not depend on the machine: messages.
func TestACoordinatorHearsOfEachMemberAsMuchInAnyCrowd(t *testing.T) {
	perMember := func(members int) float64 {
		p := trainingPlay(t, members)
		bytes := 0
		for range 10 {
			bytes += p.second()
		}
		return float64(bytes) / float64(10*members)
	}
	if few, many := perMember(4), perMember(256); many > 1.1*few {
		t.Errorf("%.0f bytes for a member in a second with 256 members, %.0f with 4", many, few)
	}
}

// trainingPlay is a coordinator whose run trains on this many members, a lane for each of 256.
func trainingPlay(t testing.TB, members int) *play {
	p := newPlay(t)
	var names []string
	for i := range members {
		names = append(names, fmt.Sprintf("node-%03d", i))
	}
	for _, line := range []func(name string) string{
		func(name string) string { return "attend " + name },
		nil,
		func(name string) string { return "ready " + name },
		func(name string) string { return "train " + name },
	} {
		if line == nil {
			p.play(fmt.Sprintf("launch big lanes=256 expect=%d", members))
			continue
		}
		for _, name := range names {
			p.play(line(name))
		}
	}
	r := p.core.find("big")
	r.spec.Steps = 1 << 40
	if r.view == nil || len(r.view.Members) != members || r.state != pb.RunState_RUN_TRAINING {
		t.Fatalf("run is %v in view %v", r.state, r.view)
	}
	return p
}

// second lets all members beat twice and once more for a step, and returns the bytes of what they and the coordinator said.
func (p *play) second() (bytes int) {
	r := p.core.find("big")
	step := r.progress.step + 1
	for part := range int(time.Second / tickEvery) {
		p.now = p.now.Add(tickEvery)
		for i, name := range p.order {
			a := p.nodes[name]
			switch {
			case part == 5: // after the step
				a.beat.Step = step
				a.beat.Totals = &pb.Totals{Step: step, LossFirst: 1, LossLast: 0.5, Tokens: int64(100 * step), Seconds: float64(step)}
				if i == 0 {
					a.beat.Steps = []*pb.StepReport{{Step: step, Loss: 0.5, Tokens: 100, Counted: 50, Seconds: 1, View: a.beat.ViewNumber}}
				}
			case part%10 != i%10: // twice, not all at once
				continue
			}
			bytes += proto.Size(a.beat)
			p.core.beat(p.now, a.session, a.beat)
			a.beat.Steps = nil
		}
		p.core.tick(p.now)
		for _, e := range p.core.take() {
			if o, ok := e.(order); ok {
				bytes += proto.Size(o.order)
			}
		}
	}
	return bytes
}
