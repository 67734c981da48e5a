package main

import (
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/drills"
	"github.com/torctrain/torc/internal/durable"
)

func newDataCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "data", Short: "Look at training data, or make some"}
	cmd.AddCommand(newDataCheckCmd(), newDataDrillsCmd())
	return cmd
}

func newDataDrillsCmd() *cobra.Command {
	var task, out string
	var count int
	var seed uint64
	var known []string
	for _, t := range drills.Tasks {
		known = append(known, string(t))
	}
	cmd := &cobra.Command{
		Use:   "drills --task TASK --count N [-o FILE]",
		Short: "Write generated arithmetic problems with worked solutions",
		Long: `Drills writes the data of the demo: the same bytes for the same flags, on any machine.

Tasks: pretrain (for a base model), train and test (worded problems of three steps; none of the test's is in the others),
text (plain, for a tokenizer).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(known, task) {
				return config.Usagef("--task %q: choose one of %s", task, strings.Join(known, ", "))
			}
			if count < 1 {
				return config.Usagef("--count %d: must be at least 1", count)
			}
			write := func(w io.Writer) error { return drills.Write(w, drills.Task(task), count, seed) }
			if out == "" && wantsJSON(cmd) {
				return config.Usagef("--json prints what was written where: name the file with -o")
			}
			if out == "" {
				return write(cmd.OutOrStdout())
			}
			if err := durable.Write(out, 0o644, write); err != nil || !wantsJSON(cmd) {
				return err
			}
			info, err := os.Stat(out)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), map[string]any{"task": task, "count": count, "file": out, "bytes": info.Size()})
		},
	}
	cmd.Flags().StringVar(&task, "task", "", "what to write: "+strings.Join(known, ", "))
	cmd.Flags().IntVar(&count, "count", 0, "how many samples")
	cmd.Flags().Uint64Var(&seed, "seed", 1, "another seed gives other samples")
	cmd.Flags().StringVarP(&out, "output", "o", "", "file to write, replacing it (default: standard output)")
	cmd.MarkFlagRequired("task")
	cmd.MarkFlagRequired("count")
	addJSONFlag(cmd)
	return cmd
}
