package train

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
)

func TestMemberRefusesASecondRunAndGoesOnReporting(t *testing.T) {
	var log bytes.Buffer
	m := NewMember(Config{Node: view.NodeID{Name: "ada"}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	m.work = newWork(t.Context(), m, &pb.Assignment{Run: "one"})
	m.obey(t.Context(), &pb.Order{Kind: &pb.Order_Assign{Assign: &pb.Assignment{Run: "two"}}})
	b := m.report()
	if b.Run != "one" || len(b.Logs) != 1 || !strings.Contains(b.Logs[0].Text, "two") {
		t.Errorf("beat says run %q and %v, want one and a line about the refused run two", b.Run, b.Logs)
	}
	m.said.unsent(b.Logs)
	if again := m.report(); len(again.Logs) != 1 {
		t.Errorf("a line that was not sent is lost: %v", again.Logs)
	}
}

// Whatever is logged, and whatever went wrong, the beat that tells it can be sent and is taken.
func TestBeatsCarryAnyText(t *testing.T) {
	for name, text := range map[string]string{"bytes of another encoding": "open caf\xe9.jsonl", "a long story": strings.Repeat("ä", 1<<20)} {
		m := NewMember(Config{Node: view.NodeID{Name: "ada"}, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
		m.work = newWork(t.Context(), m, &pb.Assignment{Run: "one"})
		m.work.fail(errors.New(text))
		b := m.report()
		if _, err := proto.Marshal(b); err != nil {
			t.Errorf("%s: the beat cannot be sent: %v", name, err)
		}
		if err := cluster.Bounded(b); err != nil {
			t.Errorf("%s: the beat is refused: %v", name, err)
		}
		if begin := text[:4]; !strings.HasPrefix(b.Error, begin) || len(b.Logs) != 1 || !strings.Contains(b.Logs[0].Text, begin) {
			t.Errorf("%s: the beat says %.20q and has %d lines", name, b.Error, len(b.Logs))
		}
	}
}

// protocol.md I4: whoever has State can tell which views made the steps behind it, also those that it was not there for.
func TestBeatsTellWhoMadeTheStepsBehindState(t *testing.T) {
	of := func(n int) *work {
		m := NewMember(Config{Node: view.NodeID{Name: string(rune('a' + n))}, Log: slog.New(slog.DiscardHandler)})
		m.work = newWork(t.Context(), m, &pb.Assignment{Run: "run"})
		return m.work
	}
	told := func(w *work) string {
		var all []string
		for _, v := range w.member.report().Made {
			all = append(all, fmt.Sprintf("view %d: from %d", v.View, v.Step))
		}
		return strings.Join(all, ", ")
	}
	a, late := of(0), of(1)
	a.view, a.seated = &view.View{Number: 3}, true
	for _, s := range []StepReport{{Step: 1, View: 1}, {Step: 2, View: 1}, {Step: 3, View: 3}, {Step: 4, View: 3}, {Step: 5, View: 4}} {
		a.Stepped(s)
	}
	const all = "view 1: from 1, view 3: from 3, view 4: from 5"
	for i, want := range []string{all, ""} {
		if got := told(a); got != want {
			t.Errorf("beat %d tells %q, want %q", i, got, want)
		}
	}
	a.unsent() // as when a session begins
	if got := told(a); got != all {
		t.Errorf("a new session hears %q, want %q", got, all)
	}
	late.made.last = a.madeUntil(4)
	late.Stepped(StepReport{Step: 5, View: 4}) // from the record
	late.Stepped(StepReport{Step: 6, View: 4})
	if got := told(late); got != "" {
		t.Errorf("a node without a seat tells %q", got)
	}
	late.view, late.seated = &view.View{Number: 5}, true
	late.Stepped(StepReport{Step: 7, View: 5})
	if got, want := told(late), all+", view 5: from 7"; got != want {
		t.Errorf("the joiner tells %q, want %q", got, want)
	}
}

// A tie is told to the coordinator: by members, which go no further, and by joiners, until the members have found out.
func TestTiesAreTold(t *testing.T) {
	m := NewMember(Config{Node: view.NodeID{Name: "a"}, Log: slog.New(slog.DiscardHandler)})
	m.work = newWork(t.Context(), m, &pb.Assignment{Run: "run"})
	tie := fmt.Errorf("greet: %w", &TieError{Step: 5, States: [2]string{"0a", "0b"}})
	told := func() string {
		b := m.report()
		return fmt.Sprintf("%v tie %v: %s", b.Phase, b.Tie != nil && b.Tie.Step == 5, b.Error)
	}
	const words = "after step 5: members disagree about State, and no majority tells who is right: hashes 0a and 0b"
	m.work.phase = pb.Phase_PHASE_JOINING
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New("nobody answers"), "PHASE_JOINING tie false: "},
		{tie, "PHASE_JOINING tie true: greet: " + words},
		{errors.New("nobody answers"), "PHASE_JOINING tie false: "},
	} {
		if m.work.doubt(c.err); told() != c.want {
			t.Errorf("a joiner that gets %q tells %q, want %q", c.err, told(), c.want)
		}
	}
	m.work.fail(tie)
	if want := "PHASE_FAILED tie true: greet: " + words; told() != want {
		t.Errorf("a member tells %q, want %q", told(), want)
	}
}

// Each member counts the sets that it selected itself.
func TestBeatsTellWhatAMemberSelected(t *testing.T) {
	m := NewMember(Config{Node: view.NodeID{Name: "ada"}, Log: slog.New(slog.DiscardHandler)})
	m.work = newWork(t.Context(), m, &pb.Assignment{Run: "run"})
	for step := range uint64(2) {
		m.work.Refreshed(RefreshReport{Step: step + 1, Shares: []RefreshShare{{Member: "bob", Weights: 9, Seconds: 5}, {Member: "ada", Weights: 3, Seconds: 0.5}}})
	}
	if b := m.report(); b.Selections != 6 || b.SelectionSeconds != 1 {
		t.Errorf("beat tells of %d selections in %v s, want 6 in 1", b.Selections, b.SelectionSeconds)
	}
}

// Who starts over says why: its State was another one, or it was behind all records.
func TestWhoStartsOverSaysWhy(t *testing.T) {
	self := view.NodeID{Name: "b"}
	v := &view.View{Members: []view.Member{{Node: view.NodeID{Name: "a"}}, {Node: self}}}
	for _, c := range []struct {
		err  error
		v    *view.View
		want pb.Loss
	}{
		{&StrayError{Diverged: []int{1}}, v, pb.Loss_LOSS_DIVERGED},
		{&StrayError{Behind: []int{1}, Diverged: []int{0}}, v, pb.Loss_LOSS_BEHIND},
		{fmt.Errorf("follow: %w", errGone), v, pb.Loss_LOSS_BEHIND},
		{errGone, nil, pb.Loss_LOSS_BEHIND},
	} {
		if got := strayedHow(c.err, self, c.v); got != c.want {
			t.Errorf("%v: got %v, want %v", c.err, got, c.want)
		}
	}
}
