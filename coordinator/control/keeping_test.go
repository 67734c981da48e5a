package control

import (
	"strings"
	"testing"
	"time"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/internal/view"
)

// protocol.md I5: pieces become a checkpoint when any one of three members can be lost, not before; pieces of another State never
// do, and it is said who saved it.
func TestOnlyEnoughPiecesOfOneStateAreCommitted(t *testing.T) {
	for name, bad := range map[string]bool{"alike": false, "diverged": true} {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(100, 0)
			c := newCore(DefaultTiming(), &book{})
			r := &run{id: "r", spec: &spec.Resolved{Spec: spec.Default("lift")}, state: pb.RunState_RUN_TRAINING, view: &view.View{Run: "r"}}
			r.hash = [32]byte{1}
			for i, n := range []string{"a", "b", "c"} {
				id := view.NodeID{Name: n, Boot: 1}
				c.nodes[id] = &node{id: id, session: uint64(i + 1), run: r}
				r.view.Members = append(r.view.Members, view.Member{Node: id})
			}
			for i, m := range r.view.Members {
				p := &pb.Saved{Run: "r", Spec: r.hash[:], Step: 10, Data: 4, Digest: make([]byte, 32), Size: 1000}
				if bad && i == 2 {
					p.Digest[0] = 1
				}
				for _, index := range []int32{int32(i), int32(i + 3)} {
					p.Pieces = append(p.Pieces, &pb.SavedPiece{Index: index, Sha256: make([]byte, 32)})
				}
				if len(r.committed) > 0 {
					t.Fatalf("committed after %d members", i)
				}
				c.saved(now, r, c.nodes[m.Node], []*pb.Saved{p})
			}
			said := ""
			for _, e := range c.take() {
				if l, ok := e.(line); ok {
					said += l.line.Text
				}
			}
			if bad && (len(r.committed) != 0 || !strings.Contains(said, "a and c saved different States")) {
				t.Errorf("%d checkpoints are committed; said %q", len(r.committed), said)
			}
			if !bad && (len(r.committed) != 1 || checkpoints.Endure(r.committed[0].manifest.Holders, 4).Members != 1) {
				t.Errorf("%d checkpoints are committed; said %q", len(r.committed), said)
			}
		})
	}
}
