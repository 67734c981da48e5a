package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/methods"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
)

// stepBench says what bench steps measures.
type stepBench struct {
	preset                  string
	names                   []string
	tokens, rounds, threads int
	rank                    int
}

func newBenchStepsCmd() *cobra.Command {
	b := stepBench{}
	cmd := &cobra.Command{
		Use:   "steps",
		Short: "Compare a training step by each method with one of full fine-tuning",
		Long: `Steps makes one lane's step (gradient, rounding, mean, clip, update) of a model with random weights by each method in turn, as
often as --rounds says, and prints medians of tokens/s, of their ratio to the step of full in the same round, the same ratio by processor time,
and the memory that model, state and buffers hold. Only ratios are worth quoting from a machine that does other work too.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.tokens < 2 || b.rounds < 1 || b.threads < 1 || b.rank < 1 {
				return config.Usagef("--tokens, --rounds, --threads and --rank must be above 0, and tokens above 1")
			}
			r, err := b.run()
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd.OutOrStdout(), r)
			}
			return r.print(cmd.OutOrStdout(), b)
		},
	}
	f := cmd.Flags()
	f.StringVar(&b.preset, "preset", "smollm-135m", "shape of the model: "+strings.Join(model.Presets(), ", "))
	f.StringSliceVar(&b.names, "methods", []string{"full", "full-linear", "lift", "lift-4x4", "s2ft", "sorsa", "pissa", "lora"},
		"what to compare; full is always there. full-linear has no embeddings, lift-4x4 chooses blocks")
	f.IntVar(&b.tokens, "tokens", 512, "length of the sequence")
	f.IntVar(&b.rounds, "rounds", 5, "measurements of each")
	f.IntVar(&b.threads, "threads", runtime.NumCPU(), "threads of the kernels")
	f.IntVar(&b.rank, "rank", 16, "rank of lift, sorsa, pissa and lora")
	addJSONFlag(cmd)
	return cmd
}

// stepResults is what bench steps --json prints.
type stepResults struct {
	Kernels string       `json:"kernels"`
	Rows    []stepResult `json:"methods"`
}

type stepResult struct {
	Method       string  `json:"method"`
	Trained      int     `json:"trained"`
	TokensPerSec float64 `json:"tokens_per_second"` // median
	Ratio        float64 `json:"ratio"`             // median over the rounds of the time of full ÷ that of this method
	Low          float64 `json:"ratio_low"`
	High         float64 `json:"ratio_high"`
	HeldBytes    int64   `json:"held_bytes"`
	Held         float64 `json:"held_ratio"` // held_bytes ÷ those of full
	// Processor is the median over the rounds of the processor time of full ÷ that of this method, which other work on the
	// machine disturbs less; 0 where it is not known.
	Processor float64 `json:"processor_ratio"`
}

// method is the configuration behind a name of --methods.
func (b stepBench) method(name string) (methods.Config, error) {
	base, variant, _ := strings.Cut(name, "-")
	c := methods.Default(base)
	if c.Rank > 0 {
		c.Rank = b.rank
	}
	switch {
	case name == "full-linear":
		c.Modules = "linear"
	case base == "lift" && variant != "":
		c.Block = variant
	case variant != "":
		return c, fmt.Errorf("--methods %s: there is no such variant", name)
	}
	return c, c.Validate()
}

func (b stepBench) run() (*stepResults, error) {
	k, err := cpu.New(b.threads, cpu.Auto)
	if err != nil {
		return nil, err
	}
	defer k.Close()
	if i := slices.Index(b.names, "full"); i != 0 {
		b.names = append([]string{"full"}, slices.DeleteFunc(slices.Clone(b.names), func(n string) bool { return n == "full" })...)
	}
	r := &stepResults{Kernels: k.Name()}
	var steppers []*stepper
	for _, name := range b.names {
		c, err := b.method(name)
		if err != nil {
			return nil, config.Kind(config.ErrUsage, err)
		}
		before := held()
		s, err := newStepper(b, c, k)
		if err != nil {
			return nil, err
		}
		if err := s.step(1); err != nil { // grows the buffers
			return nil, err
		}
		steppers = append(steppers, s)
		r.Rows = append(r.Rows, stepResult{Method: name, Trained: s.method.Len(), HeldBytes: held() - before})
	}
	times, processor := make([][]float64, len(steppers)), make([][]float64, len(steppers)) // by method and round
	for round := range b.rounds {
		for i, s := range steppers {
			start, busy := time.Now(), processorSeconds()
			if err := s.step(uint64(round) + 2); err != nil {
				return nil, err
			}
			times[i], processor[i] = append(times[i], time.Since(start).Seconds()), append(processor[i], processorSeconds()-busy)
		}
	}
	for i := range r.Rows {
		ratios, works := make([]float64, b.rounds), make([]float64, b.rounds)
		for round := range ratios {
			ratios[round] = times[0][round] / times[i][round]
			if processor[i][round] > 0 {
				works[round] = processor[0][round] / processor[i][round]
			}
		}
		x := &r.Rows[i]
		x.Processor = median(works)
		x.TokensPerSec, x.Ratio = float64(b.tokens)/median(times[i]), median(ratios)
		x.Low, x.High = slices.Min(ratios), slices.Max(ratios)
		x.Held = float64(x.HeldBytes) / float64(r.Rows[0].HeldBytes)
	}
	return r, nil
}

// held is the memory in use.
func held() int64 {
	runtime.GC()
	runtime.GC() // what the first one's finalizers let go
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// stepper makes steps of one method with one lane and no network: what a member does, as node/train has it.
type stepper struct {
	k       model.Kernels
	w       *model.Weights
	net     *model.Llama
	method  methods.Method
	batch   model.Batch
	opt     methods.Optimizer
	spans   map[model.WeightID][2]int // the part of θ of each weight
	order   []model.WeightID
	tensors map[model.WeightID][]methods.Tensor
	scales  map[int]int16 // by offset of the tensor
	own     []int32
	g       []float32 // of one weight
	theta   []float32
	m, v    []float32
	err     error // of the step under way
}

func newStepper(b stepBench, c methods.Config, k model.Kernels) (*stepper, error) {
	shape, err := model.Preset(b.preset, model.BF16)
	if err != nil {
		return nil, config.Kind(config.ErrUsage, err)
	}
	s := &stepper{
		k: k, w: model.NewRandom(shape, model.BF16, 1), opt: methods.DefaultOptimizer(c.Name),
		spans: map[model.WeightID][2]int{}, tensors: map[model.WeightID][]methods.Tensor{}, scales: map[int]int16{},
	}
	if s.method, err = methods.New(c, s.w, 1); err != nil {
		return nil, err
	}
	workers := make([]model.Kernels, b.threads)
	for i := range workers {
		one, err := cpu.New(1, cpu.Auto)
		if err != nil {
			return nil, err
		}
		defer one.Close()
		workers[i] = one
	}
	if err := methods.Prepare(s.method, workers, s.w); err != nil {
		return nil, err
	}
	n := s.method.Len()
	s.own, s.theta, s.m, s.v = make([]int32, n), s.method.Start(s.w), make([]float32, n), make([]float32, n)
	longest := 0
	for _, t := range s.method.Tensors() {
		span, seen := s.spans[t.Weight]
		if !seen {
			span[0] = t.Off
			s.order = append(s.order, t.Weight)
		}
		span[1] = t.Off + t.Len
		s.spans[t.Weight] = span
		s.tensors[t.Weight] = append(s.tensors[t.Weight], t)
		longest = max(longest, span[1]-span[0])
	}
	s.g = make([]float32, longest)
	if r, ok := s.method.(methods.Refresher); ok {
		var sets [][]uint32
		for _, x := range r.Selected() {
			set, err := r.Select(workers[0], x.Weight, s.w.Params[x.Weight].Matrix)
			if err != nil {
				return nil, err
			}
			sets = append(sets, set)
		}
		if err := r.Adopt(sets, s.w, s.theta, s.m, s.v); err != nil {
			return nil, err
		}
	}
	ids, counted := make([]int32, b.tokens), make([]bool, b.tokens)
	for i := range ids {
		ids[i], counted[i] = int32(i*7919%shape.Vocab), true
	}
	s.batch.Add(ids, counted)
	s.net = model.New(s.w, k)
	s.net.Train(s.method.Wants)
	return s, nil
}

// Outer and Whole make a stepper a model.GradSink.
func (s *stepper) Outer(id model.WeightID, o *model.Outer) {
	g := s.part(id)
	s.method.Pull(id, o, g)
	s.quantise(id, g)
}

// Whole takes the gradient of any other weight.
func (s *stepper) Whole(id model.WeightID, dw []float32) {
	g := s.part(id)
	s.method.PullWhole(id, dw, g)
	s.quantise(id, g)
}

func (s *stepper) part(id model.WeightID) []float32 {
	span := s.spans[id]
	return s.g[:span[1]-span[0]]
}

func (s *stepper) quantise(id model.WeightID, g []float32) {
	from := s.spans[id][0]
	for _, t := range s.tensors[id] {
		part := g[t.Off-from : t.Off-from+t.Len]
		e, known := s.scales[t.Off]
		if !known {
			largest := 0.0
			for _, x := range part {
				largest = max(largest, math.Abs(float64(x)))
			}
			_, exp := math.Frexp(largest)
			e = int16(24 - exp)
			s.scales[t.Off] = e
		}
		if _, finite := allreduce.Quantise(s.own[t.Off:t.Off+t.Len], part, e); !finite {
			s.err = errors.New("a gradient is not finite: use fewer rounds or another preset")
		}
	}
}

func (s *stepper) dequantise(id model.WeightID, counted int64) []float32 {
	g, from := s.part(id), s.spans[id][0]
	for _, t := range s.tensors[id] {
		allreduce.Dequantise(g[t.Off-from:t.Off-from+t.Len], s.own[t.Off:t.Off+t.Len], s.scales[t.Off], counted)
	}
	return g
}

// step is one step of one lane.
func (s *stepper) step(t uint64) error {
	clear(s.own)
	_, counted := s.net.Gradient(s.batch, s)
	if s.err != nil {
		return s.err
	}
	var norm methods.Norm
	for _, id := range s.order {
		norm.Add(s.dequantise(id, int64(counted)))
	}
	factor := methods.ClipFactor(norm.Value(), s.opt.Clip)
	adamw := s.opt.Step(t, s.opt.LR)
	for _, id := range s.order {
		g := s.dequantise(id, int64(counted))
		if factor != 1 {
			for i, x := range g {
				g[i] = x * factor
			}
		}
		a, b := s.spans[id][0], s.spans[id][1]
		s.method.Penalty(id, s.theta[a:b], g)
		s.k.AdamW(s.theta[a:b], s.m[a:b], s.v[a:b], g, adamw)
	}
	s.method.Push(s.theta, s.w)
	return nil
}

func (r *stepResults) print(w io.Writer, b stepBench) error {
	fmt.Fprintf(w, "%s, one lane of %d tokens, %d rounds, %d threads, kernels %s\n", b.preset, b.tokens, b.rounds, b.threads, r.Kernels)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "METHOD\tTRAINED\tTOKENS/S\t× FULL\tLOW–HIGH\tBY CPU\tHELD\tOF FULL\t")
	for _, x := range r.Rows {
		fmt.Fprintf(t, "%s\t%d\t%.0f\t%.2f\t%.2f–%.2f\t%.2f\t%s\t%.2f\t\n", x.Method, x.Trained, x.TokensPerSec, x.Ratio, x.Low, x.High, x.Processor, bytesText(x.HeldBytes), x.Held)
	}
	return t.Flush()
}
