package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/hub"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
	"github.com/torctrain/torc/model/tokenizer"
	"github.com/torctrain/torc/sharding"
)

func newEvalCmd() *cobra.Command {
	var modelDir, data string
	var columns map[string]string
	var state *which
	var answers bool
	var maxNew int
	cmd := &cobra.Command{
		Use:   "eval (--model DIR | RUN) --data FILE",
		Short: "Measure a model's loss on a file of samples, and with --generate how many answers it gets right",
		Long: `Eval measures the mean loss per counted token; it never truncates.

With --generate it also answers each sample greedily. An answer is right when what follows the last #### (or else the whole
answer), trimmed, equals the sample's.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkMaxNew(maxNew); err != nil {
				return err
			}
			dir, w, closeModel, err := openModel(cmd, args, modelDir, state)
			if err != nil {
				return err
			}
			defer closeModel()
			examples, tok, err := readExamples(cmd, dir, data, columns)
			if err != nil {
				return err
			}
			for _, x := range examples {
				if answers && x.PromptTokens == 0 {
					return fmt.Errorf("%s: the sample has no prompt to answer: leave out --generate, or use samples of another shape", x.Where)
				}
			}
			e, err := evaluate(cmd.Context(), w, tok, examples, answers, maxNew)
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd.OutOrStdout(), e)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "loss %.4f over %s of %s\n", e.Loss, amount(e.Tokens, "token", "tokens"), amount(len(e.Samples), "sample", "samples"))
			if e.ExactMatch != nil {
				fmt.Fprintf(cmd.OutOrStdout(), "exact match %.1f %%\n", 100**e.ExactMatch)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&modelDir, "model", "", "Hugging Face directory of the model")
	cmd.Flags().StringVar(&data, "data", "", "file of samples, JSONL or Parquet, or its URL")
	cmd.Flags().StringToStringVar(&columns, "columns", nil, "keys of the file to use, as data.columns: question=problem,answer=solution")
	cmd.Flags().BoolVar(&answers, "generate", false, "answer each sample and count exact matches")
	cmd.Flags().IntVar(&maxNew, "max-new", 256, "with --generate: longest answer in tokens")
	state = addStateFlags(cmd)
	cmd.MarkFlagRequired("data")
	addJSONFlag(cmd)
	return cmd
}

// evaluation is what eval --json prints.
type evaluation struct {
	Loss       float64      `json:"loss"` // mean per counted token
	Tokens     int          `json:"tokens"`
	ExactMatch *float64     `json:"exact_match"` // fraction; null without --generate
	Samples    []sampleLoss `json:"samples"`
}

type sampleLoss struct {
	Loss   float64 `json:"loss"` // sum over its counted tokens
	Tokens int     `json:"tokens"`
	right  bool
}

// openModel opens the model that a command names by --model or by a run.
func openModel(cmd *cobra.Command, args []string, dir string, state *which) (_ string, _ *model.Weights, closeModel func(), _ error) {
	if (dir == "") == (len(args) == 0) {
		return "", nil, nil, config.Usagef("name a model with --model DIR or a RUN, one of them")
	}
	if dir != "" {
		if *state != (which{}) {
			return "", nil, nil, config.Usagef("--checkpoint, --mirror and --base go with a RUN, not with --model")
		}
		from, err := newSources(cmd)
		if err != nil {
			return "", nil, nil, err
		}
		if dir, err = from.model(cmd.Context(), dir, ""); err != nil {
			return "", nil, nil, err
		}
		w, err := model.Load(dir)
		return dir, w, func() {}, err
	}
	r, err := state.open(cmd, args[0])
	if err != nil {
		return "", nil, nil, err
	}
	w, err := r.weights()
	if err != nil {
		r.close()
		return "", nil, nil, err
	}
	return r.base, w, r.close, nil
}

// readExamples encodes every sample of a file, whole.
func readExamples(cmd *cobra.Command, modelDir, data string, columns sharding.Columns) ([]sharding.Example, *tokenizer.Tokenizer, error) {
	tok, err := tokenizer.Load(modelDir)
	if err != nil {
		return nil, nil, err
	}
	if err := columns.Validate("--columns"); err != nil {
		return nil, nil, config.Kind(config.ErrUsage, err)
	}
	paths := []string{data}
	if hub.Remote(data) {
		from, err := newSources(cmd)
		if err != nil {
			return nil, nil, err
		}
		if paths, err = from.hub.Data(cmd.Context(), data, ""); err != nil {
			return nil, nil, err
		}
	}
	var files []sharding.File
	for _, path := range paths {
		files = append(files, sharding.File{Path: path, Name: path, Columns: columns})
	}
	ds, err := sharding.IndexFiles(files)
	if err != nil {
		return nil, nil, err
	}
	encoder := sharding.NewEncoder(tok, sharding.Config{})
	examples := make([]sharding.Example, ds.Len())
	for i := range examples {
		raw, where, err := ds.Sample(sharding.Sample(i))
		if err != nil {
			return nil, nil, err
		}
		if examples[i], err = encoder.Encode(raw, where); err != nil {
			return nil, nil, err
		}
	}
	return examples, tok, nil
}

// evaluate measures each example on its own, several at a time; the result does not depend on how many.
func evaluate(ctx context.Context, w *model.Weights, tok *tokenizer.Tokenizer, examples []sharding.Example, answers bool, maxNew int) (*evaluation, error) {
	e := &evaluation{Samples: make([]sampleLoss, len(examples))}
	workers := min(runtime.NumCPU(), max(1, len(examples)))
	g, ctx := errgroup.WithContext(ctx)
	for first := range workers {
		g.Go(func() error {
			k, err := cpu.New(1, cpu.Auto)
			if err != nil {
				return err
			}
			defer k.Close()
			m := model.New(w, k)
			var mine []int
			for i := first; i < len(examples) && ctx.Err() == nil; i += workers {
				e.Samples[i] = evaluateOne(m, examples[i])
				mine = append(mine, i)
			}
			if answers {
				answer(ctx, m, tok, examples, mine, maxNew, e.Samples)
			}
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	right := 0
	for _, s := range e.Samples {
		e.Loss += s.Loss
		e.Tokens += s.Tokens
		if s.right {
			right++
		}
	}
	if e.Tokens > 0 {
		e.Loss /= float64(e.Tokens)
	}
	if answers {
		share := float64(right) / float64(max(1, len(examples)))
		e.ExactMatch = &share
	}
	return e, nil
}

func evaluateOne(m *model.Llama, x sharding.Example) sampleLoss {
	if len(x.Tokens) < 2 {
		return sampleLoss{}
	}
	var b model.Batch
	b.Add(x.Tokens, x.Counted)
	loss, counted := m.Loss(b, nil)
	return sampleLoss{Loss: loss, Tokens: counted}
}

// together is how many prompts a worker answers at a time: each weight is read and widened once for all of them.
const together = 8

// answer lets the model answer the prompts of those examples greedily and notes which answers are right.
func answer(ctx context.Context, m *model.Llama, tok *tokenizer.Tokenizer, examples []sharding.Example, which []int, maxNew int, samples []sampleLoss) {
	prompts := make([][]int32, len(which))
	for i, x := range which {
		prompts[i] = examples[x].Tokens[:examples[x].PromptTokens]
	}
	for i, ids := range model.GreedyAll(m, prompts, maxNew, together, orInterrupted(ctx, isEnd(tok))) {
		if ctx.Err() != nil {
			return
		}
		x := which[i]
		samples[x].right = sharding.Final(tok.Decode(ids, true)) == sharding.Final(examples[x].Answer)
	}
}

// isEnd says whether an id ends a generation.
func isEnd(tok *tokenizer.Tokenizer) func(int32) bool {
	stops := tok.Stops()
	return func(id int32) bool { return slices.Contains(stops, id) }
}
