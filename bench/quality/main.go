package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// options are the flags.
type options struct {
	out, report, binary, base, methods, cores string
	steps, seeds, rates, budget               int
	done                                      bool
}

func main() {
	var o options
	flag.StringVar(&o.out, "o", "build/quality", "directory of data, homes and results")
	flag.StringVar(&o.report, "report", "", "directory for quality.md and its plots (default: that of -o)")
	flag.StringVar(&o.binary, "coordinator", "bin/coordinator", "the program, with node beside it")
	flag.StringVar(&o.base, "base", "examples/base", "Hugging Face directory to start from")
	flag.StringVar(&o.methods, "methods", "", "what to compare, by commas (default: everything)")
	flag.StringVar(&o.cores, "cores", "", "processors to use, by commas (default: all)")
	flag.IntVar(&o.steps, "steps", 150, "steps of each run, of 32 samples")
	flag.IntVar(&o.seeds, "seeds", 5, "seeds at the best rate; the sweep has the first")
	flag.IntVar(&o.rates, "rates", 3, "rates to begin the sweep with: 1 to 3; with 3 it goes on while the best is at the edge")
	flag.IntVar(&o.budget, "budget", 58368, "trained values: K of LoRA of rank 4 on the base")
	flag.BoolVar(&o.done, "done", false, "run nothing more: report what is done")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "quality:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	all, err := pick(contenders(max(1, o.steps/3)), o.methods)
	if err != nil {
		return err
	}
	cores, err := parseCores(o.cores)
	if err != nil {
		return err
	}
	if o.rates < 1 || o.rates > 3 || o.seeds < 1 || o.steps < 1 {
		return fmt.Errorf("-rates is 1 to 3, -seeds and -steps at least 1")
	}
	l, err := openLab(o.out, o.binary, o.base)
	if err != nil {
		return err
	}
	c := comparison{o: o, lab: l, all: all, cores: cores}
	r, err := c.make()
	if err != nil {
		return err
	}
	return r.write(cmp.Or(o.report, o.out))
}

func parseCores(text string) (cores []int, err error) {
	if text == "" {
		for c := range runtime.NumCPU() {
			cores = append(cores, c)
		}
		return cores, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		c, err := strconv.Atoi(part)
		if err != nil {
			return nil, fmt.Errorf("-cores: %w", err)
		}
		cores = append(cores, c)
	}
	return cores, nil
}
