package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/config"
)

// state is how a check ended.
type state string

const (
	good    state = "ok"
	so      state = "warn"    // works, but slowly or not for long
	bad     state = "fail"    // this machine cannot take part like this
	unknown state = "skipped" // not asked for, or this system does not tell
)

// check is one thing that the doctor looked at.
type check struct {
	Name   string  `json:"name"`
	State  state   `json:"state"`
	Found  string  `json:"found"`
	Advice string  `json:"advice,omitempty"` // what to do, where the state is warn or fail
	Value  float64 `json:"value,omitempty"`  // the number that was judged, where there is one
}

func newDoctorCmd() *cobra.Command {
	var peers []string
	cmd := &cobra.Command{
		Use:   "doctor [ADDR]",
		Short: "Look at this machine as a worker: processor, memory, disk, clock, ports, network, GPU",
		Long: `Doctor looks at what a node needs and says what to do about each ✗. It changes nothing; it writes and removes one file below the
home directory to measure the disk.

With ADDR it asks whether the coordinator answers there and whether the clocks agree; with --peer whether the ring port of
another node can be reached. To measure the link as well, run ` + "`node bench link --listen :7199`" + ` over there and give
--peer HOST:7199.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			settings, err := config.Load(cmd.Flags(), "node")
			if err != nil {
				return config.Kind(config.ErrUsage, err)
			}
			for i := range peers {
				if peers[i], err = cluster.WithPort(peers[i]); err != nil {
					return config.Kind(config.ErrUsage, err)
				}
			}
			addr := ""
			if len(args) == 1 {
				if addr, err = cluster.WithPort(args[0]); err != nil {
					return config.Kind(config.ErrUsage, err)
				}
			}
			checks := examine(cmd.Context(), settings, addr, peers)
			asJSON, _ := cmd.Flags().GetBool("json")
			people := cmd.OutOrStdout()
			if asJSON {
				people = cmd.ErrOrStderr()
			}
			printChecks(people, checks)
			failed := 0
			for _, c := range checks {
				if c.State == bad {
					failed++
				}
			}
			if asJSON {
				if err := json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"ok": failed == 0, "checks": checks}); err != nil {
					return err
				}
			}
			if failed > 0 {
				return fmt.Errorf("%d of %d checks failed: what to do stands below each ✗", failed, len(checks))
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&peers, "peer", nil, "another node, host:port as `coordinator nodes` shows it, or of `node bench link --listen` (repeatable)")
	f.String("listen", "", "address that the node will serve peers on (default any free port)")
	f.Int("threads", 0, "compute threads that the node will have (default: cores)")
	f.Bool("json", false, "print one JSON object as the last line of standard output")
	return cmd
}

// examine looks at everything, one after the other so that no measurement disturbs another.
func examine(ctx context.Context, s *config.Settings, addr string, peers []string) []check {
	h := host{root: os.DirFS("/")}
	checks := []check{h.cores(threads(s)), h.tier(s.CPU), h.memory(), disk(s.Home), space(s.Home), h.clock(), h.gpu(), port(s.Listen)}
	if addr == "" {
		checks = append(checks, check{Name: "coordinator", State: unknown, Found: "not asked: node doctor HOST:PORT"})
	} else {
		checks = append(checks, coordinatorAt(ctx, addr, time.Now)...)
	}
	if len(peers) == 0 {
		checks = append(checks, check{Name: "peers", State: unknown, Found: "not asked: --peer HOST:PORT for each other node"})
	}
	for _, p := range peers {
		checks = append(checks, peerAt(ctx, p)...)
	}
	return checks
}

var marks = map[state]string{good: "✓", so: "!", bad: "✗", unknown: "–"}

// printChecks writes a line for each check, and below it what to do.
func printChecks(w io.Writer, checks []check) {
	width := 0
	for _, c := range checks {
		width = max(width, len(c.Name))
	}
	for _, c := range checks {
		fmt.Fprintf(w, "%s %-*s  %s\n", marks[c.State], width, c.Name, c.Found)
		if c.Advice != "" {
			fmt.Fprintf(w, "  %s  → %s\n", strings.Repeat(" ", width), c.Advice)
		}
	}
}
