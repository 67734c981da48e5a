package main

import (
	"context"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
	"github.com/torctrain/torc/model/tokenizer"
)

func newGenerateCmd() *cobra.Command {
	var modelDir, prompt string
	var maxNew int
	var state *which
	cmd := &cobra.Command{
		Use:   "generate (--model DIR | RUN) --prompt TEXT",
		Short: "Continue a text greedily",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkMaxNew(maxNew); err != nil {
				return err
			}
			dir, w, closeModel, err := openModel(cmd, args, modelDir, state)
			if err != nil {
				return err
			}
			defer closeModel()
			tok, err := tokenizer.Load(dir)
			if err != nil {
				return err
			}
			k, err := cpu.New(runtime.NumCPU(), cpu.Auto)
			if err != nil {
				return err
			}
			defer k.Close()
			ids := tok.Encode(prompt, true)
			if len(ids) == 0 {
				return fmt.Errorf("prompt %q has no tokens: give some text with --prompt", prompt)
			}
			ids = model.Greedy(model.New(w, k).Decoder(len(ids)+maxNew), ids, maxNew, orInterrupted(cmd.Context(), isEnd(tok)))
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			text := tok.Decode(ids, true)
			if wantsJSON(cmd) {
				return printJSON(cmd.OutOrStdout(), map[string]any{"ids": ids, "text": text})
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
			return err
		},
	}
	cmd.Flags().StringVar(&modelDir, "model", "", "Hugging Face directory of the model")
	cmd.Flags().StringVar(&prompt, "prompt", "", "text to continue")
	cmd.Flags().IntVar(&maxNew, "max-new", 32, "most tokens to add")
	state = addStateFlags(cmd)
	cmd.MarkFlagRequired("prompt")
	addJSONFlag(cmd)
	return cmd
}

// maxNewTokens bounds --max-new: memory is set aside for all of them.
const maxNewTokens = 1 << 20

func checkMaxNew(n int) error {
	if n < 1 || n > maxNewTokens {
		return config.Usagef("--max-new %d: use 1 to %d", n, maxNewTokens)
	}
	return nil
}

// orInterrupted ends a generation also when ctx does.
func orInterrupted(ctx context.Context, end func(int32) bool) func(int32) bool {
	return func(id int32) bool { return ctx.Err() != nil || end(id) }
}
