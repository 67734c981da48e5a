// Command node works for a torc cluster: it joins, trains what the coordinator assigns and serves its peers. One file per
// command; the work itself lives in node/train.
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
		fmt.Fprintln(os.Stderr, "node:", config.Text(err))
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
		Use:           "node",
		Short:         "Work for a torc cluster",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
	}
	root.PersistentFlags().String("home", "", "directory of all state (default $TORC_HOME, else ~/.local/state/torc)")
	root.PersistentFlags().String("config", "", "settings file (default node.yaml below home, if there is one)")
	root.AddCommand(newJoinCmd(), newDoctorCmd(), newBenchCmd(), newVersionCmd())
	return root
}
