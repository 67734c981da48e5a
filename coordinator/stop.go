package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/internal/pb"
)

func newStopCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stop RUN",
		Short: "End a run at the next step on which its members agree; its State is kept",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			reply, err := ask(cmd, func(ctx context.Context, c pb.ControlClient) (*pb.StopReply, error) {
				return c.Stop(ctx, &pb.StopRequest{Run: args[0]})
			})
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd.OutOrStdout(), runRow(reply.Run))
			}
			fmt.Fprintf(cmd.OutOrStdout(), "run %s is %s at step %d of %d\n", reply.Run.Run, stateName(reply.Run.State), reply.Run.Step, reply.Run.Steps)
			return nil
		},
	}
	addClientFlags(cmd)
	addJSONFlag(cmd)
	return cmd
}
