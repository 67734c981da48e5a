package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/pb"
)

// figures are what this node tells about itself: what it reports to the coordinator, read along.
type figures struct {
	gossip func() int   // peers alive
	expiry func() int64 // of the certificate, Unix; 0: none

	mu     sync.Mutex // guards what follows
	last   *pb.Beat   // nil before the first
	sent   time.Time
	steps  uint64 // committed, over all runs
	run    string
	at     uint64  // step of run
	bytes  int64   // written to links in former runs
	sets   uint64  // selected in former runs
	chosen float64 // seconds that they took
	broken bool    // the session with the coordinator

	phase, step, lane, ring, committed, selections, selecting, beatAge, peers, expires, attends *prometheus.Desc
}

var _ prometheus.Collector = (*figures)(nil)

func newFigures() *figures {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &figures{
		gossip: func() int { return 0 }, expiry: func() int64 { return 0 },
		phase:      d("torc_node_phase", "1 for the phase that the node is in.", "phase"),
		step:       d("torc_node_step", "Last step that the node committed in its run."),
		lane:       d("torc_node_lane_seconds", "Median time of one lane's gradient."),
		ring:       d("torc_node_ring_bytes_total", "Bytes written to links with other members."),
		committed:  d("torc_node_steps_total", "Steps that the node committed, over all runs."),
		selections: d("torc_node_selections_total", "Index sets, one for each weight, that the node selected for refreshes, over all runs."),
		selecting:  d("torc_node_selection_seconds_total", "Time of one processor that selections took."),
		beatAge:    d("torc_node_beat_age_seconds", "Time since the last report to the coordinator."),
		peers:      d("torc_gossip_peers", "Other processes that gossip believes alive."),
		expires:    d("torc_certificate_expiry_timestamp_seconds", "When this process's own certificate ends; it is renewed after two thirds of its life."),
		attends:    d("torc_node_attends", "1 while the node has a session with the coordinator."),
	}
}

// take reads a report along.
func (f *figures) take(b *pb.Beat, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last != nil && b.Run != f.last.Run {
		f.bytes += int64(f.last.BytesSent)
		f.sets, f.chosen = f.sets+f.last.Selections, f.chosen+f.last.SelectionSeconds
	}
	if b.Run != f.run {
		f.run, f.at = b.Run, 0
		if b.Step > 0 && b.Run != "" {
			f.at = b.Step // joined a run under way
		}
	}
	if b.Step > f.at {
		f.steps += b.Step - f.at
		f.at = b.Step
	}
	f.last = &pb.Beat{
		Run: b.Run, Phase: b.Phase, Step: b.Step, LaneSeconds: b.LaneSeconds, BytesSent: b.BytesSent,
		Selections: b.Selections, SelectionSeconds: b.SelectionSeconds,
	}
	f.sent, f.broken = now, false
}

func (f *figures) lost() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = true
}

func (f *figures) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{f.phase, f.step, f.lane, f.ring, f.committed, f.selections, f.selecting, f.beatAge, f.peers, f.expires, f.attends} {
		to <- d
	}
}

func (f *figures) Collect(to chan<- prometheus.Metric) {
	f.mu.Lock()
	last, sent, steps, bytes, attends := f.last, f.sent, f.steps, f.bytes, f.last != nil && !f.broken
	sets, chosen := f.sets, f.chosen
	f.mu.Unlock()
	put := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	for p, name := range pb.Phase_name {
		put(f.phase, prometheus.GaugeValue, truth(last != nil && last.Phase == pb.Phase(p)), strings.ToLower(strings.TrimPrefix(name, "PHASE_")))
	}
	put(f.step, prometheus.GaugeValue, float64(last.GetStep()))
	put(f.lane, prometheus.GaugeValue, last.GetLaneSeconds())
	put(f.ring, prometheus.CounterValue, float64(bytes+int64(last.GetBytesSent())))
	put(f.committed, prometheus.CounterValue, float64(steps))
	put(f.selections, prometheus.CounterValue, float64(sets+last.GetSelections()))
	put(f.selecting, prometheus.CounterValue, chosen+last.GetSelectionSeconds())
	put(f.attends, prometheus.GaugeValue, truth(attends))
	put(f.peers, prometheus.GaugeValue, float64(f.gossip()))
	if last != nil {
		put(f.beatAge, prometheus.GaugeValue, time.Since(sent).Seconds())
	}
	if at := f.expiry(); at != 0 {
		put(f.expires, prometheus.GaugeValue, float64(at))
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// ready is nil while the node has a session with the coordinator.
func (f *figures) ready() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last == nil || f.broken {
		return errors.New("the node has no session with the coordinator")
	}
	return nil
}

// readAlong are the options of a connection whose reports are read along.
func (f *figures) readAlong() grpc.DialOption {
	return grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		stream, err := open(ctx, desc, conn, method, opts...)
		if err != nil || method != pb.Control_Attend_FullMethodName {
			return stream, err
		}
		return &attended{stream, f}, nil
	})
}

// attended is the session with the coordinator.
type attended struct {
	grpc.ClientStream
	f *figures
}

func (a *attended) SendMsg(m any) error {
	err := a.ClientStream.SendMsg(m)
	if b, ok := m.(*pb.Beat); ok && err == nil {
		a.f.take(b, time.Now())
	}
	return err
}

func (a *attended) RecvMsg(m any) error {
	err := a.ClientStream.RecvMsg(m)
	if err != nil {
		a.f.lost()
	}
	return err
}

// watch lets the figures tell about gossip and certificate.
func (f *figures) watch(g *cluster.Gossip, m *membership) {
	f.gossip = func() int { return len(g.Peers()) }
	f.expiry = func() int64 {
		if m.wallet == nil {
			return 0
		}
		return m.wallet.Certificate().Leaf.NotAfter.Unix()
	}
}
