package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// report is the comparison for people.
type report struct {
	o    options
	base [2]float64 // exact match of target and source before
	rows []row
}

// row is a method at its best rate.
type row struct {
	contender
	rate float64
	runs []outcome
}

func (r *report) add(c contender, rate float64, all []outcome) {
	x := row{contender: c, rate: rate}
	for _, o := range all {
		if o.Method == c.Name && o.Rate == rate {
			x.runs = append(x.runs, o)
		}
	}
	r.rows = append(r.rows, x)
}

// of is mean and spread (largest − smallest) of a figure over the runs of a row.
func (x row) of(figure func(outcome) float64) (mean, spread float64) {
	low, high := math.Inf(1), math.Inf(-1)
	for _, o := range x.runs {
		v := figure(o)
		mean += v / float64(len(x.runs))
		low, high = min(low, v), max(high, v)
	}
	return mean, high - low
}

func (r *report) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"quality.md": r.table(), "quality-curves.svg": r.curves(), "quality-bars.svg": r.bars()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	fmt.Print("\n" + r.table())
	return nil
}

// table is Markdown.
func (r *report) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Base %s: target %.1f %%, source %.1f %%. %d steps of 32 samples, %d rates swept with seed 1, up to %d seeds at the best, budget %d.\n",
		r.o.base, 100*r.base[0], 100*r.base[1], r.o.steps, r.o.rates, r.o.seeds, r.o.budget)
	b.WriteString("Target is exact match on held-out problems of three steps, source on what the base knew; tokens per second of one processor, from launch to end; ± is half of largest less smallest.\n\n")
	b.WriteString("| method | trained | rate | seeds | target % | loss | source % | tokens/s | peak MB |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, x := range r.rows {
		cell := func(scale float64, digits int, figure func(outcome) float64) string {
			mean, spread := x.of(figure)
			if len(x.runs) < 2 {
				return fmt.Sprintf("%.*f", digits, scale*mean)
			}
			return fmt.Sprintf("%.*f ± %.*f", digits, scale*mean, digits, scale*spread/2)
		}
		fmt.Fprintf(&b, "| %s | %d | %g | %d | %s | %s | %s | %s | %s |\n", x.Name, x.runs[0].Trained, x.rate, len(x.runs),
			cell(100, 1, func(o outcome) float64 { return o.Target }), cell(1, 4, func(o outcome) float64 { return o.TargetLoss }),
			cell(100, 1, func(o outcome) float64 { return o.Source }), cell(1, 0, func(o outcome) float64 { return o.PerCPU }),
			cell(1e-6, 0, func(o outcome) float64 { return float64(o.PeakBytes) }))
	}
	return b.String()
}

// Colours of the methods, as many as there are contenders.
var colours = []string{"#000000", "#d62728", "#ff9896", "#ff7f0e", "#8c564b", "#2ca02c", "#1f77b4", "#aec7e8", "#9467bd", "#17becf", "#98df8a"}

const width, height, left, top = 720, 360, 60, 20

// window is over how many steps a curve is smoothed.
const window = 10

// smooth are the means of losses over windows, each with the step at its middle.
func smooth(losses []float64) (points [][2]float64) {
	for i := 0; i+window <= len(losses); i++ {
		sum := 0.0
		for _, x := range losses[i : i+window] {
			sum += x
		}
		points = append(points, [2]float64{float64(i) + (window+1)/2., sum / window})
	}
	return points
}

// curves plots the loss of the first run of each method, on a scale of powers of ten.
func (r *report) curves() string {
	low, high := math.Inf(1), math.Inf(-1)
	for _, x := range r.rows {
		for _, p := range smooth(x.runs[0].Losses) {
			low, high = min(low, math.Log10(max(p[1], 1e-4))), max(high, math.Log10(max(p[1], 1e-4)))
		}
	}
	if high <= low {
		low, high = low-1, low+1
	}
	px := func(step float64) float64 { return left + step/float64(r.o.steps)*(width-left-140) }
	py := func(loss float64) float64 {
		return top + (high-math.Log10(max(loss, 1e-4)))/(high-low)*(height-top-40)
	}
	var b strings.Builder
	header(&b, "loss, mean of ten steps, seed 1, at each method's best rate")
	for e := math.Ceil(low*2) / 2; e <= high; e += 0.5 {
		y := py(math.Pow(10, e))
		fmt.Fprintf(&b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%.2g</text>`+"\n", left, y, width-140, y, left-6, y+4, math.Pow(10, e))
	}
	for i, x := range r.rows {
		var points []string
		for _, p := range smooth(x.runs[0].Losses) {
			points = append(points, fmt.Sprintf("%.1f,%.1f", px(p[0]), py(p[1])))
		}
		c := colours[i%len(colours)]
		fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="1.5" points="%s"/><text x="%d" y="%d" fill="%s">%s</text>`+"\n", c, strings.Join(points, " "), width-130, top+14+18*i, c, x.Name)
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d">0</text><text x="%d" y="%d" text-anchor="end">step %d</text>`+"\n</svg>\n", left, height-18, width-140, height-18, r.o.steps)
	return b.String()
}

// bars plots target and source exact match, with the spread over the seeds.
func (r *report) bars() string {
	var b strings.Builder
	header(&b, "exact match: target (dark) and what the base knew (light); lines reach from the worst to the best seed")
	scale := float64(height-top-50) / 100
	for v := 0; v <= 100; v += 25 {
		y := float64(height-30) - float64(v)*scale
		fmt.Fprintf(&b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%d %%</text>`+"\n", left, y, width-10, y, left-6, y+4, v)
	}
	slot := float64(width-left-10) / float64(len(r.rows))
	for i, x := range r.rows {
		for k, figure := range []func(outcome) float64{func(o outcome) float64 { return o.Target }, func(o outcome) float64 { return o.Source }} {
			mean, _ := x.of(figure)
			low, high := math.Inf(1), math.Inf(-1)
			for _, o := range x.runs {
				low, high = min(low, figure(o)), max(high, figure(o))
			}
			at, w := left+slot*float64(i)+4+float64(k)*(slot/2-4), slot/2-5
			y := func(v float64) float64 { return float64(height-30) - 100*v*scale }
			fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s" fill-opacity="%.1f"/><line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#000"/>`+"\n",
				at, y(mean), w, 100*mean*scale, colours[i%len(colours)], 0.9-0.55*float64(k), at+w/2, y(low), at+w/2, y(high))
		}
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle" font-size="8">%s</text>`+"\n", left+slot*(float64(i)+0.5), height-16, x.Name)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func header(b *strings.Builder, title string) {
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n"+
		`<rect width="100%%" height="100%%" fill="#fff"/><text x="%d" y="13" font-weight="bold">%s</text>`+"\n", width, height, left, title)
}
