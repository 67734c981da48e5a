package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/model"
)

func newExportCmd() *cobra.Command {
	var out, dtype, format, maxFile string
	var state *which
	cmd := &cobra.Command{
		Use:   "export RUN -o DIR",
		Short: "Write a run's model as a Hugging Face directory, or what it learned as an adapter",
		Long: `Export writes the base's configuration and tokenizer with the trained weights, and a README.md that says what they were made of: run,
digest, spec, and the hash of every file. transformers opens the directory as any other.

With --checkpoint a checkpoint is exported in place of the result, also while the run goes on.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var options checkpoints.ExportOptions
			if dtype != "" {
				d, err := model.ParseDType(dtype)
				if err != nil {
					return config.Kind(config.ErrUsage, fmt.Errorf("--dtype: %w", err))
				}
				options.DType = &d
			}
			if maxFile != "" {
				var n config.Bytes
				if err := n.UnmarshalText([]byte(maxFile)); err != nil || n == 0 {
					return config.Usagef("--max-file %q: use a size above 0, for example 2GB", maxFile)
				}
				options.MaxFileBytes = int64(n)
			}
			r, err := state.open(cmd, args[0])
			if err != nil {
				return err
			}
			defer r.close()
			if format != "hf" {
				if dtype != "" {
					return config.Usagef("--dtype %s: adapters have no other types than they have", dtype)
				}
				if maxFile != "" {
					return config.Usagef("--max-file %s: an adapter is one file", maxFile)
				}
				if err := r.exportAdapter(out, format); err != nil {
					return err
				}
				return report(cmd, map[string]any{"run": args[0], format: out, "step": r.state.Step},
					"wrote %s: what run %s changed up to step %d", out, args[0], r.state.Step)
			}
			w, err := r.weights()
			if err != nil {
				return err
			}
			if options.Card, err = r.card(args[0], options.DType); err != nil {
				return err
			}
			if err := checkpoints.ExportHF(out, r.base, w, options); err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd.OutOrStdout(), map[string]any{"run": args[0], "model": out, "step": r.state.Step})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "wrote %s: run %s at step %d\n", out, args[0], r.state.Step)
			return err
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "directory to write; it must not exist or be empty")
	cmd.Flags().StringVar(&format, "format", "hf", "what to write: "+exportFormats)
	cmd.Flags().StringVar(&dtype, "dtype", "", "type of the written weights: bf16, fp16 or fp32 (default: the base's)")
	cmd.Flags().StringVar(&maxFile, "max-file", "", "cut the weights into files of at most so many bytes, for example 2GB (default: 5GB)")
	state = addStateFlags(cmd)
	cmd.MarkFlagRequired("output")
	addJSONFlag(cmd)
	return cmd
}
