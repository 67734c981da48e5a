package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/internal/pb"
)

func newStatusCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [RUN]",
		Short: "Show the cluster, its nodes and the run at work (or RUN)",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &pb.StatusRequest{}
			if len(args) > 0 {
				req.Run = args[0]
			}
			s, err := askStatus(cmd, req)
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd.OutOrStdout(), statusRow(s))
			}
			return printStatus(cmd.OutOrStdout(), s)
		},
	}
	addClientFlags(cmd)
	addJSONFlag(cmd)
	return cmd
}

func newNodesCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "nodes",
		Short: "List the nodes of the cluster and what they do",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := askStatus(cmd, &pb.StatusRequest{})
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd.OutOrStdout(), map[string]any{"nodes": nodeRows(s.Nodes)})
			}
			return printNodes(cmd.OutOrStdout(), s.Nodes)
		},
	}
	addClientFlags(cmd)
	addJSONFlag(cmd)
	return cmd
}

func askStatus(cmd *cobra.Command, req *pb.StatusRequest) (*pb.StatusReply, error) {
	return ask(cmd, func(ctx context.Context, c pb.ControlClient) (*pb.StatusReply, error) { return c.Status(ctx, req) })
}

func printStatus(w io.Writer, s *pb.StatusReply) error {
	fmt.Fprintf(w, "cluster %s, coordinator %s, %d nodes\n", s.Cluster, s.Version, len(s.Nodes))
	if r := s.Run; r != nil {
		fmt.Fprintf(w, "run %s is %s", r.Run, stateName(r.State))
		if r.Why != "" {
			fmt.Fprintf(w, ": %s", r.Why)
		}
		fmt.Fprintf(w, "\n  step %d of %d, loss %s, %.0f tokens/s", r.Step, r.Steps, lossText(r.LossLast, r.Step), r.TokensPerSecond)
		if r.EtaSeconds > 0 {
			fmt.Fprintf(w, ", %s left", time.Duration(r.EtaSeconds*float64(time.Second)).Round(time.Second))
		}
		fmt.Fprintf(w, "\n  %d trained values", r.Trained)
		if v := r.View; v != nil {
			fmt.Fprintf(w, ", view %d with %d members and %d lanes", v.Number, len(v.Members), len(v.Owner))
		}
		fmt.Fprintln(w)
		for _, v := range r.Validations {
			fmt.Fprintf(w, "  validation loss after step %d: %.4f\n", v.Step, v.Loss)
		}
		for _, f := range r.Refreshes {
			fmt.Fprintf(w, "  sets recomputed before step %d in %.2f s, %.1f %% new\n", f.Step, f.Seconds, 100*f.Churn)
		}
	}
	return printNodes(w, s.Nodes)
}

func printNodes(w io.Writer, nodes []*pb.MemberInfo) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tADDRESS\tPHASE\tRUN\tSTEP\tLANES\tS/LANE\tCLASS\tLAST BEAT\tNOTE")
	for _, n := range nodes {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%d\t%.3f\t%s\t%.1f s ago\t%s\n", n.GetNode().GetName(), n.Addr, phaseName(n.Phase),
			n.Run, n.Step, n.Lanes, n.LaneSeconds, n.Class, n.BeatAgeSeconds, n.Error)
	}
	return t.Flush()
}

func statusRow(s *pb.StatusReply) map[string]any {
	row := map[string]any{"cluster": s.Cluster, "version": s.Version, "nodes": nodeRows(s.Nodes), "run": nil}
	if s.Run != nil {
		row["run"] = runRow(s.Run)
	}
	return row
}

func nodeRows(nodes []*pb.MemberInfo) []map[string]any {
	rows := make([]map[string]any, len(nodes))
	for i, n := range nodes {
		rows[i] = map[string]any{
			"name": n.GetNode().GetName(), "boot": n.GetNode().GetBoot(), "addr": n.Addr, "phase": phaseName(n.Phase),
			"run": n.Run, "step": n.Step, "lanes": n.Lanes, "lane_seconds": n.LaneSeconds, "class": n.Class,
			"beat_age_seconds": n.BeatAgeSeconds, "labels": n.Labels, "error": n.Error,
		}
	}
	return rows
}
