package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/internal/pb"
)

func newRunsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "runs",
		Short: "List the runs the coordinator knows, newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			reply, err := ask(cmd, func(ctx context.Context, c pb.ControlClient) (*pb.RunsReply, error) {
				return c.Runs(ctx, &pb.RunsRequest{})
			})
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd.OutOrStdout(), map[string]any{"runs": runRows(reply.Runs)})
			}
			return printRuns(cmd.OutOrStdout(), reply.Runs)
		},
	}
	addClientFlags(cmd)
	addJSONFlag(cmd)
	return cmd
}

func printRuns(w io.Writer, runs []*pb.RunInfo) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "RUN\tSTATE\tSTEP\tLOSS\tTOKENS/S\tMEMBERS\tDIGEST\tNOTE")
	for _, r := range runs {
		fmt.Fprintf(t, "%s\t%s\t%d/%d\t%s\t%.0f\t%d\t%.12x\t%s\n", r.Run, stateName(r.State), r.Step, r.Steps,
			lossText(r), r.TokensPerSecond, len(r.GetView().GetMembers()), r.Digest, visible(r.Why))
	}
	return t.Flush()
}

// runRows are the runs as JSON shows them.
func runRows(runs []*pb.RunInfo) []map[string]any {
	rows := make([]map[string]any, len(runs))
	for i, r := range runs {
		rows[i] = runRow(r)
	}
	return rows
}

func runRow(r *pb.RunInfo) map[string]any {
	row := map[string]any{
		"run": r.Run, "name": r.Name, "state": stateName(r.State), "why": r.Why, "step": r.Step, "steps": r.Steps,
		"loss_first": r.LossFirst, "loss_last": r.LossLast, "tokens_per_second": r.TokensPerSecond,
		"trained": r.Trained, "digest": fmt.Sprintf("%x", r.Digest), "bytes_sent_per_member": r.BytesSentPerMember,
		"members": len(r.GetView().GetMembers()), "eta_seconds": r.EtaSeconds,
		"created": time.Unix(r.CreatedUnix, 0).UTC().Format(time.RFC3339),
	}
	if r.EndedUnix > 0 {
		row["ended"] = time.Unix(r.EndedUnix, 0).UTC().Format(time.RFC3339)
	}
	return row
}

// stateName is the word for a run's state: RUN_FINISHED → finished.
func stateName(s pb.RunState) string { return strings.ToLower(strings.TrimPrefix(s.String(), "RUN_")) }

// phaseName is the word for a member's phase: PHASE_TRAINING → training.
func phaseName(p pb.Phase) string { return strings.ToLower(strings.TrimPrefix(p.String(), "PHASE_")) }
