package train

import (
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
