package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/sharding"
)

func newAuditCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit RUN",
		Short: "Prove from the journal that every sample was used exactly once per epoch, and by whom",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			reply, err := ask(cmd, func(ctx context.Context, c pb.ControlClient) (*pb.AuditReply, error) {
				return c.Audit(ctx, &pb.AuditRequest{Run: args[0]})
			})
			if err != nil {
				return err
			}
			r, err := spec.FromJSON(reply.Run.Spec)
			if err != nil {
				return err
			}
			a := auditSteps(reply.Views, r.After, reply.Run.Step, sharding.NewPlan(r.Samples, r.Batch.Micro, r.Batch.Lanes, r.Seed))
			if wantsJSON(cmd) {
				err = printJSON(cmd.OutOrStdout(), a.row(reply.Run.Run))
			} else {
				err = a.print(cmd.OutOrStdout(), reply.Run.Run)
			}
			if err == nil && len(a.problems) > 0 {
				err = errors.New("audit " + reply.Run.Run + ": " + a.problems[0])
			}
			return err
		},
	}
	addClientFlags(cmd)
	addJSONFlag(cmd)
	return cmd
}

// audited is what an audit found.
type audited struct {
	steps    uint64
	epochs   int // complete ones
	samples  int // of an epoch
	views    []auditedView
	problems []string
}

// auditedView is what one view did.
type auditedView struct {
	number, first, last uint64
	why                 string
	members             []auditedMember
}

type auditedMember struct {
	name    string
	lanes   int
	samples int // computed in this view, as far as its lanes stayed where the view has them
}

// maxProblems bounds what an audit lists.
const maxProblems = 10

// auditSteps replays the journal: which view made which steps, which member had which lane, and, by the plan, which samples
// that was. It is pure. What it proves rests on the commit rule of a step: the sum of every committed step held each lane of
// the run exactly once, whoever computed it. A run that began with the State of another made the steps behind after; the epoch
// in which it began is not complete.
func auditSteps(views []*pb.ViewSteps, after, last uint64, plan sharding.Plan) *audited {
	a := &audited{steps: last - min(after, last), samples: plan.N}
	problem := func(format string, args ...any) {
		if len(a.problems) < maxProblems {
			a.problems = append(a.problems, fmt.Sprintf(format, args...))
		}
	}
	perEpoch := uint64(plan.Steps())
	used := make([]int, plan.N)
	next := after + 1
	for _, v := range views {
		switch {
		case v.First > 1 && next == 1:
			problem("the journal knows of no step before %d: the coordinator lost its directory then, and learnt of the run from its members", v.First)
		case v.First != next:
			problem("step %d follows step %d in the journal", v.First, next-1)
		}
		av := auditedView{number: v.View.Number, first: v.First, last: v.Last, why: v.Why}
		for _, m := range v.View.Members {
			av.members = append(av.members, auditedMember{name: m.GetNode().GetName()})
		}
		if len(v.View.Owner) != plan.Lanes {
			problem("view %d deals %d lanes, the run has %d", v.View.Number, len(v.View.Owner), plan.Lanes)
			continue
		}
		for _, rank := range v.View.Owner {
			if rank < 0 || int(rank) >= len(av.members) {
				problem("view %d gives a lane to rank %d of %d", v.View.Number, rank, len(av.members))
				return a
			}
			av.members[rank].lanes++
		}
		for step := v.First; step <= v.Last; step++ {
			for lane, rank := range v.View.Owner {
				for _, s := range plan.At(step, lane) {
					used[s]++
					av.members[rank].samples++
				}
			}
			if step%perEpoch != 0 {
				continue
			}
			whole := step-perEpoch >= after
			if whole {
				a.epochs++
			}
			for s, n := range used {
				if n > 1 || n == 0 && whole {
					problem("sample %d was used %d times in epoch %d", s, n, step/perEpoch)
				}
			}
			clear(used)
		}
		next = v.Last + 1
		a.views = append(a.views, av)
	}
	if next != last+1 {
		problem("the journal ends with step %d, the run has made %d", next-1, last)
	}
	for s, n := range used {
		if n > 1 {
			problem("sample %d was used %d times in the epoch that is not complete", s, n)
		}
	}
	return a
}

func (a *audited) row(run string) map[string]any {
	views := make([]map[string]any, len(a.views))
	for i, v := range a.views {
		members := make([]map[string]any, len(v.members))
		for j, m := range v.members {
			members[j] = map[string]any{"node": m.name, "lanes": m.lanes, "samples": m.samples}
		}
		views[i] = map[string]any{"number": v.number, "first_step": v.first, "last_step": v.last, "why": v.why, "members": members}
	}
	problems := a.problems
	if problems == nil {
		problems = []string{}
	}
	return map[string]any{
		"run": run, "steps": a.steps, "epochs": a.epochs, "samples": a.samples, "exactly_once": len(a.problems) == 0, "views": views, "problems": problems,
	}
}

func (a *audited) print(w io.Writer, run string) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "VIEW\tSTEPS\tMEMBER\tLANES\tSAMPLES\tWHY")
	for _, v := range a.views {
		number, steps, why := fmt.Sprint(v.number), fmt.Sprintf("%d–%d", v.first, v.last), v.why
		for _, m := range v.members {
			fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%s\n", number, steps, m.name, m.lanes, m.samples, why)
			number, steps, why = "", "", ""
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, p := range a.problems {
		fmt.Fprintln(w, "problem:", p)
	}
	if len(a.problems) > 0 {
		return nil
	}
	claim := "every sample was used exactly once per epoch"
	if a.epochs == 0 {
		claim = "no sample was used twice"
	}
	_, err := fmt.Fprintf(w, "run %s: %d steps, %s in an epoch, complete epochs: %d; %s\n", run, a.steps, amount(a.samples, "sample", "samples"), a.epochs, claim)
	return err
}
