package control

import (
	"encoding/json"
	"math"
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

// keeping3 is a run of three members on these hosts that has no checkpoint, and what the coordinator does about it.
func keeping3(hosts ...string) (*core, *run) {
	c := newCore(DefaultTiming(), &book{})
	r := &run{id: "r", spec: &spec.Resolved{Spec: spec.Default("lift")}, state: pb.RunState_RUN_TRAINING, view: &view.View{Run: "r"}}
	r.hash = [32]byte{1}
	for i, n := range []string{"a", "b", "c"} {
		id := view.NodeID{Name: n, Boot: 1}
		c.nodes[id] = &node{id: id, session: uint64(i + 1), run: r, labels: map[string]string{"host": hosts[i]}}
		r.view.Members = append(r.view.Members, view.Member{Node: id, Host: hosts[i]})
	}
	return c, r
}

func savedPieces(r *run, indices ...int32) []*pb.Saved {
	p := &pb.Saved{Run: r.id, Spec: r.hash[:], Step: 10, Data: 4, Digest: make([]byte, 32), Size: 1000}
	for _, index := range indices {
		p.Pieces = append(p.Pieces, &pb.SavedPiece{Index: index, Sha256: make([]byte, 32)})
	}
	return []*pb.Saved{p}
}

// A member that says nothing does not cost the checkpoint: after a while the others are asked for as many further pieces as
// make up for it, no piece twice, and what they report then is committed.
func TestMissingPiecesAreAskedOfOthers(t *testing.T) {
	now := time.Unix(100, 0)
	c, r := keeping3("x", "y", "z")
	a, b := c.nodes[r.view.Members[0].Node], c.nodes[r.view.Members[1].Node]
	c.saved(now, r, a, savedPieces(r, 0, 3))
	c.saved(now, r, b, savedPieces(r, 1, 4))
	asked := func() map[uint64][]int32 {
		all := map[uint64][]int32{}
		for _, e := range c.take() {
			if o, ok := e.(order); ok && o.order.GetSave() != nil {
				if save := o.order.GetSave(); save.Run != "r" || save.Step != 10 {
					t.Errorf("asked for %v", save)
				}
				all[o.session] = append(all[o.session], o.order.GetSave().Pieces...)
			}
		}
		return all
	}
	c.tend(now.Add(askAfter-1), r)
	if got := asked(); len(got) > 0 {
		t.Fatalf("asked for %v too early", got)
	}
	c.tend(now.Add(askAfter), r)
	got := asked()
	seen := map[int32]bool{0: true, 1: true, 3: true, 4: true}
	for session, pieces := range got {
		if session != a.session && session != b.session || len(pieces) != 2 {
			t.Errorf("session %d is asked for %v", session, pieces)
		}
		for _, i := range pieces {
			if seen[i] {
				t.Errorf("piece %d is there twice", i)
			}
			seen[i] = true
		}
	}
	if len(seen) != 8 {
		t.Fatalf("asked for %v, want two more pieces of each", got)
	}
	c.tend(now.Add(askAfter+time.Second), r)
	if again := asked(); len(again) > 0 {
		t.Errorf("asked again after a second for %v", again)
	}
	for n, of := range map[*node][]int32{a: append(got[a.session], 0, 3), b: append(got[b.session], 1, 4)} {
		c.saved(now.Add(askAfter+2*time.Second), r, n, savedPieces(r, of...))
	}
	if len(r.committed) != 1 || checkpoints.Endure(r.committed[0].manifest.Holders, 4).Members != 1 {
		t.Errorf("%d checkpoints are committed of %v", len(r.committed), got)
	}
}

// What cannot be survived is said when a view is decided, once, and not when hosts are apart.
func TestMembersOfOneHostAreWarnedOf(t *testing.T) {
	for hosts, want := range map[string]string{"x x x": "all members are in one host", "x x y": "", "x y z": "", "  ": ""} {
		c, r := keeping3(strings.Split(hosts, " ")...)
		said := ""
		for range 2 {
			c.replace(time.Unix(100, 0), r)
		}
		for _, e := range c.take() {
			if l, ok := e.(line); ok {
				said += l.line.Text
			}
		}
		if want == "" && said != "" || strings.Count(said, "checkpoints: ") > 1 || !strings.Contains(said, want) {
			t.Errorf("hosts %s: said %q, want %q", hosts, said, want)
		}
	}
}

// A member that is lost takes its pieces along: another checkpoint is taken at once when fewer members could be lost than was
// promised, and the manifest names the labels of those who keep it.
func TestAViewWithFewerHoldersTakesACheckpoint(t *testing.T) {
	now := time.Unix(100, 0)
	c, r := keeping3("x", "y", "z")
	for i, m := range r.view.Members {
		c.saved(now, r, c.nodes[m.Node], savedPieces(r, int32(i), int32(i+3)))
	}
	if len(r.committed) != 1 || r.committed[0].manifest.Holders[2].Host != "z" {
		t.Fatalf("%d checkpoints", len(r.committed))
	}
	taken := func() (n int) {
		for _, e := range c.take() {
			if o, ok := e.(order); ok && o.order.GetSave() != nil && o.order.GetSave().Step == 0 {
				n++
			}
		}
		return n
	}
	c.replace(now, r)
	if n := taken(); n != 0 {
		t.Errorf("with all holders there %d members are asked for another checkpoint", n)
	}
	c.nodes[r.view.Members[2].Node].session = 0
	r.view = &view.View{Run: "r", Members: r.view.Members[:2]}
	c.replace(now, r)
	if n := taken(); n != 2 {
		t.Errorf("with a holder less %d members are asked for another checkpoint, want 2", n)
	}
}

// What a member says of losses ends neither the journal nor the run's result: JSON has no NaN.
func TestTotalsThatAreNoNumbersAreNotWrittenDown(t *testing.T) {
	now := time.Unix(100, 0)
	c, r := keeping3("x", "y", "z")
	for i, m := range r.view.Members {
		list := savedPieces(r, int32(i), int32(i+3))
		list[0].LossFirst, list[0].LossLast, list[0].Seconds = math.NaN(), math.Inf(1), math.Inf(-1)
		c.saved(now, r, c.nodes[m.Node], list)
	}
	r.progress.add(now, &pb.Beat{Totals: &pb.Totals{Step: 10, LossFirst: math.NaN(), LossLast: math.Inf(-1), Seconds: math.NaN()}})
	if len(r.committed) != 1 {
		t.Fatalf("%d checkpoints are committed", len(r.committed))
	}
	for _, e := range c.take() {
		if rec, ok := e.(record); ok {
			if _, err := json.Marshal(rec.command); err != nil {
				t.Errorf("the journal cannot hold %s: %v", rec.command.Kind, err)
			}
		}
	}
	p := r.progress
	result := makeResult(&pb.RunInfo{LossFirst: p.lossFirst, LossLast: p.lossLast, TokensPerSecond: p.tokensPerSecond()}, false)
	if _, err := json.Marshal(result); err != nil {
		t.Errorf("a result cannot hold what members said: %v", err)
	}
}

// A validation loss comes with the single steps of one member; what others say of how far they are does not make up for it.
func TestACheckpointWaitsForTheLossOfItsStep(t *testing.T) {
	now := time.Unix(100, 0)
	s := spec.Default("lift")
	s.Validate.Every, s.Checkpoint.KeepBest = 5, 1
	r := &run{id: "r", spec: &spec.Resolved{Spec: s}}
	r.progress = newProgress(r.spec, r.progress.steps)
	for i, c := range []struct {
		beat *pb.Beat
		loss float64
		wait bool
	}{
		{&pb.Beat{Totals: &pb.Totals{Step: 5}, Steps: []*pb.StepReport{{Step: 5}}}, 0, true},
		{&pb.Beat{Totals: &pb.Totals{Step: 7}}, 0, true}, // another member
		{&pb.Beat{Validations: []*pb.ValidationReport{{Step: 5, Loss: 0.25}}, Steps: []*pb.StepReport{{Step: 6}}}, 0.25, false},
	} {
		r.progress.add(now, c.beat)
		loss, wait := r.lossAt(5)
		if wait != c.wait || (loss != nil) != (c.loss != 0) || loss != nil && *loss != c.loss {
			t.Errorf("after beat %d: loss %v, wait %v; want %v, %v", i, loss, wait, c.loss, c.wait)
		}
	}
	if _, wait := r.lossAt(10); !wait {
		t.Error("the loss after step 10 is not waited for")
	}
	r.progress.add(now, &pb.Beat{Steps: []*pb.StepReport{{Step: 11}}}) // by a member that came too late for the validation
	if loss, wait := r.lossAt(10); wait || loss != nil {
		t.Errorf("a loss that nobody can tell any more is waited for: %v", loss)
	}
}
