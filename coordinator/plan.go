package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
)

func newPlanCmd() *cobra.Command {
	var members int
	var set []string
	cmd := &cobra.Command{
		Use:   "plan SPEC",
		Short: "Show what a spec would train, and what it takes in memory and on the network",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if members < 1 {
				return config.Usagef("--members %d: must be at least 1", members)
			}
			text, err := os.ReadFile(args[0])
			if err != nil {
				return config.Kind(config.ErrUsage, fmt.Errorf("read spec: %w", err))
			}
			s, err := spec.Parse(args[0], text, set)
			if err != nil {
				return config.Kind(config.ErrUsage, err)
			}
			from, err := newSources(cmd)
			if err != nil {
				return err
			}
			base, err := from.config(cmd.Context(), s.Model, filepath.Dir(args[0]))
			if err != nil {
				return config.Kind(config.ErrUsage, fmt.Errorf("%s: %w", args[0], err))
			}
			if s.Model, err = filepath.Abs(base); err != nil {
				return err
			}
			p, err := makePlan(s, filepath.Dir(args[0]), members)
			if err != nil {
				return config.Kind(config.ErrUsage, err)
			}
			if wantsJSON(cmd) {
				return printJSON(cmd.OutOrStdout(), p)
			}
			return p.print(cmd.OutOrStdout(), s)
		},
	}
	cmd.Flags().IntVar(&members, "members", 2, "number of members for the figures that depend on it")
	cmd.Flags().StringArrayVar(&set, "set", nil, "override a field of the spec: --set method.rank=8 (repeatable)")
	addJSONFlag(cmd)
	return cmd
}

// plan is what plan --json prints.
type plan struct {
	Method       methods.Config   `json:"method"`  // with its budget spent
	Trained      int              `json:"trained"` // K
	Parameters   int              `json:"parameters"`
	Weights      []planWeight     `json:"weights"`
	Members      int              `json:"members"`
	BytesPerStep int64            `json:"bytes_per_step"` // sent by each member, unpacked
	MemoryBytes  map[string]int64 `json:"memory_bytes"`   // per member
	Efficiency   []float64        `json:"efficiency"`     // [n−1]: share of n equally fast members' time that lanes fill
}

type planWeight struct {
	Name    string `json:"name"`
	Shape   [2]int `json:"shape"`
	Trained int    `json:"trained"`
}

func makePlan(s *spec.Spec, dir string, members int) (*plan, error) {
	base := s.Model
	if !filepath.IsAbs(base) {
		base = filepath.Join(dir, base)
	}
	c, err := model.ReadConfig(base)
	if err != nil {
		return nil, err
	}
	params := c.Params()
	counts, err := methods.Trained(s.Method, params)
	if err != nil {
		return nil, err
	}
	spent, err := s.Method.Spend(params)
	if err != nil {
		return nil, err
	}
	p := &plan{Method: spent, Members: members}
	for _, w := range params {
		p.Parameters += w.Len()
	}
	for _, t := range counts {
		p.Weights = append(p.Weights, planWeight{t.Name, [2]int{t.Rows, t.Cols}, t.Trained})
		p.Trained += t.Trained
	}
	p.BytesPerStep = 2 * int64(p.Trained) * int64(members-1) / int64(members) * 4
	if 4*p.Trained <= s.Reduce.DirectBytes { // small sums are exchanged directly, everyone with everyone
		p.BytesPerStep = 4 * int64(p.Trained) * int64(members-1)
	}
	p.MemoryBytes = spec.Memory(s, c, p.Trained)
	for n := 1; n <= min(s.Batch.Lanes, 16); n++ {
		slowest := (s.Batch.Lanes + n - 1) / n
		p.Efficiency = append(p.Efficiency, float64(s.Batch.Lanes)/float64(n*slowest))
	}
	return p, nil
}

