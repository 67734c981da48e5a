package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/trust"
)

// callTimeout bounds a call that only asks.
const callTimeout = 15 * time.Second

// addClientFlags adds the flag that says which coordinator a command talks to.
func addClientFlags(cmd *cobra.Command) {
	cmd.Flags().String("identity", "", "file with the certificate to call with (default $TORC_IDENTITY, else identity.pem below home; on the coordinator's machine its user needs none)")
	cmd.Flags().Bool("insecure", false, "call a coordinator that was started with --insecure")
	cmd.Flags().String("coordinator", "", "address of the coordinator (default $TORC_COORDINATOR, else "+config.DefaultCoordinator+")")
}

// dialFlagged connects to the coordinator that flags, environment or settings name.
func dialFlagged(cmd *cobra.Command) (*grpc.ClientConn, error) {
	settings, err := config.Load(cmd.Flags(), "coordinator")
	if err != nil {
		return nil, config.Kind(config.ErrUsage, err)
	}
	return dial(cmd.Context(), settings, cmd.Flags().Changed("identity") || os.Getenv("TORC_IDENTITY") != "")
}

// dial connects to the coordinator of the settings: with the identity that was named, else by the unix socket of a
// coordinator of this user on this machine, else with the identity that lies at its usual place.
func dial(ctx context.Context, s *config.Settings, named bool) (*grpc.ClientConn, error) {
	if s.Insecure {
		return cluster.Dial(s.Coordinator)
	}
	coordinator := cluster.AcceptRole(trust.Coordinator)
	if !named {
		if target := cluster.LocalTarget(ctx, s.Coordinator); target != "" {
			return cluster.Dial(target, cluster.Secure(trust.NewWallet(nil), coordinator)...)
		}
	}
	bundle, err := trust.Load(s.Identity)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return cluster.Dial(s.Coordinator, cluster.Secure(trust.NewWallet(nil), coordinator)...) // and be told what is missing
	}
	if err != nil {
		return nil, config.Kind(config.ErrRefused, err)
	}
	wallet, err := bundle.Wallet()
	if err != nil {
		return nil, err
	}
	conn, err := cluster.Dial(s.Coordinator, cluster.Secure(wallet, coordinator)...)
	if err == nil && !time.Now().Before(trust.RenewAt(bundle.Leaf)) {
		renew(ctx, conn, bundle, s.Identity)
	}
	return conn, err
}

// renew replaces an identity that will expire, if that can be done now: it will be tried again at the next command.
func renew(ctx context.Context, conn *grpc.ClientConn, b *trust.Bundle, path string) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout/3)
	defer cancel()
	csr, err := trust.Request(b.Key)
	if err != nil {
		return
	}
	reply, err := pb.NewTrustClient(conn).Renew(ctx, &pb.RenewRequest{Csr: csr})
	if err != nil {
		return
	}
	if next, err := trust.NewBundle(b.Key, reply.Certificate, reply.Ca); err == nil {
		_ = next.Save(path) // the old one still counts
	}
}

// ask makes one call to the coordinator and explains what to do when none answers.
func ask[T any](cmd *cobra.Command, call func(context.Context, pb.ControlClient) (T, error)) (T, error) {
	return askService(cmd, pb.NewControlClient, call)
}

// askService is ask for any of the coordinator's services.
func askService[C, T any](cmd *cobra.Command, service func(grpc.ClientConnInterface) C, call func(context.Context, C) (T, error)) (T, error) {
	var none T
	conn, err := dialFlagged(cmd)
	if err != nil {
		return none, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), callTimeout)
	defer cancel()
	reply, err := call(ctx, service(conn))
	return reply, unreachable(conn, err)
}

// unreachable says what to do about an err that means that nobody answers at conn; others it leaves alone, among them that
// of a coordinator which answers that it cannot say yet.
func unreachable(conn *grpc.ClientConn, err error) error {
	if err == nil || config.ExitCode(err) != config.ExitUnreachable {
		return err
	}
	if status.Code(err) == codes.Unavailable && conn.GetState() == connectivity.Ready {
		return err
	}
	return config.Kind(config.ErrUnreachable, fmt.Errorf("no coordinator answers at %s: start one with `coordinator serve`, or name another with --coordinator (%s)", plain(conn), config.Text(err)))
}

// plain is the address that conn calls, without the scheme that gRPC puts before it.
func plain(conn *grpc.ClientConn) string {
	target := conn.Target()
	return target[strings.LastIndex(target, "/")+1:]
}

// addJSONFlag adds --json, with which the last line of standard output is one object.
func addJSONFlag(cmd *cobra.Command) {
	cmd.Flags().Bool("json", false, "print one JSON object as the last line of standard output")
}

func wantsJSON(cmd *cobra.Command) bool {
	on, _ := cmd.Flags().GetBool("json")
	return on
}

// printJSON writes v as one line.
func printJSON(w io.Writer, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", line)
	return err
}
