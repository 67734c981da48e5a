package control

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/trust"
)

// calls counts RPCs by method and code, which are both bounded: only methods with a rule get as far as being counted. It
// also counts what became of attempts to join.
type calls struct{ total, joins *prometheus.CounterVec }

// Results of an attempt to join, as a label.
const (
	admitted = "admitted"
	refused  = "refused"
	limited  = "limited"
)

func newCalls() calls {
	c := calls{
		prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "torc_rpcs_total", Help: "Calls that ended, by method and gRPC code; a stream counts when it ends.",
		}, []string{"method", "code"}),
		prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "torc_join_attempts_total", Help: "Attempts to join, by what became of them.",
		}, []string{"result"}),
	}
	for _, result := range []string{admitted, refused, limited} {
		c.joins.WithLabelValues(result)
	}
	return c
}

// codeText is the gRPC code of an error, as a label. A code that another process made up is Unknown.
func codeText(err error) string {
	if c := status.Code(err); c <= codes.Unauthenticated { // the last that gRPC has
		return c.String()
	}
	return codes.Unknown.String()
}

// options count the calls of a server.
func (c calls) options() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			reply, err := handle(ctx, req)
			c.total.WithLabelValues(info.FullMethod, codeText(err)).Inc()
			return reply, err
		}),
		grpc.ChainStreamInterceptor(func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
			err := handle(srv, stream)
			c.total.WithLabelValues(info.FullMethod, codeText(err)).Inc()
			return err
		}),
	}
}

// describe is a metric without a value yet.
func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// gauges are what the coordinator tells about the cluster when it is asked.
type gauges struct {
	s *Server

	nodes, runs, incarnation, peers       *prometheus.Desc
	step, steps, loss, rate, members, eta *prometheus.Desc
	refreshed, churn, waited              *prometheus.Desc
	certificates, ownExpires, caExpires   *prometheus.Desc
}

var _ prometheus.Collector = (*gauges)(nil)

// Metrics are the coordinator's, for a registry. No label has more values than stand in the code.
func (s *Server) Metrics() []prometheus.Collector {
	return []prometheus.Collector{s.calls.total, s.calls.joins, &gauges{
		s:            s,
		nodes:        describe("torc_nodes", "Nodes that attend, by phase; phase lost: whose session broke a moment ago.", "phase"),
		runs:         describe("torc_runs", "Runs the coordinator knows, by state.", "state"),
		incarnation:  describe("torc_coordinator_incarnation", "How often this coordinator was started."),
		peers:        describe("torc_gossip_peers", "Other processes that gossip believes alive."),
		step:         describe("torc_run_step", "Last step of the run at work; 0 without one."),
		steps:        describe("torc_run_steps", "Steps the run at work will have."),
		loss:         describe("torc_run_loss", "Mean loss per answer token of the last step of the run at work."),
		rate:         describe("torc_run_tokens_per_second", "Tokens per second of the run at work."),
		members:      describe("torc_run_members", "Members in the view of the run at work."),
		eta:          describe("torc_run_eta_seconds", "Time that the run at work will still take."),
		refreshed:    describe("torc_run_refresh_step", "Step of the run at work before which its index sets were last chosen; 0 without any."),
		churn:        describe("torc_run_refresh_churn", "Share of the entries then chosen that were new."),
		waited:       describe("torc_run_refresh_seconds", "Time that the step waited for them."),
		certificates: describe("torc_certificates", "Certificates that were given out and count, by role.", "role"),
		ownExpires:   describe("torc_certificate_expiry_timestamp_seconds", "When this process's own certificate ends; it is renewed after two thirds of its life."),
		caExpires:    describe("torc_ca_expiry_timestamp_seconds", "When the cluster's CA ends."),
	}}
}

func (g *gauges) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		g.nodes, g.runs, g.incarnation, g.peers, g.step, g.steps, g.loss, g.rate, g.members, g.eta,
		g.refreshed, g.churn, g.waited, g.certificates, g.ownExpires, g.caExpires,
	} {
		to <- d
	}
}

func (g *gauges) Collect(to chan<- prometheus.Metric) {
	put := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	phases, states := map[pb.Phase]int{}, map[pb.RunState]int{}
	lost, incarnation := 0, uint64(0)
	var at *pb.RunInfo
	g.s.do(func(c *core, now time.Time) {
		incarnation = c.incarnation
		for _, n := range c.nodes {
			if n.session == 0 {
				lost++
				continue
			}
			phases[n.phase]++
		}
		for _, r := range c.runs {
			states[r.state]++
		}
		if r := c.atWork(); r != nil {
			at = c.info(now, r)
		}
	})
	for p := range pb.Phase_name {
		put(g.nodes, float64(phases[pb.Phase(p)]), phaseText(pb.Phase(p)))
	}
	put(g.nodes, float64(lost), "lost")
	for s := range pb.RunState_name {
		put(g.runs, float64(states[pb.RunState(s)]), stateName(pb.RunState(s)))
	}
	put(g.incarnation, float64(incarnation))
	g.run(put, at)
	if g.s.known() != "" {
		put(g.peers, float64(len(g.s.gossip.Peers())))
	}
	g.trust(put)
}

// run tells about the run at work, nil for none.
func (g *gauges) run(put func(*prometheus.Desc, float64, ...string), r *pb.RunInfo) {
	put(g.step, float64(r.GetStep()))
	put(g.steps, float64(r.GetSteps()))
	put(g.loss, r.GetLossLast())
	put(g.rate, r.GetTokensPerSecond())
	put(g.members, float64(len(r.GetView().GetMembers())))
	put(g.eta, r.GetEtaSeconds())
	var last *pb.RefreshReport
	if all := r.GetRefreshes(); len(all) > 0 {
		last = all[len(all)-1]
	}
	put(g.refreshed, float64(last.GetStep()))
	put(g.churn, last.GetChurn())
	put(g.waited, last.GetSeconds())
}

// trust tells about certificates.
func (g *gauges) trust(put func(*prometheus.Desc, float64, ...string)) {
	a := g.s.cfg.Trust
	if a == nil {
		return
	}
	counts, now := map[trust.Role]int{trust.Node: 0, trust.Operator: 0, trust.Viewer: 0}, time.Now()
	for _, c := range a.Certificates() {
		if c.Revoked.IsZero() && now.Before(c.Expires) {
			counts[c.Role]++
		}
	}
	for role, n := range counts {
		put(g.certificates, float64(n), string(role))
	}
	put(g.ownExpires, float64(a.Wallet().Certificate().Leaf.NotAfter.Unix()))
	put(g.caExpires, float64(a.CA().NotAfter.Unix()))
}

// checkTime is how long the coordinator may take to say how it does.
const checkTime = time.Second

var errStuck = errors.New("the coordinator has not answered for a second")

// Alive is nil if the coordinator answers, and its journal can be written.
func (s *Server) Alive() error {
	answered := make(chan error, 1) // whoever answers late blocks nobody
	go func() { answered <- s.broken() }()
	late := time.NewTimer(checkTime)
	defer late.Stop()
	select {
	case err := <-answered:
		return err
	case <-late.C:
		return errStuck
	}
}

// Ready is nil if nodes can attend and runs be launched.
func (s *Server) Ready() error {
	select {
	case <-s.ending:
		return errEnding
	case <-s.serving:
		return s.Alive()
	default:
		return errors.New("the coordinator is starting")
	}
}

// phaseText is a phase as a label.
func phaseText(p pb.Phase) string { return strings.ToLower(strings.TrimPrefix(p.String(), "PHASE_")) }
