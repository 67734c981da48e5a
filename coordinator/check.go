package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/model/tokenizer"
	"github.com/torctrain/torc/sharding"
)

// checkedData is what data check --json prints: the samples themselves stand where the summary has their number.
type checkedData struct {
	sharding.Summary
	Samples    []checkedSample   `json:"samples"`
	Validation *sharding.Summary `json:"validation,omitempty"` // of a spec that has or holds out such samples
}

// checkedSample is a sample as the model sees it.
type checkedSample struct {
	Where   string  `json:"where"`
	IDs     []int32 `json:"ids"`
	Counted []bool  `json:"counted"`
}

// dataCheck is a call of data check.
type dataCheck struct {
	model   string
	show    int
	color   string
	columns map[string]string
	config  sharding.Config
}

func newDataCheckCmd() *cobra.Command {
	c := &dataCheck{config: sharding.Default()}
	cmd := &cobra.Command{
		Use:   "check (FILE… --model DIR | SPEC.yaml)",
		Short: "Show what a model will see of samples, and find what is wrong with them",
		Long: `Check turns every sample of JSONL or Parquet files, plain or packed by gzip or zstd, into tokens as a run does. It prints the first
samples with the part that is learned in colour, or between » and « where there is none, and the figures of all: lengths,
samples that are cut, that teach nothing, that occur twice, whose answer is empty. It names file and line of rows that are no
samples, and fails if there are any, unless --skip-bad or the spec allows them.

Of a spec it checks data.train and data.validation with the spec's own settings: columns, weights, what is held out, max_tokens.
Otherwise samples longer than --max-tokens are cut as in a run; 0, the default, cuts none.

Files may be URLs (https://…, hf://datasets/org/name/path), the model one of a hub (hf://org/name).`,
		Args: cobra.MinimumNArgs(1),
		RunE: c.run,
	}
	cmd.Flags().StringVar(&c.model, "model", "", "Hugging Face directory whose tokenizer to use (default: the spec's)")
	cmd.Flags().IntVar(&c.show, "show", 3, "how many samples to print")
	cmd.Flags().StringVar(&c.color, "color", "auto", "mark what is learned by colour: auto, always or never")
	cmd.Flags().IntVar(&c.config.MaxTokens, "max-tokens", 0, "cut longer samples, as data.max_tokens does in a run; 0 cuts none")
	cmd.Flags().StringToStringVar(&c.columns, "columns", nil, "keys of the file to use, as data.columns: question=problem,answer=solution")
	var skip bool
	cmd.Flags().BoolVar(&skip, "skip-bad", false, "pass over rows that are no samples, as data.bad_rows: skip does")
	cmd.PreRun = func(*cobra.Command, []string) {
		if skip {
			c.config.BadRows = "skip"
		}
	}
	addJSONFlag(cmd)
	return cmd
}

func (c *dataCheck) run(cmd *cobra.Command, args []string) error {
	if c.show < 0 || c.config.MaxTokens < 0 {
		return config.Usagef("--show and --max-tokens must not be negative")
	}
	if !slices.Contains([]string{"auto", "always", "never"}, c.color) {
		return config.Usagef("--color %q: use auto, always or never", c.color)
	}
	s, dir, err := c.spec(cmd, args)
	if err != nil {
		return err
	}
	from, err := newSources(cmd)
	if err != nil {
		return err
	}
	tok, err := c.tokenizer(cmd.Context(), from, s, dir)
	if err != nil {
		return err
	}
	found, err := from.findData(cmd.Context(), s)
	if err != nil {
		return err
	}
	train, valid, err := spec.Look(s, dir, found)
	if err != nil {
		return err
	}
	return c.report(cmd, tok, s.Data, train, valid)
}

// spec is the spec that is checked, or one made of the arguments.
func (c *dataCheck) spec(cmd *cobra.Command, args []string) (*spec.Spec, string, error) {
	if ext := filepath.Ext(args[0]); ext == ".yaml" || ext == ".yml" {
		if len(args) > 1 {
			return nil, "", config.Usagef("check one spec, or files of samples")
		}
		for _, name := range []string{"max-tokens", "columns", "skip-bad"} {
			if cmd.Flags().Changed(name) {
				return nil, "", config.Usagef("--%s: the spec says it already", name)
			}
		}
		text, err := os.ReadFile(args[0])
		if err != nil {
			return nil, "", config.Kind(config.ErrUsage, fmt.Errorf("read spec: %w", err))
		}
		s, err := spec.Parse(args[0], text, nil)
		return s, filepath.Dir(args[0]), config.Kind(config.ErrUsage, err)
	}
	if c.model == "" {
		return nil, "", config.Usagef("--model is missing: name the Hugging Face directory whose tokenizer to use")
	}
	if err := sharding.Columns(c.columns).Validate("--columns"); err != nil {
		return nil, "", config.Kind(config.ErrUsage, err)
	}
	s := spec.Default("")
	s.Data = c.config
	s.Data.Train, s.Data.Columns = args, c.columns
	return &s, ".", nil
}

