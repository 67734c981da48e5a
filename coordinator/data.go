package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/drills"
	"github.com/torctrain/torc/model/tokenizer"
	"github.com/torctrain/torc/sharding"
)

func newDataCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "data", Short: "Look at training data, or make some"}
	cmd.AddCommand(newDataCheckCmd(), newDataDrillsCmd())
	return cmd
}

// checkedData is what data check --json prints: the samples themselves stand where the summary has their number.
type checkedData struct {
	sharding.Summary
	Samples []checkedSample `json:"samples"`
}

// checkedSample is a sample as the model sees it.
type checkedSample struct {
	Where   string  `json:"where"`
	IDs     []int32 `json:"ids"`
	Counted []bool  `json:"counted"`
}

func newDataCheckCmd() *cobra.Command {
	var modelDir string
	var show int
	c := sharding.Default()
	cmd := &cobra.Command{
		Use:   "check FILE --model DIR",
		Short: "Show what a model will see of a file of samples, and find what is wrong with it",
		Long: `Check turns every sample of a JSONL file into tokens as a run does. It prints the first samples with the part that is learned
between » and «, the figures of the whole file, and stops at a line it cannot read, naming it.

Samples longer than --max-tokens are cut as in a run; 0, the default, cuts none.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if show < 0 || c.MaxTokens < 0 {
				return config.Usagef("--show and --max-tokens must not be negative")
			}
			tok, err := tokenizer.Load(modelDir)
			if err != nil {
				return err
			}
			ds, err := sharding.Index(args)
			if err != nil {
				return err
			}
			all := checkedData{Samples: []checkedSample{}}
			out := cmd.OutOrStdout()
			all.Summary, err = sharding.Check(ds, sharding.NewEncoder(tok, c), func(s sharding.Checked) bool {
				if wantsJSON(cmd) {
					all.Samples = append(all.Samples, checkedSample{s.Where, s.IDs, s.Counted})
				} else if show > 0 {
					show--
					fmt.Fprintf(out, "%s\n%s\n\n", s.Where, marked(s.Runs))
				}
				return true
			})
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(out, all)
			}
			return printSummary(out, all.Summary)
		},
	}
	cmd.Flags().StringVar(&modelDir, "model", "", "Hugging Face directory whose tokenizer to use")
	cmd.Flags().IntVar(&show, "show", 3, "how many samples to print")
	cmd.Flags().IntVar(&c.MaxTokens, "max-tokens", 0, "cut longer samples, as data.max_tokens does in a run; 0 cuts none")
	cmd.MarkFlagRequired("model")
	addJSONFlag(cmd)
	return cmd
}

// marked is a sample's text with the learned parts between » and «.
func marked(runs []sharding.Run) string {
	var b strings.Builder
	for _, r := range runs {
		if r.Counted {
			b.WriteString("»" + r.Text + "«")
		} else {
			b.WriteString(r.Text)
		}
	}
	return b.String()
}

func printSummary(w io.Writer, s sharding.Summary) error {
	_, err := fmt.Fprintf(w, "%d samples, %d tokens, %d of them learned; the longest sample has %d\n", s.Samples, s.Tokens, s.Counted, s.Longest)
	if err == nil && s.Cut > 0 {
		_, err = fmt.Fprintf(w, "%d samples are cut\n", s.Cut)
	}
	if err == nil && s.Idle > 0 {
		_, err = fmt.Fprintf(w, "%d samples teach nothing: no learned token is left\n", s.Idle)
	}
	return err
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
			if err := writeWhole(out, write); err != nil || !wantsJSON(cmd) {
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

// writeWhole writes a file that appears complete or not at all.
func writeWhole(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".part-*")
	if err != nil {
		return err
	}
	err = write(f)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
