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
	err := newRootCmd().ExecuteContext(ctx)
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "node:", config.Text(err))
	}
	os.Exit(config.ExitCode(err))
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
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return config.Kind(config.ErrUsage, err) })
	root.AddCommand(newJoinCmd(), newVersionCmd())
	return root
}
