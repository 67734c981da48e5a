package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/torctrain/torc/coordinator/control"
	"github.com/torctrain/torc/internal/admin"
	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/trust"
)

func newServeCmd() *cobra.Command {
	var member string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve a cluster: admit nodes, run what is launched, keep results",
		Long: `Serve a cluster: admit nodes, run what is launched, keep results.

At the first start it makes a CA in the trust directory and an operator's identity for its own user. Nodes join with a token
(` + "`coordinator token create`" + `); those of the same user on this machine need none.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := config.Load(cmd.Flags(), "coordinator")
			if err != nil {
				return config.Kind(config.ErrUsage, err)
			}
			log, err := admin.Logger(os.Stderr, settings.LogFormat)
			if err != nil {
				return config.Kind(config.ErrUsage, err)
			}
			ports := admin.Config{Admin: settings.Admin, Pprof: settings.Pprof}
			if err := ports.Validate(); err != nil {
				return config.Kind(config.ErrUsage, err)
			}
			authority, err := openTrust(settings, log)
			if err != nil {
				return err
			}
			if member != "" {
				if member, err = cluster.WithPort(member); err != nil {
					return config.Kind(config.ErrUsage, err)
				}
			}
			var server *control.Server
			metrics := admin.Registry("coordinator", version)
			door, err := admin.Open(ports, metrics, admin.Checks{
				Alive: func() error { return server.Alive() }, Ready: func() error { return server.Ready() }, // asked while door.Serve runs
			}, log)
			if err != nil {
				return err
			}
			server, err = control.New(control.Config{
				Home: settings.Home, Listen: settings.Listen, Advertise: settings.Advertise, Version: version, Trust: authority, Log: log,
				Member: member,
			})
			if err != nil {
				return errors.Join(err, door.Close())
			}
			metrics.MustRegister(server.Metrics()...)
			if err := keepOperator(authority, settings.Identity); err != nil {
				log.Warn("this user has no operator's identity", "err", err)
			}
			if cluster.Local(server.Addr()) {
				log.Info("reachable from this machine only: --listen 0.0.0.0 opens it to others", "addr", server.Addr())
			}
			g, ctx := errgroup.WithContext(cmd.Context())
			g.Go(func() error { return door.Serve(ctx) })
			g.Go(func() error { return server.Run(ctx) })
			return g.Wait()
		},
	}
	f := cmd.Flags()
	f.String("listen", "", "address to serve on (default "+config.DefaultCoordinator+")")
	f.String("advertise", "", "address under which nodes and CLI reach this coordinator (default: the listening one)")
	f.String("trust", "", "directory of the CA, tokens and revocations (default: the name of home with -trust after it)")
	f.String("ca", "", "directory with the certificate and key of an own CA, tls.crt and tls.key, which is only read")
	f.String("pool-token", "", "file with a secret with which nodes may join as often as they like")
	f.StringVar(&member, "member", "", "address of a node of the cluster to serve, where the coordinator before this one is lost with its disk and its address")
	addAdminFlags(cmd)
	f.Bool("insecure", false, "no certificates and no encryption: whoever reaches the port may do everything")
	return cmd
}

// addAdminFlags adds those of ports and logs for whoever looks after the process.
func addAdminFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.String("admin", "", "address of /metrics, /healthz and /readyz (default: not served)")
	f.String("pprof", "", "address of profiles, on loopback: 127.0.0.1:6060 (default: not served)")
	f.String("log-format", "", "text or json (default text)")
}

// openTrust opens the CA, or says loudly that there is none.
func openTrust(s *config.Settings, log *slog.Logger) (*trust.Authority, error) {
	if s.Insecure {
		log.Warn("INSECURE: no certificates, no encryption; whoever reaches this port can read models and data, launch and stop runs, and falsify results")
		return nil, nil
	}
	return trust.Open(trust.Config{Dir: s.Trust, CADir: s.CA, PoolToken: s.PoolToken})
}

// keepOperator writes an operator's identity for the user who serves, unless a good one lies there.
func keepOperator(a *trust.Authority, path string) error {
	if a == nil {
		return nil
	}
	held, err := trust.Load(path)
	if err == nil && held.Pin() == trust.PinOf(a.CA()) && time.Now().Before(trust.RenewAt(held.Leaf)) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // not ours to overwrite
	}
	made, err := operator(a, "local")
	if err != nil {
		return err
	}
	return made.Save(path)
}

// operator makes an operator's identity.
func operator(a *trust.Authority, name string) (*trust.Bundle, error) {
	key, err := trust.NewKey()
	if err != nil {
		return nil, err
	}
	csr, err := trust.Request(key)
	if err != nil {
		return nil, err
	}
	leaf, err := a.Person(trust.Identity{Role: trust.Operator, Name: name}, csr, trust.PersonLifetime)
	if err != nil {
		return nil, err
	}
	return &trust.Bundle{Key: key, Leaf: leaf, CA: a.CA()}, nil
}
