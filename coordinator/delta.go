package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/checkpoints/adapter"
	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/durable"
	"github.com/torctrain/torc/model"
)

func newDeltaCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "delta", Short: "Add what runs learned to their base, take it away again, or join it"}
	cmd.AddCommand(newDeltaApplyCmd(), newDeltaRevertCmd(), newDeltaMergeCmd())
	return cmd
}

// undoName is the file in a model directory by which revert restores the base.
const undoName = "torc_undo.safetensors"

func newDeltaApplyCmd() *cobra.Command {
	var base, out string
	cmd := &cobra.Command{
		Use:   "apply FILE[=WEIGHT]... --base DIR -o DIR",
		Short: "Write the base with one or several deltas in it",
		Long: `Apply adds delta files (coordinator export --format delta) to the base that all of them belong to, each times its weight (1 unless
said otherwise), and writes a Hugging Face directory. Beside the model lies ` + undoName + `, by which delta revert restores the base.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := durable.CheckFree(out); err != nil {
				return err
			}
			w, err := model.Load(base)
			if err != nil {
				return err
			}
			deltas, err := readDeltas(args)
			if err != nil {
				return err
			}
			undo, err := adapter.Apply(w, deltas...)
			if err != nil {
				return err
			}
			if err := checkpoints.ExportHF(out, base, w, checkpoints.ExportOptions{}); err != nil {
				return err
			}
			if err := undo.Write(filepath.Join(out, undoName)); err != nil {
				return errors.Join(err, os.RemoveAll(out)) // which is ours: it was free
			}
			return report(cmd, map[string]any{"model": out, "deltas": len(deltas), "changed_weights": len(undo.Old)},
				"wrote %s: %s changed by %s", out, amount(len(undo.Old), "weight", "weights"), amount(len(deltas), "delta", "deltas"))
		},
	}
	cmd.Flags().StringVar(&base, "base", "", "Hugging Face directory of the base")
	cmd.Flags().StringVarP(&out, "output", "o", "", "directory to write; it must not exist or be empty")
	cmd.MarkFlagRequired("base")
	cmd.MarkFlagRequired("output")
	addJSONFlag(cmd)
	return cmd
}

func newDeltaRevertCmd() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "revert MODEL -o DIR",
		Short: "Write the base again, bit for bit, from a model that delta apply wrote",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			undo, err := adapter.ReadUndo(filepath.Join(args[0], undoName))
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%w: only a model that coordinator delta apply wrote can be reverted", err)
			}
			if err != nil {
				return err
			}
			w, err := model.Load(args[0])
			if err != nil {
				return err
			}
			if err := undo.Revert(w); err != nil {
				return err
			}
			if err := checkpoints.ExportHF(out, args[0], w, checkpoints.ExportOptions{}); err != nil {
				return err
			}
			return report(cmd, map[string]any{"model": out}, "wrote %s: the weights of the base", out)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "directory to write; it must not exist or be empty")
	cmd.MarkFlagRequired("output")
	addJSONFlag(cmd)
	return cmd
}

func newDeltaMergeCmd() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "merge FILE[=WEIGHT]... -o FILE",
		Short: "Make one delta of several of the same base",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			deltas, err := readDeltas(args)
			if err != nil {
				return err
			}
			joined, err := adapter.Join(deltas...)
			if err != nil {
				return err
			}
			if err := writeDelta(joined, out); err != nil {
				return err
			}
			return report(cmd, map[string]any{"delta": out, "deltas": len(deltas), "changed_weights": len(joined.Changes)},
				"wrote %s: %s, %s", out, amount(len(deltas), "delta", "deltas"), amount(len(joined.Changes), "weight", "weights"))
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "file to write; it must not exist")
	cmd.MarkFlagRequired("output")
	addJSONFlag(cmd)
	return cmd
}

// report says what a command did.
func report(cmd *cobra.Command, facts map[string]any, format string, args ...any) error {
	if wantsJSON(cmd) {
		return printJSON(cmd.OutOrStdout(), facts)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), format+"\n", args...)
	return err
}

// readDeltas reads the files that arguments FILE or FILE=WEIGHT name.
func readDeltas(args []string) ([]adapter.Weighted, error) {
	var deltas []adapter.Weighted
	for _, arg := range args {
		path, weight := arg, 1.0
		if i := strings.LastIndexByte(arg, '='); i >= 0 {
			v, err := strconv.ParseFloat(arg[i+1:], 64)
			if err != nil || !(v > -1e6 && v < 1e6) {
				return nil, config.Usagef("%s: the weight behind = must be a number", arg)
			}
			path, weight = arg[:i], v
		}
		if _, err := os.Stat(path); err != nil {
			return nil, config.Kind(config.ErrUsage, err)
		}
		d, err := adapter.Read(path)
		if err != nil {
			return nil, err
		}
		deltas = append(deltas, adapter.Weighted{Delta: d, Weight: weight})
	}
	return deltas, nil
}
