package control

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/torctrain/torc/internal/pb"
)

func TestHistoryHasEachStepOnceAsItWasMadeLast(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	step := func(n uint64, seconds float64) *pb.HistoryLine {
		return stepLine(&pb.StepReport{
			Step: n, Loss: 1 / float64(n), Tokens: 100, Counted: 50, Seconds: seconds, Rate: 1e-3, GradNorm: 2, Tries: 1, View: n, UnixNano: 1e18 + int64(n),
		})
	}
	validation := func(n uint64) *pb.HistoryLine {
		return validationLine(&pb.ValidationReport{Step: n, Loss: 0, Counted: 7})
	}
	for _, lines := range [][]*pb.HistoryLine{
		{step(1, 1), step(2, 1), validation(2)}, {step(3, 1), step(4, 1), validation(4)}, {step(3, 2), step(4, 2), validation(4), step(5, 2)},
	} {
		if err := appendHistory(dir, lines); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(filepath.Join(dir, historyFile), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"step":6,"lo`); err != nil { // and there the coordinator crashed
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := ReadHistory(dir)
	want := []*pb.HistoryLine{step(1, 1), step(2, 1), validation(2), step(3, 2), step(4, 2), validation(4), step(5, 2)}
	if d := cmp.Diff(want, got, protocmp.Transform()); err != nil || d != "" {
		t.Errorf("%v, -want +got\n%s", err, d)
	}
	if got, err := ReadHistory(t.TempDir()); err != nil || got != nil {
		t.Errorf("history of a run without a step: %v, %v", got, err)
	}
}

// What happens is written once, also when the run goes on from a checkpoint and progress begins anew.
func TestChronicleWritesWhatIsNew(t *testing.T) {
	p := newPlay(t)
	for _, line := range []string{"attend a", "launch r", "ready a", "wait 2s", "train a", "step a 1", "step a 2"} {
		p.play(line)
	}
	r := p.core.find("r")
	if r.written.steps != r.progress.steps.end() || r.progress.steps.end() != 2 {
		t.Fatalf("%d steps of %d are written, want 2", r.written.steps, r.progress.steps.end())
	}
	r.progress.validations = append(r.progress.validations, &pb.ValidationReport{Step: 2, Loss: 0.5})
	p.core.chronicle(r)
	r.progress = newProgress(r.spec, r.progress.steps)
	r.progress.validations = append(r.progress.validations, &pb.ValidationReport{Step: 2, Loss: 0.5}, &pb.ValidationReport{Step: 3, Loss: 0.4})
	p.core.chronicle(r)
	var lines []*pb.HistoryLine
	for _, e := range p.core.take() {
		if c, ok := e.(chapter); ok {
			lines = append(lines, c.lines...)
		}
	}
	want := []*pb.HistoryLine{validationLine(&pb.ValidationReport{Step: 2, Loss: 0.5}), validationLine(&pb.ValidationReport{Step: 3, Loss: 0.4})}
	if d := cmp.Diff(want, lines, protocmp.Transform()); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestHistoryIsToldToTheEndOfTheRun(t *testing.T) {
	s := serve(t, t.TempDir())
	f := newFake(t, "ada")
	f.hold = make(chan struct{})
	s.join(f)
	run := s.launch(resolved(t, t.TempDir()), 1).Run
	s.follow(run, func(e *pb.RunEvent) bool { return e.Info.Step == 1 })
	stream, err := s.client.History(t.Context(), &pb.HistoryRequest{Run: run, Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	var steps []uint64
	for {
		h, err := stream.Recv()
		if err != nil {
			break
		}
		if steps = append(steps, h.GetStep().GetStep()); len(steps) == 1 {
			close(f.hold)
		}
	}
	if d := cmp.Diff([]uint64{1, 2, 3}, steps); d != "" {
		t.Errorf("followed, -want +got\n%s", d)
	}
	stream, err = s.client.History(t.Context(), &pb.HistoryRequest{Run: run})
	for n := uint64(1); n <= 3; n++ {
		var h *pb.HistoryLine
		if err == nil {
			h, err = stream.Recv()
		}
		if err != nil || h.GetStep().GetStep() != n {
			t.Fatalf("afterwards: %v, %v, want step %d", h, err, n)
		}
	}
}