// tokenizer is that of --model, else of the spec's model.
func (c *dataCheck) tokenizer(ctx context.Context, from *sources, s *spec.Spec, dir string) (*tokenizer.Tokenizer, error) {
	if c.model == "" {
		base, err := from.config(ctx, s.Model, dir)
		if err != nil {
			return nil, err
		}
		return tokenizer.Load(base)
	}
	base, err := from.config(ctx, c.model, "")
	if err != nil {
		return nil, err
	}
	return tokenizer.Load(base)
}

// report prints what there is to say of both datasets, and fails where a run would.
func (c *dataCheck) report(cmd *cobra.Command, tok *tokenizer.Tokenizer, d sharding.Config, train, valid *sharding.Dataset) error {
	out, allowed := cmd.OutOrStdout(), d.BadRows == "skip"
	d.BadRows = "skip" // a conversation that the template refuses is one of the bad rows
	encoder, paint := sharding.NewEncoder(tok, d), painter(out, c.color)
	all := checkedData{Samples: []checkedSample{}}
	left := c.show
	sum, err := sharding.Check(train, encoder, func(s sharding.Checked) bool {
		if wantsJSON(cmd) {
			all.Samples = append(all.Samples, checkedSample{s.Where, s.IDs, s.Counted})
		} else if left > 0 {
			left--
			fmt.Fprintf(out, "%s\n%s\n\n", s.Where, paint(s.Runs))
		}
		return true
	})
	if err != nil {
		return err
	}
	all.Summary = sum
	if valid != nil {
		held, err := sharding.Check(valid, encoder, nil)
		if err != nil {
			return err
		}
		all.Validation = &held
	}
	if wantsJSON(cmd) {
		err = printJSON(out, all)
	} else {
		printSummary(out, all.Summary)
		if all.Validation != nil {
			fmt.Fprintln(out, "\nvalidation:")
			printSummary(out, *all.Validation)
		}
	}
	for _, s := range []*sharding.Summary{&all.Summary, all.Validation} {
		if err == nil && s != nil && s.BadRows > 0 && !allowed {
			err = fmt.Errorf("%s: correct what is wrong, or say --skip-bad (in a spec data.bad_rows: skip); the first: %s",
				amount(s.BadRows, "row is no sample", "rows are no samples"), s.Places["bad_rows"][0])
		}
	}
	return err
}

// painter shows a sample's text with the learned parts in colour, or between » and «.
func painter(out io.Writer, color string) func([]sharding.Run) string {
	f, ok := out.(*os.File)
	open, shut := "»", "«"
	if terminal := ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"; color == "always" || color == "auto" && terminal {
		open, shut = "\x1b[1;32m", "\x1b[0m"
	}
	return func(runs []sharding.Run) string {
		var b strings.Builder
		for _, r := range runs {
			if r.Counted {
				b.WriteString(open + visible(r.Text) + shut)
			} else {
				b.WriteString(visible(r.Text))
			}
		}
		return b.String()
	}
}

func printSummary(w io.Writer, s sharding.Summary) {
	fmt.Fprintf(w, "%s, %s, %d of them learned; the longest sample has %d\n", amount(s.Samples, "sample", "samples"), amount(s.Tokens, "token", "tokens"), s.Counted, s.Longest)
	fmt.Fprintf(w, "tokens of a sample: shortest %d, median %d, 90 %% up to %d, 99 %% up to %d\n", s.Lengths.Least, s.Lengths.Median, s.Lengths.P90, s.Lengths.P99)
	for _, f := range []struct {
		n              int
		kind, one, all string
	}{
		{s.Cut, "cut", "sample is cut", "samples are cut"},
		{s.Idle, "idle", "sample teaches nothing: no learned token is left", "samples teach nothing: no learned token is left"},
		{s.Duplicates, "duplicates", "sample has the tokens of one before", "samples have the tokens of one before"},
		{s.Empty, "empty", "answer is empty", "answers are empty"},
		{s.BadRows, "bad_rows", "row is no sample", "rows are no samples"},
	} {
		if f.n == 0 {
			continue
		}
		fmt.Fprintf(w, "%s\n", amount(f.n, f.one, f.all))
		for _, place := range s.Places[f.kind] {
			fmt.Fprintf(w, "  %s\n", visible(place))
		}
		if more := f.n - len(s.Places[f.kind]); more > 0 {
			fmt.Fprintf(w, "  and %d more\n", more)
		}
	}
}
