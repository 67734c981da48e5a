package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/config"
)

// linkPort is where links are measured unless told otherwise.
const linkPort = 7199

func newBenchCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "bench", Short: "Measure what this machine gives"}
	cmd.AddCommand(newBenchLinkCmd())
	return cmd
}

func newBenchLinkCmd() *cobra.Command {
	var listen string
	var each time.Duration
	cmd := &cobra.Command{
		Use:   "link [ADDR]",
		Short: "Measure the link to another machine, where `node bench link --listen` answers",
		Long: `Link measures a plain TCP connection in both directions, without torc in between: what the network gives at best.

	node bench link --listen :7199          # on one machine, until Ctrl-C
	node bench link HOST:7199               # on another

Whoever reaches the port may make this machine send and receive for ten seconds at a time; leave it open only while measuring.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (listen == "") == (len(args) == 0) {
				return config.Usagef("name the machine to measure to, or give --listen")
			}
			if each <= 0 || each > linkMost/2 {
				return config.Usagef("--for %v: use more than 0 and at most %v", each, linkMost/2)
			}
			if listen != "" {
				l, self, err := cluster.Listen(listen, "", linkPort)
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "measuring links at %s until interrupted\n", self)
				if err := serveLinks(cmd.Context(), l, slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil {
					return err
				}
				return cmd.Context().Err()
			}
			addr, err := cluster.WithPort(args[0])
			if err != nil {
				return config.Kind(config.ErrUsage, err)
			}
			s, err := measureLink(cmd.Context(), addr, each)
			if errors.Is(err, errNoBench) {
				err = fmt.Errorf("nobody measures links at %s: run `node bench link --listen :%d` there", addr, linkPort)
			}
			if err != nil {
				return config.Kind(config.ErrUnreachable, err)
			}
			if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"there": s.There, "back": s.Back, "round_trip_seconds": s.RoundTrip.Seconds()})
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), judgeLink(addr, s.There, s.Back, s.RoundTrip).Found)
			return err
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "", "answer at this address until interrupted")
	cmd.Flags().DurationVar(&each, "for", 2*time.Second, "how long to measure each direction")
	cmd.Flags().Bool("json", false, "print one JSON object as the last line of standard output: bytes per second and seconds")
	return cmd
}
