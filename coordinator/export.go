package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/durable"
	"github.com/torctrain/torc/model"
)

// exporting is a call of export.
type exporting struct {
	out, format, dtype, maxFile string
	state                       *which
}

func newExportCmd() *cobra.Command {
	x := &exporting{}
	cmd := &cobra.Command{
		Use:   "export RUN -o DIR",
		Short: "Write a run's model as a Hugging Face directory, or what it learned as an adapter",
		Long: `Export writes the base's configuration and tokenizer with the trained weights, and a README.md that says what they were made of: run,
digest, spec, and the hash of every file. transformers opens the directory as any other.

With --checkpoint a checkpoint is exported in place of the result, also while the run goes on.`,
		Args: cobra.ExactArgs(1),
		RunE: x.run,
	}
	cmd.Flags().StringVarP(&x.out, "output", "o", "", "directory to write; it must not exist or be empty")
	cmd.Flags().StringVar(&x.format, "format", "hf", "what to write: "+exportFormats)
	cmd.Flags().StringVar(&x.dtype, "dtype", "", "type of the written weights: bf16, fp16 or fp32 (default: the base's)")
	cmd.Flags().StringVar(&x.maxFile, "max-file", "", "cut the weights into files of at most so many bytes, for example 2GB (default: 5GB)")
	x.state = addStateFlags(cmd)
	cmd.MarkFlagRequired("output")
	addJSONFlag(cmd)
	return cmd
}

func (x *exporting) run(cmd *cobra.Command, args []string) error {
	options, err := x.options()
	if err != nil {
		return err
	}
	r, err := x.state.open(cmd, args[0])
	if err != nil {
		return err
	}
	defer r.close()
	if x.format != "hf" {
		if err := r.exportAdapter(x.out, x.format); err != nil {
			return err
		}
		return report(cmd, map[string]any{"run": args[0], x.format: x.out, "step": r.state.Step},
			"wrote %s: what run %s changed up to step %d", x.out, args[0], r.state.Step)
	}
	w, err := r.weights()
	if err != nil {
		return err
	}
	if options.Card, err = r.card(args[0], options.DType); err != nil {
		return err
	}
	if err := checkpoints.ExportHF(x.out, r.base, w, options); err != nil {
		return err
	}
	return report(cmd, map[string]any{"run": args[0], "model": x.out, "step": r.state.Step}, "wrote %s: run %s at step %d", x.out, args[0], r.state.Step)
}

// options reads the flags and looks where the result is to go, before a State is read and weights are made.
func (x *exporting) options() (o checkpoints.ExportOptions, err error) {
	if err := checkFormat(x.format); err != nil {
		return o, err
	}
	switch adapter := x.format != "hf"; {
	case adapter && x.dtype != "":
		return o, config.Usagef("--dtype %s: adapters have no other types than they have", x.dtype)
	case adapter && x.maxFile != "":
		return o, config.Usagef("--max-file %s: an adapter is one file", x.maxFile)
	case x.format == "delta":
		return o, mustBeNew(x.out)
	}
	if x.dtype != "" {
		d, err := model.ParseDType(x.dtype)
		if err != nil {
			return o, config.Kind(config.ErrUsage, fmt.Errorf("--dtype: %w", err))
		}
		o.DType = &d
	}
	if x.maxFile != "" {
		var n config.Bytes
		if err := n.UnmarshalText([]byte(x.maxFile)); err != nil || n == 0 {
			return o, config.Usagef("--max-file %q: use a size above 0, for example 2GB", x.maxFile)
		}
		o.MaxFileBytes = int64(n)
	}
	return o, durable.CheckFree(x.out)
}
