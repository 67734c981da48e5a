package control

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/torctrain/torc/internal/pb"
)

// info is what people are told about r. It shares nothing that changes later.
func (c *core) info(now time.Time, r *run) *pb.RunInfo {
	if r.result != nil {
		return proto.CloneOf(r.result)
	}
	p := &r.progress
	i := &pb.RunInfo{
		Run: r.id, Name: r.name, State: r.state, Why: r.why, Step: p.step, Steps: uint64(r.spec.Steps),
		LossFirst: p.lossFirst, LossLast: p.lossLast, TokensPerSecond: p.tokensPerSecond(), EtaSeconds: p.left(uint64(r.spec.Steps)),
		Digest: r.digest, CreatedUnix: r.created.Unix(), Members: c.memberInfos(now, r),
		Validations: slices.Clone(p.validations), Refreshes: slices.Clone(p.refreshes),
	}
	if r.over() {
		i.EndedUnix, i.EtaSeconds = r.ended.Unix(), 0
	}
	if text, err := r.spec.JSON(); err == nil {
		i.Spec = text
	}
	if r.view == nil {
		return i
	}
	i.View = pb.OfView(r.view)
	sent := uint64(0)
	for _, s := range r.view.Members {
		m := r.members[s.Node]
		sent += m.bytesSent
		i.Trained = max(i.Trained, m.trained)
	}
	i.BytesSentPerMember = int64(sent / uint64(len(r.view.Members)))
	return i
}

// memberInfos are the nodes that work or worked for r, by name.
func (c *core) memberInfos(now time.Time, r *run) []*pb.MemberInfo {
	var all []*pb.MemberInfo
	for _, m := range r.members {
		i := &pb.MemberInfo{
			Node: pb.OfNode(m.id), Addr: m.addr, Phase: m.phase, Step: m.step, LaneSeconds: m.laneSeconds, Error: m.problem, Run: r.id,
			Class: r.spec.Class,
		}
		if r.view != nil {
			if rank := r.view.Rank(m.id); rank >= 0 {
				i.Lanes = int32(len(r.view.Lanes(rank)))
			}
		}
		if n := c.nodes[m.id]; n != nil {
			i.BeatAgeSeconds, i.Labels = now.Sub(n.alive).Seconds(), n.labels
		}
		all = append(all, i)
	}
	slices.SortFunc(all, compareMembers)
	return all
}

// nodeInfos are all nodes, by name.
func (c *core) nodeInfos(now time.Time) []*pb.MemberInfo {
	var all []*pb.MemberInfo
	for _, n := range c.sorted() {
		i := &pb.MemberInfo{
			Node: pb.OfNode(n.id), Addr: n.addr, Phase: n.phase, Class: n.class, Version: n.version, Error: n.note,
			BeatAgeSeconds: now.Sub(n.alive).Seconds(), Labels: n.labels,
		}
		switch {
		case n.session != 0:
		case n.phase == pb.Phase_PHASE_LEAVING:
			i.Error = "it left"
		default:
			i.Error = "its session broke"
		}
		if r := n.run; r != nil {
			m := r.members[n.id]
			i.Run, i.Step, i.LaneSeconds = r.id, m.step, m.laneSeconds
			i.Error = cmp.Or(i.Error, m.problem)
			if r.view != nil {
				if rank := r.view.Rank(n.id); rank >= 0 {
					i.Lanes = int32(len(r.view.Lanes(rank)))
				}
			}
		}
		all = append(all, i)
	}
	return all
}

func compareMembers(a, b *pb.MemberInfo) int {
	return a.Node.ID().Compare(b.Node.ID())
}

// atWork is the run that people mean who name none: the one that trains, else the oldest that waits, else nil.
func (c *core) atWork() *run {
	var best *run
	for _, r := range c.runs {
		if !r.over() && (best == nil || r.state > best.state) {
			best = r
		}
	}
	return best
}

func marshalInfo(i *pb.RunInfo) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(i)
}

// stateName is a state for people.
func stateName(s pb.RunState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "RUN_"))
}
