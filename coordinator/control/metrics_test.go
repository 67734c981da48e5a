package control

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/internal/admin"
	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/pages"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/trust"
)

func TestMetricsTellOfNodesCallsAndJoins(t *testing.T) {
	g := serveGuarded(t)
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(g.Metrics()...)
	conn, err := g.enrol("ada", g.token(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.enrol("bob", "", nil); err == nil {
		t.Fatal("bob joins without a token")
	}
	stream, err := pb.NewControlClient(conn).Attend(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&pb.Beat{Node: &pb.NodeID{Name: "ada", Boot: 1}, Addr: "127.0.0.1:1", Protocol: pb.Protocol}); err != nil {
		t.Fatal(err)
	}
	for attends := false; !attends; time.Sleep(time.Millisecond) {
		g.do(func(c *core, _ time.Time) { attends = c.named("ada") != nil })
	}
	want := `
# HELP torc_certificates Certificates that were given out and count, by role.
# TYPE torc_certificates gauge
torc_certificates{role="node"} 1
torc_certificates{role="operator"} 1
torc_certificates{role="viewer"} 0
# HELP torc_join_attempts_total Attempts to join, by what became of them.
# TYPE torc_join_attempts_total counter
torc_join_attempts_total{result="admitted"} 1
torc_join_attempts_total{result="limited"} 0
torc_join_attempts_total{result="refused"} 1
# HELP torc_rpcs_total Calls that ended, by method and gRPC code; a stream counts when it ends.
# TYPE torc_rpcs_total counter
torc_rpcs_total{code="OK",method="/torc.v1.Trust/CreateToken"} 1
torc_rpcs_total{code="OK",method="/torc.v1.Trust/Join"} 1
torc_rpcs_total{code="PermissionDenied",method="/torc.v1.Trust/Join"} 1
`
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), "torc_certificates", "torc_join_attempts_total", "torc_rpcs_total"); err != nil {
		t.Error(err)
	}
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	attending := 0.0
	for _, f := range all {
		if f.GetName() == "torc_nodes" {
			for _, m := range f.Metric {
				attending += m.Gauge.GetValue()
			}
		}
	}
	if attending != 1 {
		t.Errorf("torc_nodes are %v in all phases, want ada", attending)
	}
	if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) != 0 {
		t.Errorf("metrics are not as they should be named: %v, %v", problems, err)
	}
	if err := g.Ready(); err != nil {
		t.Errorf("Ready: %v", err)
	}
}

// A probe has no certificate.
func TestHealthIsToldToEveryone(t *testing.T) {
	g := serveGuarded(t)
	w := trust.NewWallet(nil)
	w.Expect(trust.PinOf(g.authority.CA()))
	conn, err := cluster.Dial(g.Addr(), cluster.Secure(w, cluster.AcceptRole(trust.Coordinator))...)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	reply, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err != nil || reply.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("Check = %v, %v", reply, err)
	}
}

func TestTheGuideTellsOfEveryMetric(t *testing.T) {
	g := serveGuarded(t)
	pages.Metrics(t, "../../docs/guide.md", "coordinator", append(g.Metrics(), admin.Registry("coordinator", "test"))...)
}

// Of the refreshes of a run the last one is told.
func TestMetricsTellOfTheLastRefresh(t *testing.T) {
	s := serveGuarded(t)
	g := s.Metrics()[2].(*gauges)
	told := map[*prometheus.Desc]float64{}
	put := func(d *prometheus.Desc, v float64, _ ...string) { told[d] = v }
	g.run(put, &pb.RunInfo{Step: 9, Refreshes: []*pb.RefreshReport{{Step: 1, Churn: 1, Seconds: 3}, {Step: 8, Churn: 0.25, Seconds: 0.5}}})
	if told[g.step] != 9 || told[g.refreshed] != 8 || told[g.churn] != 0.25 || told[g.waited] != 0.5 {
		t.Errorf("told %v", told)
	}
	g.run(put, nil)
	if told[g.step] != 0 || told[g.refreshed] != 0 || told[g.churn] != 0 || told[g.waited] != 0 {
		t.Errorf("without a run: told %v", told)
	}
}

// A label takes values that stand in the code, whatever a node answers.
func TestLabelsAreBounded(t *testing.T) {
	for err, want := range map[error]string{
		nil:                                     "OK",
		status.Error(codes.NotFound, ""):        "NotFound",
		status.Error(codes.Unauthenticated, ""): "Unauthenticated",
		status.Error(codes.Code(17), ""):        "Unknown",
		status.Error(codes.Code(4e9), ""):       "Unknown",
	} {
		if got := codeText(err); got != want {
			t.Errorf("%v is counted as %s, want %s", err, got, want)
		}
	}
}
