package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/spec"
)

func newVerifyCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify RUN",
		Short: "Repeat an ended run with one member on this machine and compare the digests",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			settings, err := config.Load(cmd.Flags(), "coordinator")
			if err != nil {
				return config.Kind(config.ErrUsage, err)
			}
			r, err := openResult(settings.Home, args[0])
			if err != nil {
				return err
			}
			if r.state.Step < uint64(r.spec.Steps) {
				return fmt.Errorf("run %s was stopped after step %d of %d: verify repeats finished runs only", args[0], r.state.Step, r.spec.Steps)
			}
			want := r.state.Digest()
			again := *r.spec
			again.Name = args[0] + "-verify"
			again.Members = spec.Members{Min: 1} // who takes part does not show
			home, err := homeBeside(settings.Home)
			if err != nil {
				return err
			}
			info, err := localRun(cmd, home, &again, 1)
			same := err == nil && bytes.Equal(info.Digest, want[:])
			if err != nil || same || info.State != pb.RunState_RUN_FINISHED { // else it is wanted as evidence
				err = errors.Join(err, os.RemoveAll(home))
			}
			if err != nil {
				return err
			}
			switch info.State {
			case pb.RunState_RUN_STOPPED:
				return context.Canceled
			case pb.RunState_RUN_FAILED:
				return fmt.Errorf("repeat run %s: failed at step %d: %s", args[0], info.Step, info.Why)
			}
			if wantsJSON(cmd) {
				if err := printJSON(cmd.OutOrStdout(), map[string]any{
					"run": args[0], "again": info.Run, "digest": fmt.Sprintf("%x", want), "digest_again": fmt.Sprintf("%x", info.Digest), "equal": same,
				}); err != nil {
					return err
				}
			} else if same {
				fmt.Fprintf(cmd.OutOrStdout(), "digest %x equals that of the undisturbed one-member run\n", want)
			}
			if !same {
				return fmt.Errorf("digest %x differs from the one-member run's %x: please report, with what is in %s and %s",
					want, info.Digest, filepath.Join(settings.Home, "runs", args[0]), filepath.Join(home, "runs", info.Run))
			}
			return nil
		},
	}
	addJSONFlag(cmd)
	return cmd
}

// homeBeside makes a home with the same cache, in which a run can be repeated while a coordinator serves from the first.
func homeBeside(home string) (string, error) {
	cache, err := filepath.Abs(filepath.Join(home, "cache"))
	if err != nil {
		return "", err
	}
	beside, err := os.MkdirTemp(home, "verify-")
	if err != nil {
		return "", err
	}
	if err := os.Symlink(cache, filepath.Join(beside, "cache")); err != nil {
		return "", errors.Join(err, os.RemoveAll(beside))
	}
	return beside, nil
}