func (p *plan) print(w io.Writer, s *spec.Spec) error {
	fmt.Fprintf(w, "%s trains %d of %d parameters (%.2f %%)", s.Method.Name, p.Trained, p.Parameters, 100*float64(p.Trained)/float64(p.Parameters))
	if s.Method.Budget != "" {
		fmt.Fprintf(w, ": a budget of %s makes %s", s.Method.Budget, p.knobs())
	}
	fmt.Fprint(w, "\n\n")
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "LAYERS\tWEIGHT\tSHAPE\tTRAINED OF EACH\tSHARE")
	for _, g := range alike(p.Weights) {
		x := g.planWeight
		fmt.Fprintf(t, "%s\t%s\t%d×%d\t%d\t%.2f %%\n", g.layers(), x.Name, x.Shape[0], x.Shape[1], x.Trained, 100*float64(x.Trained)/float64(x.Shape[0]*x.Shape[1]))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nNetwork   each of %d members sends %s per step before packing\n", p.Members, bytesText(p.BytesPerStep))
	fmt.Fprintf(w, "Memory    each member needs about %s:", bytesText(p.MemoryBytes["total"]))
	var kinds []string
	for _, kind := range []string{"weights", "activations", "scratch", "logits", "gradient", "state", "sum", "checkpoint", "runtime"} {
		if n := p.MemoryBytes[kind]; n > 0 {
			kinds = append(kinds, kind+" "+bytesText(n))
		}
	}
	fmt.Fprintf(w, " %s\n", strings.Join(kinds, ", "))
	fmt.Fprintf(w, "Lanes     %d with %s each; n equally fast members are busy for this part of a step:\n", s.Batch.Lanes, amount(s.Batch.Micro, "sample", "samples"))
	t = tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	for first := 0; first < len(p.Efficiency); first += 8 {
		members, busy := "", ""
		for n, e := range p.Efficiency[first:min(first+8, len(p.Efficiency))] {
			members += fmt.Sprintf("%d\t", first+n+1)
			busy += fmt.Sprintf("%.0f %%\t", 100*e)
		}
		fmt.Fprintf(t, "          n\t%s\n          \t%s\n", members, busy)
	}
	return t.Flush()
}

// likeWeights are weights of several layers that have name, shape and trained numbers in common.
type likeWeights struct {
	planWeight
	first, last int // layers; −1 for a weight that belongs to none
}

func (g likeWeights) layers() string {
	switch {
	case g.first < 0:
		return ""
	case g.first == g.last:
		return strconv.Itoa(g.first)
	}
	return fmt.Sprintf("%d–%d", g.first, g.last)
}

// layered is the name of a weight of a layer: the layer's number and what it is.
var layered = regexp.MustCompile(`^model\.layers\.(\d+)\.(.+)$`)

// alike puts weights of neighbouring layers together, in the order of the model.
func alike(weights []planWeight) []likeWeights {
	var all []likeWeights
	latest := map[planWeight]int{} // where the group of such a weight stands
	for _, x := range weights {
		m := layered.FindStringSubmatch(x.Name)
		if m == nil {
			all = append(all, likeWeights{x, -1, -1})
			continue
		}
		layer, err := strconv.Atoi(m[1])
		if err != nil {
			panic("coordinator: plan: layer of " + x.Name + ": " + err.Error())
		}
		x.Name = strings.TrimSuffix(m[2], ".weight")
		at, seen := latest[x]
		switch {
		case seen && layer == all[at].last+1:
			all[at].last = layer
		case seen && layer == all[at].first-1:
			all[at].first = layer
		default:
			latest[x] = len(all)
			all = append(all, likeWeights{x, layer, layer})
		}
	}
	return all
}

// knobs are the fields that a budget became.
func (p *plan) knobs() string {
	var all []string
	for _, f := range []struct {
		name  string
		value float64
	}{
		{"rank", float64(p.Method.Rank)},
		{"density", p.Method.Density},
		{"filter", float64(p.Method.Filter)},
		{"o", p.Method.O},
		{"down", p.Method.Down},
		{"v", p.Method.V},
		{"up", p.Method.Up},
	} {
		if f.value > 0 {
			all = append(all, fmt.Sprintf("%s %.5g", f.name, f.value))
		}
	}
	return strings.Join(all, ", ")
}
