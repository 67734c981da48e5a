package main

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/coordinator/control"
	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/config"
)

func newServeCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve a cluster: admit nodes, run what is launched, keep results",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := config.Load(cmd.Flags(), "coordinator")
			if err != nil {
				return config.Kind(config.ErrUsage, err)
			}
			log := slog.New(slog.NewTextHandler(os.Stderr, nil))
			server, err := control.New(control.Config{Home: settings.Home, Listen: settings.Listen, Advertise: settings.Advertise, Version: version, Log: log})
			if err != nil {
				return err
			}
			if cluster.Local(server.Addr()) {
				log.Info("reachable from this machine only: --listen 0.0.0.0 opens it to others", "addr", server.Addr())
			}
			return server.Run(cmd.Context())
		},
	}
	cmd.Flags().String("listen", "", "address to serve on (default "+config.DefaultCoordinator+")")
	cmd.Flags().String("advertise", "", "address under which nodes and CLI reach this coordinator (default: the listening one)")
	return cmd
}
