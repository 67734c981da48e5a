// Command coordinator is torc's control plane and its command line: it serves a cluster, launches runs and reads their
// results. One file per command; what they do lives in coordinator/control and the packages below it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/internal/config"
)

// version is set by the build: -ldflags "-X main.version=…".
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err := execute(ctx, newRootCmd())
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "coordinator:", config.Text(err))
	}
	os.Exit(config.ExitCode(err))
}

// execute runs the command that the arguments name. What goes wrong before the command itself runs is bad usage.
func execute(ctx context.Context, root *cobra.Command) error {
	began := false
	var watch func(*cobra.Command)
	watch = func(c *cobra.Command) {
		if run := c.RunE; run != nil {
			c.RunE = func(c *cobra.Command, args []string) error { began = true; return run(c, args) }
		}
		for _, sub := range c.Commands() {
			watch(sub)
		}
	}
	watch(root)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !began {
		return config.Usagef("%w: `%s --help` shows how it is used", err, cmd.CommandPath())
	}
	return err
}

func newRootCmd() *cobra.Command {
	root := &cobra.Command{
		Use:           "coordinator",
		Short:         "Fine-tune language models on a pool of machines, bit for bit reproducibly",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
	}
	root.PersistentFlags().String("home", "", "directory of all state (default $TORC_HOME, else ~/.local/state/torc)")
	root.PersistentFlags().String("config", "", "settings file (default coordinator.yaml below home, if there is one)")
	root.AddCommand(
		newServeCmd(), newLaunchCmd(), newPlanCmd(),
		newRunsCmd(), newStatusCmd(), newNodesCmd(), newStopCmd(), newDrainCmd(), newLogsCmd(), newHistoryCmd(), newAuditCmd(), newCheckpointsCmd(),
		newExportCmd(), newEvalCmd(), newGenerateCmd(), newVerifyCmd(),
		newTokenCmd(), newIdentityCmd(),
		newDataCmd(), newModelCmd(), newBenchCmd(), newDeltaCmd(), newVersionCmd(),
	)
	return root
}
