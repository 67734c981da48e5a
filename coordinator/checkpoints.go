package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/pb"
)

func newCheckpointsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "checkpoints",
		Short: "List, verify, mend or remove the checkpoints of a run",
		Long: `Members keep the checkpoints of a run on their own disks, in pieces of which any few are enough. These commands have all
nodes that attend look at what they keep.`,
	}
	cmd.AddCommand(
		newCheckpointsListCmd(),
		newTendCmd("verify", "Read every piece and say what is damaged or missing", pb.Tending_TENDING_VERIFY),
		newTendCmd("scrub", "Verify, and make damaged and missing pieces again from the others", pb.Tending_TENDING_SCRUB),
		newTendCmd("rm", "Remove checkpoints from all nodes", pb.Tending_TENDING_REMOVE),
	)
	return cmd
}

// checkpointLine is one checkpoint as ls --json prints it.
type checkpointLine struct {
	Step    uint64   `json:"step"`
	Digest  string   `json:"digest"`
	Bytes   int64    `json:"bytes"`
	Data    int      `json:"data"`
	Parity  int      `json:"parity"`
	Loss    *float64 `json:"loss"`
	Time    string   `json:"time"`
	Pieces  int      `json:"pieces"`  // distinct ones that nodes have now
	Losses  int      `json:"losses"`  // so many of these nodes can still be lost; −1: too few pieces attend
	Holders string   `json:"holders"` // that attend
}

func newCheckpointsListCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "ls RUN", Short: "List the committed checkpoints of a run and who keeps them", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			reply, err := askService(cmd, pb.NewCheckpointsClient, func(ctx context.Context, c pb.CheckpointsClient) (*pb.CheckpointsReply, error) {
				return c.List(ctx, &pb.CheckpointsRequest{Run: args[0]})
			})
			if err != nil {
				return err
			}
			lines := []checkpointLine{}
			for _, c := range reply.Checkpoints {
				m, err := checkpoints.ParseManifest(c.Manifest)
				if err != nil {
					return err
				}
				lines = append(lines, describeCheckpoint(m, c))
			}
			if wantsJSON(cmd) {
				return printJSON(cmd.OutOrStdout(), map[string]any{"run": args[0], "checkpoints": lines})
			}
			if len(lines) == 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "run %s has no checkpoint\n", args[0])
			}
			for _, l := range lines {
				loss := ""
				if l.Loss != nil {
					loss = fmt.Sprintf(", validation loss %.4f", *l.Loss)
				}
				state := fmt.Sprintf("any %d of these can be lost", l.Losses)
				switch {
				case l.Losses < 0:
					state = fmt.Sprintf("too few: %d pieces are needed", l.Data)
				case l.Losses == 0:
					state = "none of these can be lost"
				}
				fmt.Fprintf(cmd.OutOrStdout(), "step %d  %s  %.12s  %s%s\n  %d pieces on %s: %s\n", l.Step, l.Time, l.Digest, bytesText(l.Bytes), loss, l.Pieces, l.Holders, state)
			}
			return nil
		},
	}
	addClientFlags(cmd)
	addJSONFlag(cmd)
	return cmd
}

func describeCheckpoint(m *checkpoints.Manifest, c *pb.CheckpointInfo) checkpointLine {
	var holders []checkpoints.Holder
	seen := map[int]bool{}
	for _, h := range c.Holders {
		holder := checkpoints.Holder{Name: h.Node}
		for _, i := range h.Pieces {
			holder.Has = append(holder.Has, int(i))
			seen[int(i)] = true
		}
		holders = append(holders, holder)
	}
	who := checkpoints.Describe(holders)
	if who == "" {
		who = "no node that attends"
	}
	return checkpointLine{
		Step: m.Step, Digest: fmt.Sprintf("%x", m.Digest), Bytes: m.Size, Data: m.Data, Parity: m.Parity, Loss: m.Loss,
		Time: time.Unix(0, c.UnixNano).UTC().Format(time.RFC3339), Pieces: len(seen), Losses: checkpoints.Endure(holders, m.Data).Members, Holders: who,
	}
}

func newTendCmd(name, short string, what pb.Tending) *cobra.Command {
	var all bool
	use := name + " RUN [STEP]"
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &pb.TendRequest{Run: args[0], What: what}
			if len(args) == 2 {
				step, err := strconv.ParseUint(args[1], 10, 64)
				if err != nil || step == 0 {
					return config.Usagef("step %q: use the number of a step", args[1])
				}
				req.Step = step
			} else if what == pb.Tending_TENDING_REMOVE && !all {
				return config.Usagef("name a step, or --all for every checkpoint of run %s", args[0])
			}
			conn, err := dialFlagged(cmd)
			if err != nil {
				return err
			}
			defer conn.Close()
			reply, err := pb.NewCheckpointsClient(conn).Tend(cmd.Context(), req) // as long as the disks take
			if err != nil {
				return unreachable(conn, err)
			}
			return reportTending(cmd, what, reply)
		},
	}
	if what == pb.Tending_TENDING_REMOVE {
		cmd.Flags().BoolVar(&all, "all", false, "remove every checkpoint of the run")
	}
	addClientFlags(cmd)
	addJSONFlag(cmd)
	return cmd
}

// reportTending prints what the nodes found. Damage that was not mended is an error.
func reportTending(cmd *cobra.Command, what pb.Tending, reply *pb.TendReply) error {
	type line struct {
		Node    string   `json:"node"`
		Pieces  int32    `json:"pieces"`
		Damaged []string `json:"damaged"`
		Mended  []string `json:"mended"`
		Error   string   `json:"error,omitempty"`
	}
	lines, bad := []line{}, 0
	for _, n := range reply.Nodes {
		kept := n.GetKept()
		l := line{
			Node: n.Node, Pieces: kept.GetPieces(), Error: n.Error,
			Damaged: append([]string{}, kept.GetDamaged()...), Mended: append([]string{}, kept.GetMended()...), // [] in JSON, never null
		}
		lines = append(lines, l)
		if bad += len(l.Damaged) - len(l.Mended); l.Error != "" {
			bad++
		}
		if wantsJSON(cmd) {
			continue
		}
		switch {
		case l.Error != "":
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", l.Node, l.Error)
		case what == pb.Tending_TENDING_REMOVE:
			fmt.Fprintf(cmd.OutOrStdout(), "%s: removed\n", l.Node)
		default:
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %d sound pieces\n", l.Node, l.Pieces)
		}
		for _, d := range l.Damaged {
			fmt.Fprintf(cmd.OutOrStdout(), "  damaged: %s\n", d)
		}
		if len(l.Mended) > 0 {
			fmt.Fprintf(cmd.OutOrStdout(), "  made again: %s\n", strings.Join(l.Mended, ", "))
		}
	}
	if wantsJSON(cmd) {
		if err := printJSON(cmd.OutOrStdout(), map[string]any{"nodes": lines, "unmended": bad}); err != nil {
			return err
		}
	}
	if bad > 0 {
		return fmt.Errorf("damaged or missing: %d; `coordinator checkpoints scrub` mends what can be mended", bad)
	}
	return nil
}
