package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"

	"github.com/torctrain/torc/internal/admin"
	"github.com/torctrain/torc/internal/pages"
	"github.com/torctrain/torc/internal/pb"
)

func TestFiguresCountStepsAndBytesOverRuns(t *testing.T) {
	f := newFigures()
	if f.ready() == nil {
		t.Error("ready before the first report")
	}
	now := time.Now()
	for _, b := range []*pb.Beat{
		{Phase: pb.Phase_PHASE_IDLE},
		{Run: "a", Phase: pb.Phase_PHASE_PREPARING},
		{Run: "a", Phase: pb.Phase_PHASE_TRAINING, Step: 3, BytesSent: 100, Selections: 20, SelectionSeconds: 0.5},
		{Run: "a", Phase: pb.Phase_PHASE_TRAINING, Step: 5, BytesSent: 150, Selections: 40, SelectionSeconds: 1},
		{Phase: pb.Phase_PHASE_IDLE},
		{Run: "b", Phase: pb.Phase_PHASE_TRAINING, Step: 70, BytesSent: 10}, // joined under way
		{Run: "b", Phase: pb.Phase_PHASE_TRAINING, Step: 72, BytesSent: 30, Selections: 7, SelectionSeconds: 0.25},
	} {
		f.take(b, now)
	}
	if err := f.ready(); err != nil {
		t.Error(err)
	}
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(f)
	want := `
# HELP torc_node_ring_bytes_total Bytes written to links with other members.
# TYPE torc_node_ring_bytes_total counter
torc_node_ring_bytes_total 180
# HELP torc_node_selection_seconds_total Time of one processor that selections took.
# TYPE torc_node_selection_seconds_total counter
torc_node_selection_seconds_total 1.25
# HELP torc_node_selections_total Index sets, one for each weight, that the node selected for refreshes, over all runs.
# TYPE torc_node_selections_total counter
torc_node_selections_total 47
# HELP torc_node_step Last step that the node committed in its run.
# TYPE torc_node_step gauge
torc_node_step 72
# HELP torc_node_steps_total Steps that the node committed, over all runs.
# TYPE torc_node_steps_total counter
torc_node_steps_total 7
`
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), "torc_node_ring_bytes_total", "torc_node_selections_total", "torc_node_selection_seconds_total", "torc_node_step", "torc_node_steps_total"); err != nil {
		t.Error(err)
	}
	f.lost()
	if f.ready() == nil {
		t.Error("ready without a session")
	}
	if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) != 0 {
		t.Errorf("metrics are not as they should be named: %v, %v", problems, err)
	}
}

// A session that broke is seen where its stream is read.
func TestALostSessionMakesTheNodeUnready(t *testing.T) {
	f := newFigures()
	f.take(&pb.Beat{}, time.Now())
	a := &attended{f: f, ClientStream: brokenStream{}}
	if err := a.RecvMsg(&pb.Order{}); err == nil || f.ready() == nil {
		t.Errorf("after %v the node is ready", err)
	}
}

type brokenStream struct{ grpc.ClientStream }

func (brokenStream) RecvMsg(any) error { return io.EOF }

func TestTheGuideTellsOfEveryMetric(t *testing.T) {
	pages.Metrics(t, "../docs/guide.md", "node", newFigures(), admin.Registry("node", "test"))
}
