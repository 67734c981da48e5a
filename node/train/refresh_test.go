package train

import (
	"math"
	"testing"
)

// What members hear of a refresh: each weight once, by the member that had it, with churn and overlap that belong to it.
func TestRefreshesReportWeightsAndShares(t *testing.T) {
	c := liftToy()
	for rank, o := range c.run(t, 3, deal(3, c.lanes)) {
		if o.err != nil || len(o.heard.refreshes) != 3 {
			t.Fatalf("rank %d heard of %d refreshes (%v), want 3", rank, len(o.heard.refreshes), o.err)
		}
		for n, r := range o.heard.refreshes {
			weights, churn, selected := 0, 0.0, 0
			for _, s := range r.Shares {
				if s.Weights == 0 || s.Seconds <= 0 {
					t.Errorf("step %d: %s had %d weights in %v s", r.Step, s.Member, s.Weights, s.Seconds)
				}
				weights += s.Weights
			}
			for _, x := range r.Weights {
				if n == 0 && x.Churn != 1 || x.Overlap < 0 || x.Overlap > 1 || x.Name == "" {
					t.Errorf("step %d: %+v", r.Step, x)
				}
				churn, selected = churn+x.Churn*float64(x.Selected), selected+x.Selected
			}
			if len(r.Shares) != 3 || len(r.Weights) != 14 || weights != 14 || math.Abs(churn/float64(selected)-r.Churn) > 1e-12 {
				t.Errorf("step %d: %d weights in %d shares, churn %v of %v", r.Step, weights, len(r.Shares), churn/float64(selected), r.Churn)
			}
		}
	}
}
