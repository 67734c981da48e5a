package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/model"
)

func newExportCmd() *cobra.Command {
	var out, dtype string
	cmd := &cobra.Command{
		Use:   "export RUN -o DIR",
		Short: "Write a run's model as a Hugging Face directory",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var options checkpoints.ExportOptions
			if dtype != "" {
				d, err := model.ParseDType(dtype)
				if err != nil {
					return config.Kind(config.ErrUsage, fmt.Errorf("--dtype: %w", err))
				}
				options.DType = &d
			}
			settings, err := config.Load(cmd.Flags(), "coordinator")
			if err != nil {
				return config.Kind(config.ErrUsage, err)
			}
			r, err := openResult(settings.Home, args[0])
			if err != nil {
				return err
			}
			defer r.close()
			w, err := r.weights()
			if err != nil {
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
	cmd.Flags().StringVar(&dtype, "dtype", "", "type of the written weights: bf16, fp16 or fp32 (default: the base's)")
	cmd.MarkFlagRequired("output")
	addJSONFlag(cmd)
	return cmd
}
