package main

import (
	"fmt"
	"io"
	"regexp"
	"runtime"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
)

func newBenchCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "bench", Short: "Measure what methods cost and choose on this machine"}
	cmd.AddCommand(newBenchSelectCmd(), newBenchStepsCmd())
	return cmd
}

func newBenchSelectCmd() *cobra.Command {
	c := methods.Default("lift")
	var match string
	var seed uint64
	var exact bool
	cmd := &cobra.Command{
		Use:   "select MODEL",
		Short: "Choose what LIFT would train of a model, and compare with an exact decomposition",
		Long: `Select chooses the trained elements of every projection of a Hugging Face directory as a run would, on one thread for each
processor, and compares each set with that of a decomposition in float64, which takes seconds for each large weight:

  OVERLAP    share of the set that is in the exact one (1 where the spectrum has structure)
  MAGNITUDE  share of the exact set that the largest |W| would have found`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.Density > 0 && !cmd.Flags().Changed("rank") {
				c.Rank = 0
			}
			if err := c.Validate(); err != nil {
				return config.Kind(config.ErrUsage, err)
			}
			re, err := regexp.Compile(match)
			if err != nil {
				return config.Usagef("--weights: %w", err)
			}
			w, err := model.Load(args[0])
			if err != nil {
				return err
			}
			b, err := benchSelect(w, c, seed, re, exact)
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd.OutOrStdout(), b)
			}
			return b.print(cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&match, "weights", "", "choose only weights whose name matches this regular expression")
	f.Uint64Var(&seed, "seed", 42, "seed of the run")
	f.BoolVar(&exact, "exact", true, "compare with the exact decomposition")
	f.IntVar(&c.Rank, "rank", c.Rank, "method.rank")
	f.Float64Var(&c.Density, "density", 0, "method.density")
	f.IntVar(&c.Filter, "filter", 0, "method.filter")
	f.StringVar(&c.Mode, "mode", "", "method.mode")
	f.StringVar(&c.Directions, "directions", "", "method.directions")
	f.StringVar(&c.Block, "block", "", "method.block")
	f.StringVar(&c.Modules, "modules", c.Modules, "method.modules")
	addJSONFlag(cmd)
	return cmd
}

// selection is what bench select --json prints.
type selection struct {
	Weights []selectedWeight `json:"weights"`
	// Sums over the weights: seconds of one processor; overlaps are means by number of elements.
	Seconds      float64  `json:"seconds"`
	ExactSeconds float64  `json:"exact_seconds,omitempty"`
	Selected     int      `json:"selected"`
	Overlap      *float64 `json:"overlap,omitempty"`
	Magnitude    *float64 `json:"magnitude,omitempty"`
}

type selectedWeight struct {
	Name         string   `json:"name"`
	Shape        [2]int   `json:"shape"`
	Selected     int      `json:"selected"`
	Seconds      float64  `json:"seconds"`
	ExactSeconds float64  `json:"exact_seconds,omitempty"`
	Overlap      *float64 `json:"overlap,omitempty"`
	Magnitude    *float64 `json:"magnitude,omitempty"`
}

func benchSelect(w *model.Weights, c methods.Config, seed uint64, match *regexp.Regexp, exact bool) (*selection, error) {
	m, err := methods.New(c, w, seed)
	if err != nil {
		return nil, err
	}
	refresher := m.(methods.Refresher)
	var todo []methods.Selected
	for _, s := range refresher.Selected() {
		if match.MatchString(w.Params[s.Weight].Name) {
			todo = append(todo, s)
		}
	}
	if len(todo) == 0 {
		return nil, config.Usagef("--weights %s: matches no weight that lift trains", match)
	}
	b := &selection{Weights: make([]selectedWeight, len(todo))}
	var next atomic.Int64
	var g errgroup.Group
	for range runtime.NumCPU() {
		g.Go(func() error {
			k, err := cpu.New(1, cpu.Auto)
			if err != nil {
				return err
			}
			defer k.Close()
			for i := int(next.Add(1)) - 1; i < len(todo); i = int(next.Add(1)) - 1 {
				if b.Weights[i], err = selectOne(k, refresher, c, todo[i], w.Params[todo[i].Weight], exact); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	b.sum(exact)
	return b, nil
}

func selectOne(k model.Kernels, r methods.Refresher, c methods.Config, s methods.Selected, p model.Param, exact bool) (selectedWeight, error) {
	x := selectedWeight{Name: p.Name, Shape: [2]int{p.Rows, p.Cols}, Selected: s.Count}
	start := time.Now()
	set, err := r.Select(k, s.Weight, p.Matrix)
	if err != nil {
		return x, err
	}
	x.Seconds = time.Since(start).Seconds()
	if !exact {
		return x, nil
	}
	start = time.Now()
	truth, err := methods.ExactSet(c, p.Matrix, s.Count)
	if err != nil {
		return x, fmt.Errorf("decompose %s: %w", p.Name, err)
	}
	x.ExactSeconds = time.Since(start).Seconds()
	plain, err := methods.LargestSet(c, p.Matrix, s.Count)
	if err != nil {
		return x, err
	}
	overlap, magnitude := methods.Overlap(set, truth), methods.Overlap(plain, truth)
	x.Overlap, x.Magnitude = &overlap, &magnitude
	return x, nil
}

func (b *selection) sum(exact bool) {
	overlap, magnitude := 0.0, 0.0
	for _, x := range b.Weights {
		b.Seconds, b.ExactSeconds, b.Selected = b.Seconds+x.Seconds, b.ExactSeconds+x.ExactSeconds, b.Selected+x.Selected
		if exact {
			overlap, magnitude = overlap+*x.Overlap*float64(x.Selected), magnitude+*x.Magnitude*float64(x.Selected)
		}
	}
	if exact {
		overlap, magnitude = overlap/float64(b.Selected), magnitude/float64(b.Selected)
		b.Overlap, b.Magnitude = &overlap, &magnitude
	}
}

func (b *selection) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "WEIGHT\tSHAPE\tSELECTED\tMS\tEXACT MS\tOVERLAP\tMAGNITUDE\t")
	row := func(name, shape string, selected int, seconds, exactSeconds float64, overlap, magnitude *float64) {
		fmt.Fprintf(t, "%s\t%s\t%d\t%.1f\t", name, shape, selected, 1000*seconds)
		if overlap != nil {
			fmt.Fprintf(t, "%.0f\t%.4f\t%.3f\t", 1000*exactSeconds, *overlap, *magnitude)
		}
		fmt.Fprintln(t)
	}
	for _, x := range b.Weights {
		row(x.Name, fmt.Sprintf("%d×%d", x.Shape[0], x.Shape[1]), x.Selected, x.Seconds, x.ExactSeconds, x.Overlap, x.Magnitude)
	}
	row("all", "", b.Selected, b.Seconds, b.ExactSeconds, b.Overlap, b.Magnitude)
	return t.Flush()
}
