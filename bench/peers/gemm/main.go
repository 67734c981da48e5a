// Command gemm compares the matrix products of model/cpu with OpenBLAS at the shapes of our models: both do the same
// product in turn, round after round, in one run on one machine, and the ratio of their best and of their median rates is
// printed. Absolute rates on a shared machine mean little.
//
//	cc -O2 -o build/openblas bench/peers/openblas.c -lopenblas
//	OPENBLAS_CORETYPE=Haswell go run ./bench/peers/gemm -peer build/openblas
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
)

// shapes are tokens, input and output features: the 135M shape and its head, then the demo's model.
var shapes = []struct{ T, n, m int }{
	{512, 576, 576},
	{512, 576, 192},
	{512, 576, 1536},
	{512, 1536, 576},
	{128, 576, 1536},
	{128, 1536, 576},
	{64, 576, 576},
	{64, 576, 1536},
	{64, 576, 49152},
	{128, 128, 384},
	{128, 384, 128},
	{256, 128, 512},
	{256, 512, 128},
}

// operation is one of the three products as torc and as BLAS see it.
type operation struct {
	name  string
	dtype model.DType
	ours  func(k *cpu.Kernels, w *model.Matrix, x, y []float32, T int)
	line  func(T, n, m int) string // "M N K transA transB add"
}

var operations = []operation{
	{name: "Linear", ours: linear, line: lineLinear},
	{name: "Linear bf16", dtype: model.BF16, ours: linear, line: lineLinear},
	{name: "LinearGradX", ours: gradX, line: lineGradX},
	{name: "LinearGradX bf16", dtype: model.BF16, ours: gradX, line: lineGradX},
	{name: "GradDense", ours: gradDense, line: func(T, n, m int) string { return fmt.Sprint(m, n, T, 1, 0, 1) }},
}

func lineLinear(T, n, m int) string { return fmt.Sprint(T, m, n, 0, 1, 0) }
func lineGradX(T, n, m int) string  { return fmt.Sprint(T, n, m, 0, 0, 1) }

func linear(k *cpu.Kernels, w *model.Matrix, x, y []float32, T int)    { k.Linear(y, x, w, T) }
func gradX(k *cpu.Kernels, w *model.Matrix, x, y []float32, T int)     { k.LinearGradX(x, y, w, T) }
func gradDense(k *cpu.Kernels, w *model.Matrix, x, y []float32, T int) { k.GradDense(w.F32, y, x, T) }

func main() {
	peer := flag.String("peer", "build/openblas", "program made from bench/peers/openblas.c")
	rounds := flag.Int("rounds", 7, "how often the two take turns at each shape")
	only := flag.String("only", "", "run operations whose name contains this")
	flag.Parse()
	if err := run(*peer, *rounds, *only); err != nil {
		fmt.Fprintln(os.Stderr, "gemm:", err)
		os.Exit(1)
	}
}

func run(peer string, rounds int, only string) error {
	p, err := start(peer)
	if err != nil {
		return err
	}
	defer p.stop()
	fmt.Printf("%-17s %5s %5s %6s  %7s %15s %15s %7s %7s\n", "", "T", "n", "m", "threads", "ours best GF/s", "peer best GF/s", "best", "median")
	for _, threads := range []int{1, 2} {
		k, err := cpu.New(threads, cpu.Auto)
		if err != nil {
			return err
		}
		defer k.Close()
		for _, op := range operations {
			if !strings.Contains(op.name, only) {
				continue
			}
			for _, s := range shapes {
				if err := compare(k, p, op, s.T, s.n, s.m, rounds); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func compare(k *cpu.Kernels, p *process, op operation, T, n, m, rounds int) error {
	flops := 2 * float64(T) * float64(n) * float64(m)
	calls := max(2, int(3e9/flops)) // about 30 ms of one core
	w, x, y := model.NewMatrix(op.dtype, m, n), wave(T*n), wave(T*m)
	for i, v := range wave(m * n) {
		w.Set(i, v)
	}
	var ours, theirs []float64
	for range rounds {
		for range calls {
			t0 := time.Now()
			op.ours(k, w, x, y, T)
			ours = append(ours, float64(time.Since(t0)))
		}
		ns, err := p.time(fmt.Sprint(op.line(T, n, m), " ", k.Threads(), " ", calls), calls)
		if err != nil {
			return err
		}
		theirs = append(theirs, ns...)
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	mid := len(ours) / 2
	fmt.Printf("%-17s %5d %5d %6d  %7d %15.1f %15.1f %7.2f %7.2f\n", op.name, T, n, m, k.Threads(), flops/ours[0], flops/theirs[0],
		theirs[0]/ours[0], theirs[mid]/ours[mid])
	return nil
}

// wave is n numbers of modest size.
func wave(n int) []float32 {
	s := make([]float32, n)
	for i := range s {
		s[i] = float32(i*7919%1000)/1000 - 0.5
	}
	return s
}

// process is the peer, answering lines.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func start(path string) (*process, error) {
	p := &process{cmd: exec.Command(path)}
	p.cmd.Stderr = os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the peer: %w: build it as bench/peers/openblas.c says", err)
	}
	return p, nil
}

func (p *process) time(line string, calls int) ([]float64, error) {
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		return nil, fmt.Errorf("ask the peer: %w", err)
	}
	ns := make([]float64, calls)
	for i := range ns {
		if _, err := fmt.Fscan(p.out, &ns[i]); err != nil {
			return nil, fmt.Errorf("read the peer's answer: %w", err)
		}
	}
	return ns, nil
}

func (p *process) stop() {
	p.in.Close()
	p.cmd.Wait()
}
