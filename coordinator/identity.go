package main

import (
	"context"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/trust"
)

func newIdentityCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "identity",
		Short: "Make, list and revoke certificates",
	}
	cmd.AddCommand(newIdentityCreateCmd(), newIdentityListCmd(), newIdentityRevokeCmd())
	return cmd
}

func newIdentityCreateCmd() *cobra.Command {
	var role, output string
	var lifetime time.Duration
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Write a file with which NAME may call the coordinator, as viewer or operator",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := trust.CheckName(args[0]); err != nil {
				return config.Kind(config.ErrUsage, err)
			}
			if output == "" {
				output = args[0] + ".pem"
			}
			if _, err := os.Stat(output); err == nil && output != "-" {
				return fmt.Errorf("%s exists: choose another file with -o", output)
			}
			key, err := trust.NewKey()
			if err != nil {
				return err
			}
			csr, err := trust.Request(key)
			if err != nil {
				return err
			}
			reply, err := askTrust(cmd, func(ctx context.Context, c pb.TrustClient) (*pb.EnrolReply, error) {
				return c.CreateIdentity(ctx, &pb.CreateIdentityRequest{Name: args[0], Role: role, Csr: csr, LifetimeSeconds: int64(lifetime / time.Second)})
			})
			if err != nil {
				return err
			}
			b, err := trust.NewBundle(key, reply.Certificate, reply.Ca)
			if err != nil {
				return err
			}
			if output == "-" {
				text, err := b.Encode()
				if err != nil {
					return err
				}
				_, err = cmd.OutOrStdout().Write(text)
				return err
			}
			if err := b.Save(output); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s %s may call with --identity %s (or TORC_IDENTITY) until %s; the file is a secret\n", role, args[0], output, b.Leaf.NotAfter.Format(time.RFC3339))
			return nil
		},
	}
	cmd.Flags().StringVar(&role, "role", string(trust.Viewer), "viewer (looks on) or operator (launches, stops, admits)")
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write, - for standard output (default NAME.pem)")
	cmd.Flags().DurationVar(&lifetime, "ttl", trust.PersonLifetime, "how long it counts; commands renew it in time")
	addClientFlags(cmd)
	return cmd
}

func newIdentityListCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the certificates that were given out",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			reply, err := askTrust(cmd, func(ctx context.Context, c pb.TrustClient) (*pb.IdentitiesReply, error) {
				return c.Identities(ctx, &pb.IdentitiesRequest{})
			})
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				rows := []map[string]any{}
				for _, i := range reply.Identities {
					rows = append(rows, map[string]any{
						"role": i.Role, "name": i.Name, "serial": i.Serial, "issued": time.Unix(i.IssuedUnix, 0).UTC(),
						"expires": time.Unix(i.ExpiresUnix, 0).UTC(), "revoked": i.RevokedUnix != 0,
					})
				}
				return printJSON(cmd.OutOrStdout(), map[string]any{"identities": rows})
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "ROLE\tNAME\tISSUED\tEXPIRES\tREVOKED")
			for _, i := range reply.Identities {
				revoked := ""
				if i.RevokedUnix != 0 {
					revoked = time.Unix(i.RevokedUnix, 0).Format(time.RFC3339)
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", i.Role, i.Name, time.Unix(i.IssuedUnix, 0).Format(time.RFC3339), time.Unix(i.ExpiresUnix, 0).Format(time.RFC3339), revoked)
			}
			return w.Flush()
		},
	}
	addClientFlags(cmd)
	addJSONFlag(cmd)
	return cmd
}

func newIdentityRevokeCmd() *cobra.Command {
	var role string
	cmd := &cobra.Command{
		Use:   "revoke NAME",
		Short: "End the certificates of a node (or --role viewer, operator) at once, and change the gossip key",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := askTrust(cmd, func(ctx context.Context, c pb.TrustClient) (*pb.RevokeReply, error) {
				return c.Revoke(ctx, &pb.RevokeRequest{Role: role, Name: args[0]})
			})
			if err == nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s %s is revoked\n", role, args[0])
			}
			return err
		},
	}
	cmd.Flags().StringVar(&role, "role", string(trust.Node), "node, viewer or operator")
	addClientFlags(cmd)
	return cmd
}
