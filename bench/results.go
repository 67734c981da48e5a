package main

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Result is one figure of one benchmark.
type Result struct {
	Name   string  `json:"name"`   // package, benchmark and sub-benchmark: "allreduce.Codec/pack"
	Value  float64 `json:"value"`  // median
	Unit   string  `json:"unit"`   // as the benchmark reports it: ns/op, MB/s, …
	N      int     `json:"n"`      // measurements
	Spread float64 `json:"spread"` // (largest − smallest) ÷ median
	// Against names the yardstick among the siblings, Ratio is Value ÷ its value. Empty and 0 where there is none.
	Against string  `json:"against,omitempty"`
	Ratio   float64 `json:"ratio,omitempty"`
}

// yardstick begins the last element of a sub-benchmark that its siblings are compared with.
const yardstick = "vs-"

// series are the measurements of one figure.
type series struct {
	name, unit string
	values     []float64
}

// cores is the suffix by which go test says GOMAXPROCS.
var cores = regexp.MustCompile(`-\d+$`)

// parse reads the output of go test -bench and gathers each figure's measurements in the order of first appearance.
func parse(r io.Reader) ([]series, error) {
	var all []series
	at := map[[2]string]int{}
	pkg := ""
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if p, ok := strings.CutPrefix(lines.Text(), "pkg: "); ok {
			pkg = strings.TrimPrefix(p, "github.com/torctrain/torc/")
			continue
		}
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := pkg + "." + cores.ReplaceAllString(strings.TrimPrefix(fields[0], "Benchmark"), "")
		for i := 2; i+1 < len(fields); i += 2 { // fields[1] counts iterations; then value and unit take turns
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("read figure of %s: %w", name, err)
			}
			key := [2]string{name, fields[i+1]}
			if _, ok := at[key]; !ok {
				at[key] = len(all)
				all = append(all, series{name: name, unit: fields[i+1]})
			}
			s := &all[at[key]]
			s.values = append(s.values, v)
		}
	}
	return all, lines.Err()
}

// summarise turns measurements into medians and compares siblings with their yardstick.
func summarise(all []series) []Result {
	sticks := map[[2]string]Result{} // by parent and unit
	results := make([]Result, len(all))
	for i, s := range all {
		v := slices.Sorted(slices.Values(s.values))
		mid := (v[(len(v)-1)/2] + v[len(v)/2]) / 2
		results[i] = Result{Name: s.name, Value: mid, Unit: s.unit, N: len(v)}
		if mid != 0 {
			results[i].Spread = (v[len(v)-1] - v[0]) / mid
		}
		if parent, last := split(s.name); strings.HasPrefix(last, yardstick) {
			sticks[[2]string{parent, s.unit}] = results[i]
		}
	}
	for i, r := range results {
		parent, last := split(r.Name)
		if stick, ok := sticks[[2]string{parent, r.Unit}]; ok && !strings.HasPrefix(last, yardstick) && stick.Value != 0 {
			results[i].Against, results[i].Ratio = stick.Name, r.Value/stick.Value
		}
	}
	return results
}

// split cuts a benchmark's name before its last element.
func split(name string) (parent, last string) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", name
	}
	return name[:i], name[i+1:]
}

// table prints results for people.
func table(w io.Writer, results []Result) {
	for _, r := range results {
		fmt.Fprintf(w, "%-60s %14.4g %-10s ±%.0f %%", r.Name, r.Value, r.Unit, 50*r.Spread)
		if r.Against != "" {
			_, last := split(r.Against)
			fmt.Fprintf(w, "   %.2f × %s", r.Ratio, strings.TrimPrefix(last, yardstick))
		}
		fmt.Fprintln(w)
	}
}
