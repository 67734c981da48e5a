package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/trust"
)

func newTokenCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make, list and delete the tokens with which nodes join",
	}
	cmd.AddCommand(newTokenCreateCmd(), newTokenListCmd(), newTokenDeleteCmd())
	return cmd
}

func newTokenCreateCmd() *cobra.Command {
	var lifetime time.Duration
	var uses int
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Print a token with which one node (or --uses N, or any number with --uses 0) may join",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if lifetime < time.Second || lifetime > trust.MaxLifetime {
				return config.Usagef("--ttl %v: use 1s to %v", lifetime, trust.MaxLifetime)
			}
			if uses < 0 || uses > 1<<20 {
				return config.Usagef("--uses %d: use 1 or more, or 0 for any number", uses)
			}
			reply, err := askTrust(cmd, func(ctx context.Context, c pb.TrustClient) (*pb.CreateTokenReply, error) {
				return c.CreateToken(ctx, &pb.CreateTokenRequest{LifetimeSeconds: int64(lifetime / time.Second), Uses: int32(uses)})
			})
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				row := tokenRow(reply.Info)
				row["token"] = reply.Token
				return printJSON(cmd.OutOrStdout(), row)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "token %s, until %s, for %s; on the other machine:\n  node join HOST:PORT --token TOKEN\n",
				reply.Info.Id, time.Unix(reply.Info.ExpiresUnix, 0).Format(time.RFC3339), usesText(reply.Info.Uses))
			fmt.Fprintln(cmd.OutOrStdout(), reply.Token)
			return nil
		},
	}
	cmd.Flags().DurationVar(&lifetime, "ttl", trust.DefaultTokenLifetime, "how long the token counts")
	cmd.Flags().IntVar(&uses, "uses", 1, "how many nodes may join with it; 0: any number")
	addClientFlags(cmd)
	addJSONFlag(cmd)
	return cmd
}

func usesText(n int32) string {
	switch n {
	case 0:
		return "any number of nodes"
	case 1:
		return "one node"
	}
	return fmt.Sprintf("%d nodes", n)
}

func newTokenListCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the tokens and what they were used for",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			reply, err := askTrust(cmd, func(ctx context.Context, c pb.TrustClient) (*pb.TokensReply, error) {
				return c.Tokens(ctx, &pb.TokensRequest{})
			})
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				rows := []map[string]any{}
				for _, t := range reply.Tokens {
					rows = append(rows, tokenRow(t))
				}
				return printJSON(cmd.OutOrStdout(), map[string]any{"tokens": rows})
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "TOKEN\tEXPIRES\tFOR\tUSED\tLAST")
			for _, t := range reply.Tokens {
				fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", t.Id, time.Unix(t.ExpiresUnix, 0).Format(time.RFC3339), usesText(t.Uses), t.Used, t.Last)
			}
			return w.Flush()
		},
	}
	addClientFlags(cmd)
	addJSONFlag(cmd)
	return cmd
}

func tokenRow(t *pb.TokenInfo) map[string]any {
	return map[string]any{
		"id": t.Id, "made": time.Unix(t.MadeUnix, 0).UTC(), "expires": time.Unix(t.ExpiresUnix, 0).UTC(), "uses": t.Uses, "used": t.Used, "last": t.Last,
	}
}

func newTokenDeleteCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete ID",
		Short: "Make a token worthless; nodes that joined with it stay",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := askTrust(cmd, func(ctx context.Context, c pb.TrustClient) (*pb.DeleteTokenReply, error) {
				return c.DeleteToken(ctx, &pb.DeleteTokenRequest{Id: args[0]})
			})
			if err == nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "token %s is deleted\n", args[0])
			}
			return err
		},
	}
	addClientFlags(cmd)
	return cmd
}

// askTrust makes one call to the coordinator's trust service.
func askTrust[T any](cmd *cobra.Command, call func(context.Context, pb.TrustClient) (T, error)) (T, error) {
	reply, err := askService(cmd, pb.NewTrustClient, call)
	return reply, insecure(err)
}

// insecure explains that a coordinator without trust has no service for it.
func insecure(err error) error {
	if status.Code(err) == codes.Unimplemented {
		return errors.New("the coordinator was started with --insecure: it has neither tokens nor identities, and needs none")
	}
	return err
}
