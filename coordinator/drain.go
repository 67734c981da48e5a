package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/internal/pb"
)

func newDrainCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drain NODE",
		Short: "Let a node finish its step, leave and end; the run goes on without it",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := ask(cmd, func(ctx context.Context, c pb.ControlClient) (*pb.DrainReply, error) {
				return c.Drain(ctx, &pb.DrainRequest{Node: args[0]})
			})
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd.OutOrStdout(), map[string]any{"node": args[0], "leaving": true})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "node %s leaves; `coordinator nodes` shows when it has\n", args[0])
			return nil
		},
	}
	addClientFlags(cmd)
	addJSONFlag(cmd)
	return cmd
}
