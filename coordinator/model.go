package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/drills"
	"github.com/torctrain/torc/internal/durable"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/tokenizer"
)

func newModelCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "model", Short: "Make models"}
	cmd.AddCommand(newModelNewCmd())
	return cmd
}

// fresh says what model a person asked for.
type fresh struct {
	preset, out, text, dtype string
	seed                     uint64
	spread                   float64
}

func newModelNewCmd() *cobra.Command {
	var f fresh
	cmd := &cobra.Command{
		Use:   "new --preset NAME -o DIR",
		Short: "Write a model of a well-known shape with random weights",
		Long: `New writes a Hugging Face directory: the shape of a well-known model, random weights, and a byte-level BPE tokenizer trained on
the spot. Numbers are spelled digit by digit. The tokenizer stops growing when no pair of symbols occurs twice; ids from there
up to the shape's vocabulary never occur. The bytes are a function of the flags and the text.

Presets: ` + strings.Join(model.Presets(), ", "),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			made, err := f.write()
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd.OutOrStdout(), made)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "wrote %s: %s, %d parameters in %s, %d of %d token ids in use\n",
				made.Model, made.Preset, made.Parameters, f.dtype, made.Tokens, made.Vocabulary)
			return err
		},
	}
	cmd.Flags().StringVar(&f.preset, "preset", "", "shape of the model")
	cmd.Flags().StringVarP(&f.out, "output", "o", "", "directory to write; it must not exist or be empty")
	cmd.Flags().StringVar(&f.text, "text", "", "text file to train the tokenizer on (default: generated problems)")
	cmd.Flags().Uint64Var(&f.seed, "seed", 1, "seed of the weights and of the generated text")
	cmd.Flags().StringVar(&f.dtype, "dtype", "bf16", "type of the weights: bf16, fp16 or fp32")
	cmd.Flags().Float64Var(&f.spread, "spread", 0, "standard deviation of the weights (default: the shape's, 0.02)")
	cmd.MarkFlagRequired("preset")
	cmd.MarkFlagRequired("output")
	addJSONFlag(cmd)
	return cmd
}

// madeModel is what model new --json prints.
type madeModel struct {
	Model      string `json:"model"`
	Preset     string `json:"preset"`
	Parameters int64  `json:"parameters"`
	Vocabulary int    `json:"vocabulary"`
	Tokens     int    `json:"tokens"`
}

// endOfText is the one special token of a fresh tokenizer; its id is 0.
const endOfText = "<|endoftext|>"

// textSamples is how many generated problems a tokenizer is trained on by default.
const textSamples = 4000

// write makes the model in a scratch directory and has it exported as any other.
func (f fresh) write() (madeModel, error) {
	var none madeModel
	dtype, err := model.ParseDType(f.dtype)
	if err != nil {
		return none, config.Kind(config.ErrUsage, fmt.Errorf("--dtype: %w", err))
	}
	c, err := f.shape(dtype)
	if err != nil {
		return none, config.Kind(config.ErrUsage, err)
	}
	if f.spread < 0 {
		return none, config.Usagef("--spread %v: must be above 0", f.spread)
	}
	if err := durable.CheckFree(f.out); err != nil {
		return none, err
	}
	text, err := f.source()
	if err != nil {
		return none, err
	}
	defer text.Close()
	bpe, err := tokenizer.Trainer{Vocab: c.Vocab, Specials: []string{endOfText}, Digits: true}.Train(text)
	if err != nil {
		return none, err
	}
	base, err := os.MkdirTemp("", "torc-new-*")
	if err != nil {
		return none, err
	}
	defer os.RemoveAll(base)
	for name, content := range map[string][]byte{
		"config.json": c.JSON(), "tokenizer.json": bpe, "tokenizer_config.json": []byte(tokenizerConfig),
	} {
		if err := os.WriteFile(filepath.Join(base, name), content, 0o644); err != nil {
			return none, err
		}
	}
	tok, err := tokenizer.Load(base)
	if err != nil {
		return none, err
	}
	w := model.NewRandom(c, dtype, f.seed)
	if err := checkpoints.ExportHF(f.out, base, w, checkpoints.ExportOptions{}); err != nil {
		return none, err
	}
	made := madeModel{Model: f.out, Preset: f.preset, Vocabulary: c.Vocab, Tokens: tok.VocabSize()}
	for _, p := range w.Params {
		made.Parameters += int64(p.Len())
	}
	return made, nil
}

// shape is the preset's config.json with the ids of the fresh tokenizer.
func (f fresh) shape(d model.DType) (*model.Config, error) {
	c, err := model.Preset(f.preset, d)
	if err != nil {
		return nil, err
	}
	fields := map[string]any{"eos_token_id": 0}
	if f.spread > 0 {
		fields["initializer_range"] = f.spread
	}
	return c.With(fields)
}

// source is the text for the tokenizer.
func (f fresh) source() (io.ReadCloser, error) {
	if f.text == "" {
		var b bytes.Buffer
		err := drills.Write(&b, drills.Text, textSamples, f.seed)
		return io.NopCloser(&b), err
	}
	file, err := os.Open(f.text)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, config.Usagef("--text %s: there is no such file", f.text)
	}
	return file, err
}

// tokenizerConfig says which special token ends a text, for transformers as for torc.
const tokenizerConfig = `{
  "tokenizer_class": "PreTrainedTokenizerFast",
  "bos_token": null,
  "eos_token": "` + endOfText + `",
  "pad_token": "` + endOfText + `",
  "clean_up_tokenization_spaces": false
}
`
