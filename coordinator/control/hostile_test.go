package control

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/pb"
)

// A member may say anything in its own name: the coordinator must stay on its feet, whatever follows for the run.
func FuzzBeatIsNeverTrusted(f *testing.F) {
	for _, b := range []*pb.Beat{
		{Run: "r", Phase: pb.Phase_PHASE_TRAINING, Step: 1 << 63, ViewNumber: 9},
		{Run: "r", Phase: pb.Phase_PHASE_FINISHED, Digest: []byte{1}},
		{Run: "r", Phase: -1, Step: 2, Steps: []*pb.StepReport{nil, {Step: 7, Loss: 1e308, Tokens: -1, Seconds: -5}}},
		{Run: "r", Phase: pb.Phase_PHASE_TRAINING, LostPeer: "a", LostWhy: 99, LaneSeconds: -1, Logs: []*pb.LogLine{{UnixNano: -1, Level: "?"}}},
		{Run: "x", Phase: pb.Phase_PHASE_FAILED, Fatal: true, Error: "!", Totals: &pb.Totals{Step: 5, Tokens: -1}},
	} {
		text, err := proto.Marshal(b)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, uint8(0))
		f.Add(text, uint8(7))
	}
	f.Fuzz(func(t *testing.T, text []byte, when uint8) {
		b := &pb.Beat{}
		if proto.Unmarshal(text, b) != nil || cluster.Bounded(b) != nil {
			return
		}
		p := newPlay(t)
		lines := []string{"attend a", "attend b", "launch r expect=2 lanes=3", "prepare a b", "ready a b", "train a b", "step a 1", "step b 2"}
		for i, line := range lines {
			if i == int(when)%len(lines) && p.nodes["a"] != nil {
				hostile := proto.CloneOf(b)
				hostile.Node = p.nodes["a"].beat.Node // a guarded server lets it speak in no other name
				p.core.beat(p.now, p.nodes["a"].session, hostile)
				p.core.tick(p.now)
			}
			p.play(line)
		}
		hostile := proto.CloneOf(b)
		hostile.Node = p.nodes["a"].beat.Node
		p.core.beat(p.now, p.nodes["a"].session, hostile)
		p.session++
		_, _ = p.core.attend(p.now, p.session, hostile) // a refusal is as good
		for range 30 {
			p.now = p.now.Add(time.Second)
			p.core.tick(p.now)
		}
		for _, r := range p.core.runs {
			if _, err := marshalInfo(p.core.info(p.now, r)); err != nil {
				t.Errorf("what is told of run %s: %v", r.id, err)
			}
		}
		p.core.nodeInfos(p.now)
	})
}
