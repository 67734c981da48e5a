package train

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

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
