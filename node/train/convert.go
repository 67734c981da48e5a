package train

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
)

// toldView reads the view that a member says comes after v. Unlike one from the coordinator it is not believed to fit.
func toldView(v *view.View, b []byte) (*view.View, error) {
	p := &pb.View{}
	if err := proto.Unmarshal(b, p); err != nil {
		return nil, fmt.Errorf("read the view that another member tells of: %w", err)
	}
	if err := cluster.Bounded(p); err != nil {
		return nil, err
	}
	next := p.Plain()
	if err := next.Check(v.Run, len(v.Owner)); err != nil {
		return nil, fmt.Errorf("another member tells of what comes next: %w", err)
	}
	return next, nil
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
