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
	var weights bool
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
			if err := printStatus(cmd.OutOrStdout(), s); err != nil || !weights {
				return err
			}
			return printRefreshed(cmd.OutOrStdout(), s.Run.GetRefreshes())
		},
	}
	cmd.Flags().BoolVar(&weights, "weights", false, "list what the last refresh chose of each weight (lift)")
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
	fmt.Fprintf(w, "cluster %s, coordinator %s, %s\n", s.Cluster, s.Version, amount(len(s.Nodes), "node", "nodes"))
	if r := s.Run; r != nil {
		fmt.Fprintf(w, "run %s is %s%s", r.Run, stateName(r.State), because(r.Why))
		fmt.Fprintf(w, "\n  step %d of %d, loss %s, %.0f tokens/s", r.Step, r.Steps, lossText(r), r.TokensPerSecond)
		if r.EtaSeconds > 0 {
			fmt.Fprintf(w, ", %s left", time.Duration(r.EtaSeconds*float64(time.Second)).Round(time.Second))
		}
		fmt.Fprintf(w, "\n  %d trained values", r.Trained)
		if v := r.View; v != nil {
			fmt.Fprintf(w, ", view %d with %s and %s", v.Number, membersText(len(v.Members)), amount(len(v.Owner), "lane", "lanes"))
		}
		fmt.Fprintln(w)
		for _, v := range r.Validations {
			fmt.Fprintf(w, "  validation loss after step %d: %.4f\n", v.Step, v.Loss)
		}
		for _, f := range r.Refreshes {
			fmt.Fprintf(w, "  sets chosen before step %d, which waited %.2f s: %.1f %% new%s\n", f.Step, f.Seconds, 100*f.Churn, shareText(f.Shares))
		}
	}
	return printNodes(w, s.Nodes)
}

// shareText says how the work of a refresh was spread.
func shareText(shares []*pb.RefreshShare) string {
	text := ""
	for i, s := range shares {
		text += fmt.Sprintf("%s %s %d weights in %.2f s", map[bool]string{true: ";", false: ","}[i == 0], s.Member, s.Weights, s.Seconds)
	}
	return text
}

// printRefreshed lists the weights of the last refresh.
func printRefreshed(w io.Writer, refreshes []*pb.RefreshReport) error {
	if len(refreshes) == 0 || len(refreshes[len(refreshes)-1].Weights) == 0 {
		fmt.Fprintln(w, "no sets were chosen yet")
		return nil
	}
	last := refreshes[len(refreshes)-1]
	fmt.Fprintf(w, "sets chosen before step %d\n", last.Step)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "WEIGHT\tCHOSEN\tNEW %\tALSO LARGEST |W| %\tBY")
	for _, x := range last.Weights {
		fmt.Fprintf(t, "%s\t%d\t%.1f\t%.1f\t%s\n", x.Name, x.Selected, 100*x.Churn, 100*x.Overlap, memberOf(last, x))
	}
	return t.Flush()
}

// memberOf is the name of the member that chose the set of x.
func memberOf(r *pb.RefreshReport, x *pb.RefreshedWeight) string {
	if int(x.Rank) >= len(r.Shares) {
		return ""
	}
	return r.Shares[x.Rank].Member
}

// refreshRows are the refreshes of a run for --json; the last has its weights.
func refreshRows(refreshes []*pb.RefreshReport) []map[string]any {
	rows := make([]map[string]any, len(refreshes))
	for i, f := range refreshes {
		shares, weights := make([]map[string]any, len(f.Shares)), make([]map[string]any, len(f.Weights))
		for j, s := range f.Shares {
			shares[j] = map[string]any{"member": s.Member, "weights": s.Weights, "seconds": s.Seconds}
		}
		for j, x := range f.Weights {
			weights[j] = map[string]any{"name": x.Name, "selected": x.Selected, "churn": x.Churn, "overlap": x.Overlap, "member": memberOf(f, x)}
		}
		rows[i] = map[string]any{"step": f.Step, "seconds": f.Seconds, "churn": f.Churn, "shares": shares}
		if len(weights) > 0 {
			rows[i]["weights"] = weights
		}
	}
	return rows
}

func printNodes(w io.Writer, nodes []*pb.MemberInfo) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tADDRESS\tPHASE\tRUN\tSTEP\tLANES\tS/LANE\tCLASS\tVERSION\tLAST BEAT\tNOTE")
	for _, n := range nodes {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%d\t%.3f\t%s\t%s\t%.1f s ago\t%s\n", n.GetNode().GetName(), n.Addr, phaseName(n.Phase),
			n.Run, n.Step, n.Lanes, n.LaneSeconds, n.Class, visible(n.Version), n.BeatAgeSeconds, visible(n.Error))
	}
	return t.Flush()
}

func statusRow(s *pb.StatusReply) map[string]any {
	row := map[string]any{"cluster": s.Cluster, "version": s.Version, "nodes": nodeRows(s.Nodes), "run": nil}
	if s.Run != nil {
		run := runRow(s.Run)
		run["refreshes"] = refreshRows(s.Run.Refreshes)
		row["run"] = run
	}
	return row
}

func nodeRows(nodes []*pb.MemberInfo) []map[string]any {
	rows := make([]map[string]any, len(nodes))
	for i, n := range nodes {
		labels := n.Labels
		if labels == nil {
			labels = map[string]string{} // {} in JSON, not null
		}
		rows[i] = map[string]any{
			"name": n.GetNode().GetName(), "boot": n.GetNode().GetBoot(), "addr": n.Addr, "phase": phaseName(n.Phase),
			"run": n.Run, "step": n.Step, "lanes": n.Lanes, "lane_seconds": n.LaneSeconds, "class": n.Class, "version": n.Version,
			"beat_age_seconds": n.BeatAgeSeconds, "labels": labels, "error": n.Error,
		}
	}
	return rows
}
