package train

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
)

// viewFromPB reads a view as it came over the wire.
func viewFromPB(p *pb.View) *view.View {
	v := &view.View{Run: p.Run, Incarnation: p.Incarnation, Number: p.Number, Relay: p.Relay}
	for _, m := range p.Members {
		v.Members = append(v.Members, view.Member{
			Node: view.NodeID{Name: m.GetNode().GetName(), Boot: m.GetNode().GetBoot()},
			Addr: m.Addr, Host: m.Host, Zone: m.Zone,
		})
	}
	for _, r := range p.Owner {
		v.Owner = append(v.Owner, int(r))
	}
	for _, r := range p.Ring {
		v.Ring = append(v.Ring, int(r))
	}
	return v
}

// toldView reads the view that a member says comes after v. Unlike one from the coordinator it is not believed to fit: it is
// of the same run, with as many lanes, each of which a member owns, and a ring of all its members.
func toldView(v *view.View, b []byte) (*view.View, error) {
	p := &pb.View{}
	if err := proto.Unmarshal(b, p); err != nil {
		return nil, fmt.Errorf("read the view that another member tells of: %w", err)
	}
	if err := cluster.Bounded(p); err != nil {
		return nil, err
	}
	next := viewFromPB(p)
	n := len(next.Members)
	if next.Run != v.Run || len(next.Owner) != len(v.Owner) || len(next.Ring) != n {
		return nil, fmt.Errorf("a member tells of a view of run %.70q with %d lanes, %d members and a ring of %d, want run %s, %d lanes",
			next.Run, len(next.Owner), n, len(next.Ring), v.Run, len(v.Owner))
	}
	for _, rank := range next.Owner {
		if rank < 0 || rank >= n {
			return nil, fmt.Errorf("a member tells of a view in which rank %d of %d owns a lane", rank, n)
		}
	}
	seen := make([]bool, n)
	for _, rank := range next.Ring {
		if rank < 0 || rank >= n || seen[rank] {
			return nil, fmt.Errorf("a member tells of a view whose ring does not have each of %d members once", n)
		}
		seen[rank] = true
	}
	return next, nil
}

// viewToPB writes a view for the wire.
func viewToPB(v *view.View) *pb.View {
	p := &pb.View{Run: v.Run, Incarnation: v.Incarnation, Number: v.Number, Relay: v.Relay}
	for _, m := range v.Members {
		p.Members = append(p.Members, &pb.Member{Node: &pb.NodeID{Name: m.Node.Name, Boot: m.Node.Boot}, Addr: m.Addr, Host: m.Host, Zone: m.Zone})
	}
	for _, r := range v.Owner {
		p.Owner = append(p.Owner, int32(r))
	}
	for _, r := range v.Ring {
		p.Ring = append(p.Ring, int32(r))
	}
	return p
}

func totalsToPB(t Totals) *pb.Totals {
	return &pb.Totals{Step: t.Step, LossFirst: t.LossFirst, LossLast: t.LossLast, Tokens: t.Tokens, Seconds: t.Seconds}
}

func totalsFromPB(p *pb.Totals) Totals {
	return Totals{Step: p.GetStep(), LossFirst: p.GetLossFirst(), LossLast: p.GetLossLast(), Tokens: p.GetTokens(), Seconds: p.GetSeconds()}
}

func validationToPB(v ValidationReport) *pb.ValidationReport {
	return &pb.ValidationReport{Step: v.Step, Loss: v.Loss, Counted: v.Counted}
}

func validationFromPB(p *pb.ValidationReport) ValidationReport {
	return ValidationReport{Step: p.GetStep(), Loss: p.GetLoss(), Counted: p.GetCounted()}
}

func refreshToPB(r RefreshReport) *pb.RefreshReport {
	p := &pb.RefreshReport{Step: r.Step, Seconds: r.Seconds, Churn: r.Churn}
	for _, x := range r.Weights {
		p.Weights = append(p.Weights, &pb.RefreshedWeight{
			Name: x.Name, Selected: int64(x.Selected), Churn: x.Churn, Overlap: x.Overlap, Rank: uint32(x.Rank),
		})
	}
	for _, x := range r.Shares {
		p.Shares = append(p.Shares, &pb.RefreshShare{Member: x.Member, Weights: uint32(x.Weights), Seconds: x.Seconds})
	}
	return p
}
