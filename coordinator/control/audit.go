package control

import "github.com/torctrain/torc/internal/pb"

// audit lists the views that made the steps of a run that has come to the step last, each with its first and last one, so
// that every step is listed once. A view that made none, because it was torn down at once, is left out; so are steps that
// a later view made again, because they were known to lost members only or because the run began again.
func audit(e *entry, last uint64) []*pb.ViewSteps {
	if e == nil {
		return nil
	}
	var all []*pb.ViewSteps
	for _, first := range e.steps {
		for _, v := range e.views {
			if v.View.Number != first.Number {
				continue
			}
			for len(all) > 0 && all[len(all)-1].First >= first.Step {
				all = all[:len(all)-1]
			}
			if n := len(all); n > 0 {
				all[n-1].Last = first.Step - 1
			}
			all = append(all, &pb.ViewSteps{View: pb.OfView(v.View), First: first.Step, Last: last, UnixNano: v.At, Why: v.Why})
		}
	}
	return all
}
