package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/internal/pb"
)

func newLogsCmd() *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs RUN",
		Short: "Print what coordinator and members said about a run",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			conn, err := dialFlagged(cmd)
			if err != nil {
				return err
			}
			defer conn.Close()
			stream, err := pb.NewControlClient(conn).Logs(cmd.Context(), &pb.LogsRequest{Run: args[0], Follow: follow})
			if err != nil {
				return unreachable(conn, err)
			}
			lines := []logged{}
			for {
				line, err := stream.Recv()
				if errors.Is(err, io.EOF) && wantsJSON(cmd) {
					return printJSON(cmd.OutOrStdout(), map[string]any{"lines": lines})
				}
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err != nil {
					return unreachable(conn, err)
				}
				if wantsJSON(cmd) {
					lines = append(lines, logged{time.Unix(0, line.UnixNano), line.Node, line.Level, line.Text})
					continue
				}
				fmt.Fprintln(cmd.OutOrStdout(), logText(line))
			}
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the run ends")
	addClientFlags(cmd)
	addJSONFlag(cmd)
	cmd.MarkFlagsMutuallyExclusive("follow", "json")
	return cmd
}

// logged is a line as logs --json prints it.
type logged struct {
	Time  time.Time `json:"time"`
	Node  string    `json:"node"`
	Level string    `json:"level"`
	Text  string    `json:"text"`
}

func logText(l *pb.LogLine) string {
	return fmt.Sprintf("%s %-5s %s: %s", time.Unix(0, l.UnixNano).Format("15:04:05.000"), l.Level, visible(l.Node), visible(l.Text))
}
